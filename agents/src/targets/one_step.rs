//! One-step targets, and the values of the next state that they take.

use super::Real;
use retune::env::Status;
use retune::{Error, Result};

/// `r + γ · value`, and `r` alone after a terminated step. Truncation changes nothing: the value is then that of the
/// observation that ended the episode. A value of a terminated step is not looked at.
#[must_use]
pub fn one_step_target(reward: f64, status: Status, discount: f64, value: f64) -> f64 {
    if status == Status::Terminated { reward } else { reward + discount * value }
}

/// [`one_step_target`] for a batch, with one discount (γ, or γ^n) for all.
///
/// # Shapes
/// All `[batch]`.
///
/// # Errors
/// [`Error::State`] if the arrays have different lengths.
pub fn one_step_targets<T: Real>(rewards: &[T], status: &[Status], gamma: f64, values: &[T]) -> Result<Vec<T>> {
    for (name, found) in [("status", status.len()), ("values", values.len())] {
        if found != rewards.len() {
            return Err(Error::State(format!("{name} has {found} entries, expected {}", rewards.len())));
        }
    }
    let one = |i: usize| T::narrow(one_step_target(rewards[i].wide(), status[i], gamma, values[i].wide()));
    Ok((0..rewards.len()).map(one).collect())
}

/// The legal action with the largest value, the first of equal ones; `None` if none is legal and a number. An empty
/// `mask` allows all.
#[must_use]
pub fn best_action<T: Real>(q: &[T], mask: &[bool]) -> Option<usize> {
    let mut best = None;
    for (a, value) in q.iter().enumerate() {
        let candidate = (mask.is_empty() || mask[a]) && !value.wide().is_nan();
        if candidate && best.is_none_or(|b: usize| *value > q[b]) {
            best = Some(a);
        }
    }
    best
}

/// `max_a Q(s, a)` over legal actions: the value of Q-learning (Watkins 1989). `None` as
/// [`best_action`].
#[must_use]
pub fn greedy_value<T: Real>(q: &[T], mask: &[bool]) -> Option<f64> {
    best_action(q, mask).map(|a| q[a].wide())
}

/// `Q'(s, argmax_a Q(s, a))`: the value of double Q-learning (van Hasselt et al., arXiv:1509.06461, equation 4), where
/// `online` chooses and `target` values. `None` as [`best_action`].
#[must_use]
pub fn double_value<T: Real>(online: &[T], target: &[T], mask: &[bool]) -> Option<f64> {
    best_action(online, mask).map(|a| target[a].wide())
}

/// `Σ_a π(a|s) Q(s, a)`: the value of expected SARSA (Sutton and Barto, equation 6.9). Actions of probability 0 are not
/// looked at.
#[must_use]
pub fn expected_value<T: Real>(q: &[T], probs: &[T]) -> f64 {
    q.iter().zip(probs).filter(|(_, p)| p.wide() > 0.0).map(|(q, p)| q.wide() * p.wide()).sum()
}

/// Probabilities of the ε-greedy policy: ε spread over the legal actions, the rest on the first best one. All 0 if no
/// action is legal.
pub fn epsilon_greedy<T: Real>(q: &[T], mask: &[bool], epsilon: f64, probs: &mut [T]) {
    let legal = |a: usize| mask.is_empty() || mask[a];
    let count = (0..q.len()).filter(|&a| legal(a)).count();
    let best = best_action(q, mask);
    for (a, prob) in probs.iter_mut().enumerate() {
        let explored = if legal(a) { epsilon / count as f64 } else { 0.0 };
        *prob = T::narrow(explored + if best == Some(a) { 1.0 - epsilon } else { 0.0 });
    }
}
