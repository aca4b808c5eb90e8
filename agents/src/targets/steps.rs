//! Rewards and episode ends of a rollout, and the values that follow each step.

use super::Real;
use retune::env::Status;
use retune::{Error, Result};

/// Rewards and statuses of a rollout, `[num_steps, num_envs]` each, checked to have the same shape.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a, T> {
    num_envs: usize,
    rewards: &'a [T],
    status: &'a [Status],
}

impl<'a, T: Real> Steps<'a, T> {
    /// A rollout of `num_envs` env slots.
    ///
    /// # Errors
    /// [`Error::State`] if the tables do not have the same whole number of rows of `num_envs`.
    pub fn new(num_envs: usize, rewards: &'a [T], status: &'a [Status]) -> Result<Self> {
        if num_envs == 0 || !rewards.len().is_multiple_of(num_envs) {
            let message = format!("rewards: {} entries are no whole number of rows of {num_envs}", rewards.len());
            return Err(Error::State(message));
        }
        let new = Self { num_envs, rewards, status };
        new.require("status", status.len(), rewards.len())?;
        Ok(new)
    }

    /// Env slots.
    #[must_use]
    pub fn num_envs(&self) -> usize {
        self.num_envs
    }

    /// Entries of a table, `num_steps · num_envs`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Whether there are no steps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// Reward at flat position `i`.
    pub(super) fn reward(&self, i: usize) -> f64 {
        self.rewards[i].wide()
    }

    pub(super) fn status(&self, i: usize) -> Status {
        self.status[i]
    }

    /// Flat position of the following step of the same slot; `None` where this one ended an episode or is the last.
    pub(super) fn next(&self, i: usize) -> Option<usize> {
        let next = i + self.num_envs;
        (!self.status[i].is_over() && next < self.rewards.len()).then_some(next)
    }

    pub(super) fn require(&self, name: &str, found: usize, expected: usize) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Error::State(format!("{name} has {found} entries, expected {expected}")))
    }

    /// A table made from the last step to the first: `f(i, later)` with what it gave for the following step of the same
    /// episode, if that is part of the rollout.
    pub(super) fn backward(&self, mut f: impl FnMut(usize, Option<f64>) -> f64) -> Vec<f64> {
        let mut out = vec![0.0; self.len()];
        for i in (0..self.len()).rev() {
            let later = self.next(i).map(|next| out[next]);
            out[i] = f(i, later);
        }
        out
    }
}

/// The value `v'_t` that follows each step: 0 after a terminated step, `final_values[t]` after a truncated one, else
/// `values[t + 1]`, and `last_values` where the rollout stops in the middle of an episode. Entries of `final_values` at
/// other steps, and of `last_values` where the last step ended an episode, are not looked at, nor is what they hold.
///
/// # Shapes
/// `values`, `final_values` and the result: `[num_steps, num_envs]`; `last_values`: `[num_envs]`.
///
/// # Errors
/// [`Error::State`] if a table has another shape.
pub fn following_values<T: Real>(
    steps: &Steps<'_, T>,
    values: &[T],
    final_values: &[T],
    last_values: &[T],
) -> Result<Vec<T>> {
    steps.require("values", values.len(), steps.len())?;
    steps.require("final_values", final_values.len(), steps.len())?;
    steps.require("last_values", last_values.len(), steps.num_envs())?;
    let following = |i: usize| match steps.status(i) {
        Status::Terminated => T::narrow(0.0),
        Status::Truncated => final_values[i],
        Status::Running => match steps.next(i) {
            Some(next) => values[next],
            None => last_values[i % steps.num_envs()],
        },
    };
    Ok((0..steps.len()).map(following).collect())
}

/// A table in the type of its inputs.
pub(super) fn narrowed<T: Real>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&v| T::narrow(v)).collect()
}
