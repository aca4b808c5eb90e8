//! Discounted returns, n-step returns and generalized advantages.

use super::steps::narrowed;
use super::{Real, Steps};
use retune::Result;
use retune::env::Status;

/// Discounted returns `G_t = r_t + γ G_{t+1}` (Sutton and Barto, equation 3.9). Where an episode is cut, by truncation
/// or by the end of the rollout, the sum goes on with `following` if there is one, else with 0 (which is biased).
///
/// # Shapes
/// `following`, as [`super::following_values`] makes it, and the result: `[num_steps, num_envs]`.
///
/// # Errors
/// [`retune::Error::State`] if the table has another shape.
pub fn discounted_returns<T: Real>(steps: &Steps<'_, T>, following: Option<&[T]>, gamma: f64) -> Result<Vec<T>> {
    if let Some(following) = following {
        steps.require("following", following.len(), steps.len())?;
    }
    let returns = steps.backward(|i, later| {
        let cut = || match (steps.status(i), following) {
            (Status::Terminated, _) | (_, None) => 0.0,
            (_, Some(following)) => following[i].wide(),
        };
        steps.reward(i) + gamma * later.unwrap_or_else(cut)
    });
    Ok(narrowed(&returns))
}

/// Advantages and the returns that belong to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Advantages<T> {
    /// `A_t`, `[num_steps, num_envs]`.
    pub advantages: Vec<T>,
    /// `A_t + V_t`: the targets of the value function, `[num_steps, num_envs]`.
    pub returns: Vec<T>,
}

/// Generalized advantage estimation (Schulman et al., arXiv:1506.02438, equation 16):
/// `δ_t = r_t + γ v'_t − V_t`, `A_t = δ_t + γ λ (1 − e_t) A_{t+1}`, where `e_t` is 1 if the step ended an episode.
///
/// # Shapes
/// All `[num_steps, num_envs]`; `following` as [`super::following_values`] makes it.
///
/// # Errors
/// [`retune::Error::State`] if a table has another shape.
pub fn gae<T: Real>(
    steps: &Steps<'_, T>,
    values: &[T],
    following: &[T],
    gamma: f64,
    gae_lambda: f64,
) -> Result<Advantages<T>> {
    steps.require("values", values.len(), steps.len())?;
    steps.require("following", following.len(), steps.len())?;
    let advantages = steps.backward(|i, later| {
        let delta = steps.reward(i) + gamma * after(steps, following, i) - values[i].wide();
        delta + gamma * gae_lambda * later.unwrap_or(0.0)
    });
    let returns = advantages.iter().zip(values).map(|(a, v)| T::narrow(a + v.wide())).collect();
    Ok(Advantages { advantages: narrowed(&advantages), returns })
}

/// `v'_t`, 0 after a terminated step whatever the table says: a caller may hand over values of all next observations.
pub(super) fn after<T: Real>(steps: &Steps<'_, T>, following: &[T], i: usize) -> f64 {
    if steps.status(i) == Status::Terminated { 0.0 } else { following[i].wide() }
}

/// What n-step returns are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct NStep<T> {
    /// `Σ_{k<m} γ^k r_{t+k}`, `[num_steps, num_envs]`.
    pub reward_sums: Vec<T>,
    /// `m`, the number of rewards in the sum, `[num_steps, num_envs]`: `n`, or fewer where the episode or the rollout
    /// ends before.
    pub steps: Vec<usize>,
    /// Factor of the value that follows step `t + m − 1`: `γ^m`, or 0 if that step terminated, `[num_steps, num_envs]`.
    pub bootstrap_discounts: Vec<T>,
}

/// n-step sums (Sutton and Barto, equation 7.1) with `m = min(n, steps to the end of the episode or rollout)`.
///
/// # Panics
/// If `n` is zero.
#[must_use]
pub fn n_step<T: Real>(steps: &Steps<'_, T>, gamma: f64, n: usize) -> NStep<T> {
    assert!(n > 0, "an n-step return has at least one reward");
    let mut out = NStep { reward_sums: Vec::new(), steps: Vec::new(), bootstrap_discounts: Vec::new() };
    for start in 0..steps.len() {
        let (mut sum, mut discount, mut count, mut i) = (0.0, 1.0, 0, start);
        loop {
            sum += discount * steps.reward(i);
            discount *= gamma;
            count += 1;
            match steps.next(i) {
                Some(next) if count < n => i = next,
                _ => break,
            }
        }
        let terminated = steps.status(i) == Status::Terminated;
        out.reward_sums.push(T::narrow(sum));
        out.steps.push(count);
        out.bootstrap_discounts.push(T::narrow(if terminated { 0.0 } else { discount }));
    }
    out
}

impl<T: Real> NStep<T> {
    /// n-step returns: the sums plus the discounted value that follows their last step.
    ///
    /// # Shapes
    /// `following`, as [`super::following_values`] makes it, and the result: `[num_steps, num_envs]`.
    ///
    /// # Errors
    /// [`retune::Error::State`] if a table has another shape.
    pub fn returns(&self, steps: &Steps<'_, T>, following: &[T]) -> Result<Vec<T>> {
        steps.require("following", following.len(), steps.len())?;
        steps.require("reward_sums", self.reward_sums.len(), steps.len())?;
        let one = |i: usize| {
            let last = i + (self.steps[i] - 1) * steps.num_envs();
            let discount = self.bootstrap_discounts[i].wide();
            // A value is not looked at where it has no weight: it may be anything there, even NaN.
            let value = if discount == 0.0 { 0.0 } else { discount * following[last].wide() };
            T::narrow(self.reward_sums[i].wide() + value)
        };
        Ok((0..steps.len()).map(one).collect())
    }
}
