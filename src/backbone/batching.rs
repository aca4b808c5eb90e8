//! How texts are put into batches.
//!
//! The width of a batch depends on the lengths of its own texts alone (rounded up to a multiple of [`STEP`]), not on
//! what else was asked for, and every kernel treats the rows of a batch independently. So the vector of a text does
//! not depend on its company, bit for bit. The one exception, matrix products with very small results, is kept away
//! by rows that nobody reads ([`min_rows`]).

use super::Tokens;
use crate::Result;
use candle_core::{Device, Tensor};

/// Widths are multiples of this, which keeps the number of distinct shapes small.
const STEP: usize = 8;

/// Most tokens in a batch, padding included: bounds memory, and the time until a request to stop is seen (a fraction of
/// a second on one core), without a cost in speed.
const MAX_BATCH_TOKENS: usize = 1024;

/// Products with at most this many results run in another kernel of the `gemm` crate (0.19, `gemm.rs`: `m * n <= 16 *
/// 16`), which adds in another order.
const SMALL_PRODUCT: usize = 256;

/// Where neither side of a result is longer than this, long sums are split at other places (there: `m <= 64 && n <=
/// 64`).
const SMALL_SIDE: usize = 64;

/// Rows that a batch of this width needs so that all its products take the usual kernel. `narrowest` is the smallest
/// number of columns that a product over all tokens has, `pooled` that of a product with one row for each text.
pub(super) fn min_rows(width: usize, narrowest: usize, pooled: Option<usize>) -> usize {
    let over = |columns: usize| {
        let by_side = if columns <= SMALL_SIDE { SMALL_SIDE + 1 } else { 1 };
        // A product with a single row is a special case of its own, hence at least two.
        (SMALL_PRODUCT / columns + 1).max(by_side).max(2)
    };
    over(narrowest).div_ceil(width).max(pooled.map_or(1, over))
}

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

/// Texts padded to one width, and repetitions of the first up to the least number of rows.
pub(super) struct Batch {
    /// `[rows, width]` U32; padding is id 0, which the mask hides.
    pub(super) ids: Tensor,
    /// `[rows, width]` U32.
    pub(super) segments: Tensor,
    /// `[rows, width]` F32: 1 for a token, 0 for padding.
    pub(super) mask: Tensor,
}

impl Batch {
    pub(super) fn new(texts: &[&Tokens], plan: &Plan, min_rows: usize, device: &Device) -> Result<Self> {
        let rows = plan.rows.len().max(min_rows);
        let shape = (rows, plan.width);
        let count = rows * plan.width;
        let (mut ids, mut segments, mut mask) = (vec![0; count], vec![0; count], vec![0f32; count]);
        for row in 0..rows {
            let text = plan.rows.get(row).unwrap_or(&plan.rows[0]);
            let (tokens, start) = (texts[*text], row * plan.width);
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
    fn products_are_never_small() {
        for (width, narrowest, pooled) in
            [(8, 384, None), (8, 8, None), (16, 1, None), (8, 16, Some(16)), (8, 384, Some(384))]
        {
            let rows = min_rows(width, narrowest, pooled);
            let usual = |rows: usize, columns: usize| {
                rows * columns > SMALL_PRODUCT && rows > 1 && (rows > SMALL_SIDE || columns > SMALL_SIDE)
            };
            assert!(usual(rows * width, narrowest));
            assert!(pooled.is_none_or(|columns| usual(rows, columns)));
        }
        assert_eq!(min_rows(8, 384, None), 1, "nothing is added to a real model");
    }

    #[test]
    fn batches_are_bounded() {
        let texts: Vec<Tokens> = (0..100).map(|_| text(64)).collect();
        let refs: Vec<&Tokens> = texts.iter().collect();
        let plans = plan(&refs, 128);
        assert_eq!(plans.iter().map(|p| p.rows.len()).collect::<Vec<_>>(), [16, 16, 16, 16, 16, 16, 4]);
        assert!(plan(&[], 128).is_empty());
    }
}
