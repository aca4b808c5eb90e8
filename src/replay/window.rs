//! Sums of rewards over the next few steps, as experience comes in.

use crate::env::Status;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A step whose n-step sum is not complete yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending {
    /// Which of the window's places holds its observation and action.
    pub place: usize,
    /// `Σ_{k<m} γ^k r_{t+k}` so far.
    pub reward_sum: f64,
    /// `γ^m` so far.
    pub discount: f64,
    /// `m`, the rewards in the sum.
    pub rewards: usize,
}

/// The steps of one env slot that wait for rewards, or for the action that follows the last of them. At most `n`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    pending: VecDeque<Pending>,
    /// Steps taken in so far; decides the place of the next one.
    count: usize,
}

impl Window {
    /// Takes in the reward of a step; returns the place that the step's observation and action go to.
    pub fn push(&mut self, reward: f64, gamma: f64, n: usize) -> usize {
        let place = self.count % n;
        self.count += 1;
        self.pending.push_back(Pending { place, reward_sum: 0.0, discount: 1.0, rewards: 0 });
        for step in &mut self.pending {
            step.reward_sum += step.discount * reward;
            step.discount *= gamma;
            step.rewards += 1;
        }
        place
    }

    /// Takes out the oldest step if nothing can be added to it: it has `n` rewards, or the episode is over.
    pub fn pop_complete(&mut self, status: Status, n: usize) -> Option<Pending> {
        let complete = status.is_over() || self.pending.front().is_some_and(|p| p.rewards == n);
        if complete { self.pending.pop_front() } else { None }
    }

    /// Takes out the oldest step if it has `n` rewards: it waited for the action that follows.
    pub fn pop_waiting(&mut self, n: usize) -> Option<Pending> {
        self.pop_complete(Status::Running, n)
    }

    /// The oldest step if it has `n` rewards, left where it is.
    pub fn complete(&self, n: usize) -> Option<Pending> {
        self.pending.front().copied().filter(|p| p.rewards == n)
    }

    pub fn clear(&mut self) {
        self.pending.clear();
    }

    /// Places in use.
    pub fn places(&self) -> impl Iterator<Item = usize> + '_ {
        self.pending.iter().map(|p| p.place)
    }

    /// Whether this can be the window of a memory of `n` steps.
    pub fn is_consistent(&self, n: usize) -> bool {
        let mut seen = vec![false; n];
        self.pending.len() <= n
            && self.pending.iter().all(|p| {
                let free = p.place < n && !seen[p.place];
                if free {
                    seen[p.place] = true;
                }
                free && p.rewards <= n && p.reward_sum.is_finite() && p.discount.is_finite()
            })
    }
}
