//! How texts are put into batches.
//!
//! The width of a batch depends on the lengths of its own texts alone (rounded up to a multiple of [`STEP`]), not on
//! what else was asked for, and every kernel treats the rows of a batch independently. So the vector of a text does
//! not depend on its company, bit for bit.

use super::Tokens;
use crate::Result;
use candle_core::{Device, Tensor};

/// Widths are multiples of this, which keeps the number of distinct shapes small.
const STEP: usize = 8;

/// Most tokens in a batch, padding included: bounds memory without a cost in speed.
const MAX_BATCH_TOKENS: usize = 4096;

/// Which texts go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Tokens in a row, padding included.
    pub(super) width: usize,
    /// Indices into the texts.
    pub(super) rows: Vec<usize>,
}

/// Splits texts into batches: narrow ones first, within a width in the given order.
pub(super) fn plan(texts: &[&Tokens], max_width: usize) -> Vec<Plan> {
    let width_of = |tokens: &Tokens| tokens.len().next_multiple_of(STEP).min(max_width);
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&i| width_of(texts[i]));
    let mut plans: Vec<Plan> = Vec::new();
    for i in order {
        let width = width_of(texts[i]);
        match plans.last_mut() {
            Some(last) if last.width == width && (last.rows.len() + 1) * width <= MAX_BATCH_TOKENS => last.rows.push(i),
            _ => plans.push(Plan { width, rows: vec![i] }),
        }
    }
    plans
}

/// Texts padded to one width.
pub(super) struct Batch {
    /// `[rows, width]` U32; padding is id 0, which the mask hides.
    pub(super) ids: Tensor,
    /// `[rows, width]` U32.
    pub(super) segments: Tensor,
    /// `[rows, width]` F32: 1 for a token, 0 for padding.
    pub(super) mask: Tensor,
}

impl Batch {
    pub(super) fn new(texts: &[&Tokens], plan: &Plan, device: &Device) -> Result<Self> {
        let shape = (plan.rows.len(), plan.width);
        let count = plan.rows.len() * plan.width;
        let (mut ids, mut segments, mut mask) = (vec![0; count], vec![0; count], vec![0f32; count]);
        for (row, &text) in plan.rows.iter().enumerate() {
            let (tokens, start) = (texts[text], row * plan.width);
            ids[start..][..tokens.len()].copy_from_slice(tokens.ids());
            segments[start..][..tokens.len()].copy_from_slice(tokens.segments());
            mask[start..][..tokens.len()].fill(1.0);
        }
        Ok(Self {
            ids: Tensor::from_vec(ids, shape, device)?,
            segments: Tensor::from_vec(segments, shape, device)?,
            mask: Tensor::from_vec(mask, shape, device)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Tokens {
        Tokens::new(vec![1; len], vec![0; len]).expect("not empty")
    }

    #[test]
    fn the_width_depends_on_the_text_alone() {
        let texts: Vec<Tokens> = [3, 9, 8, 20, 1, 12].into_iter().map(text).collect();
        let refs: Vec<&Tokens> = texts.iter().collect();
        let plans = plan(&refs, 20);
        let found: Vec<(usize, &[usize])> = plans.iter().map(|p| (p.width, p.rows.as_slice())).collect();
        assert_eq!(found, [(8, &[0, 2, 4][..]), (16, &[1, 5][..]), (20, &[3][..])]);
    }

    #[test]
    fn batches_are_bounded() {
        let texts: Vec<Tokens> = (0..100).map(|_| text(64)).collect();
        let refs: Vec<&Tokens> = texts.iter().collect();
        let plans = plan(&refs, 128);
        assert_eq!(plans.iter().map(|p| p.rows.len()).collect::<Vec<_>>(), [64, 36]);
        assert!(plan(&[], 128).is_empty());
    }
}
