//! The losses of the click model.

use candle_core::Tensor;
use retune::Result;
use retune::nn::ops;

/// Mean binary cross-entropy of clicked-or-not over all shown items, in the form that does not overflow.
///
/// # Shapes
/// `logits` and `clicked`: `[slate_size, batch]`.
pub(super) fn click_loss(logits: &Tensor, clicked: &Tensor) -> Result<Tensor> {
    Ok(ops::bce_with_logits(logits, clicked)?.mean_all()?)
}

/// Mean squared error over the entries with weight 1; 0 if there are none.
///
/// # Shapes
/// `predicted`, `target` and `weight`: equal.
pub(crate) fn masked_mse(predicted: &Tensor, target: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let count = f64::from(weight.sum_all()?.to_scalar::<f32>()?).max(1.0);
    Ok((((predicted - target)?.sqr()? * weight)?.sum_all()? / count)?)
}
