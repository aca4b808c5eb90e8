//! λ-returns of state values and of greedy action values.

use super::returns::after;
use super::steps::narrowed;
use super::{Real, Steps, greedy_value};
use retune::{Error, Result};

/// TD(λ) returns (Sutton and Barto, equation 12.18):
/// `G_t = r_t + γ [(1 − λ) v'_t + λ G_{t+1}]`; at the end of an episode and at the last step `r_t + γ v'_t`.
///
/// # Shapes
/// `following`, as [`super::following_values`] makes it, and the result: `[num_steps, num_envs]`.
///
/// # Errors
/// [`Error::State`] if the table has another shape.
pub fn td_lambda<T: Real>(steps: &Steps<'_, T>, following: &[T], gamma: f64, lambda: f64) -> Result<Vec<T>> {
    steps.require("following", following.len(), steps.len())?;
    Ok(narrowed(&mixed(steps, following, gamma, |_| lambda)))
}

/// Where Q(λ) cuts its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceCut {
    /// Before a non-greedy action, whose return says nothing about the greedy policy (Watkins 1989). An action tied for
    /// the largest value is greedy.
    Watkins,
    /// Never (Peng and Williams 1996): longer traces, biased towards the behaviour.
    Peng,
}

/// Q(λ) returns: as [`td_lambda`] with `V(s) = max_a Q(s, a)`, where λ becomes 0 as `cut` says.
///
/// # Shapes
/// `q_values`: `[num_steps, num_envs, num_actions]`; `actions`, the actions taken, `following`, the largest values of
/// the states that follow each step, and the result: `[num_steps, num_envs]`.
///
/// # Errors
/// [`Error::State`] if a table has another shape or an action is out of range.
pub fn q_lambda<T: Real>(
    steps: &Steps<'_, T>,
    q_values: &[T],
    actions: &[u32],
    following: &[T],
    gamma: f64,
    lambda: f64,
    cut: TraceCut,
) -> Result<Vec<T>> {
    steps.require("following", following.len(), steps.len())?;
    steps.require("actions", actions.len(), steps.len())?;
    let width = q_values.len() / steps.len().max(1);
    steps.require("q_values", q_values.len(), steps.len() * width)?;
    if let Some(bad) = actions.iter().find(|&&a| a as usize >= width) {
        return Err(Error::State(format!("action {bad} of {width} action values")));
    }
    let greedy = |i: usize| {
        let q = &q_values[i * width..(i + 1) * width];
        greedy_value(q, &[]).is_some_and(|best| q[actions[i] as usize].wide() >= best)
    };
    let trace = |next: usize| if cut == TraceCut::Peng || greedy(next) { lambda } else { 0.0 };
    Ok(narrowed(&mixed(steps, following, gamma, trace)))
}

/// `trace(t + 1)` is the λ that the return of the following step enters with.
fn mixed<T: Real>(steps: &Steps<'_, T>, following: &[T], gamma: f64, trace: impl Fn(usize) -> f64) -> Vec<f64> {
    steps.backward(|i, later| {
        let value = after(steps, following, i);
        let mix = match (later, steps.next(i)) {
            (Some(later), Some(next)) => {
                let lambda = trace(next);
                (1.0 - lambda) * value + lambda * later
            }
            _ => value,
        };
        steps.reward(i) + gamma * mix
    })
}
