//! The losses of value learning.

use super::TdLoss;
use candle_core::Tensor;
use retune::Result;

/// Mean negative log-likelihood of what was chosen out of each slate: softmax over (f_1 … f_k, 0), where the last
/// stands for "nothing".
///
/// # Shapes
/// `logits`: `[slate_size, batch]`; `chosen`: `[1, batch]` (U32), `slate_size` for nothing.
pub(crate) fn choice_loss(logits: &Tensor, chosen: &Tensor) -> Result<Tensor> {
    let nothing = logits.narrow(0, 0, 1)?.zeros_like()?;
    let all = Tensor::cat(&[logits, &nothing], 0)?;
    // The largest logit is a constant as far as the gradient goes: it cancels.
    let largest = all.max_keepdim(0)?.detach();
    let all = all.broadcast_sub(&largest)?;
    let log_sum = all.exp()?.sum_keepdim(0)?.log()?;
    Ok((log_sum - all.gather(chosen, 0)?)?.mean_all()?)
}

/// Mean loss on the errors.
///
/// # Shapes
/// `errors`: `[batch]`, in units of the value scale; `weights`: `[batch]`.
pub(super) fn td_loss(errors: &Tensor, weights: &Tensor, loss: TdLoss) -> Result<Tensor> {
    let each = match loss {
        TdLoss::Squared => (errors.sqr()? * 0.5)?,
        TdLoss::Huber { delta } => {
            let size = errors.abs()?;
            let small = size.minimum(delta)?;
            ((small.sqr()? * 0.5)? + ((size - small)? * delta)?)?
        }
    };
    Ok((each * weights)?.mean_all()?)
}
