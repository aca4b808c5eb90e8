//! The loss of the classifier.

use super::AnswerGroup;
use retune::{Error, Result};

/// Means over a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct AnswerReport {
    /// Cross-entropy, nats.
    pub cross_entropy: f64,
    /// Share of states in which the likeliest answer is right.
    pub accuracy: f64,
}

/// `mean −ln p(label)` with p the softmax over the legal answers, and its gradient times `weight`, written to `grads`.
///
/// # Shapes
/// `logits`, `mask`, `grads`: `[rows, num_candidates]`; `labels`: `[rows]`, candidate indices.
///
/// # Errors
/// [`Error::State`] if a label is no legal answer or a logit not finite.
pub(crate) fn answer_loss(
    group: &AnswerGroup,
    logits: &[f32],
    mask: &[u8],
    labels: &[u32],
    weight: f64,
    grads: &mut [f32],
) -> Result<AnswerReport> {
    let n = group.num_candidates();
    let mut report = AnswerReport::default();
    let share = 1.0 / labels.len().max(1) as f64;
    let mut log_probs = Vec::new();
    for (row, &label) in labels.iter().enumerate() {
        let (logits, mask) = (&logits[row * n..][..n], &mask[row * n..][..n]);
        let range = group.range();
        let label = label as usize;
        if !range.contains(&label) || mask[label] == 0 {
            return Err(Error::State(format!("candidate {label} was right, but it is no legal answer of {range:?}")));
        }
        group.log_probs(logits, |i| mask[i] != 0, &mut log_probs)?;
        report.cross_entropy -= share * log_probs[label - range.start];
        let right = group.likeliest(logits, |i| mask[i] != 0) == Some(label);
        report.accuracy += if right { share } else { 0.0 };
        let grads = &mut grads[row * n..][..n];
        grads.fill(0.0);
        for (i, (grad, l)) in grads[range.clone()].iter_mut().zip(&log_probs).enumerate() {
            let target = if range.start + i == label { 1.0 } else { 0.0 };
            *grad = (weight * share * (l.exp() - target)) as f32;
        }
    }
    Ok(report)
}
