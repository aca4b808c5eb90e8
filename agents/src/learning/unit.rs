//! Where values begin: level and scale from the first episodes.

use retune::agent::Rollout;
use retune::env::Status;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Position and size of the values in units of the reward: Q = level + scale · (L(s) + A(s, ·)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValueUnit {
    pub level: f64,
    pub scale: f64,
}

impl Default for ValueUnit {
    fn default() -> Self {
        Self { level: 0.0, scale: 1.0 }
    }
}

/// Discounted returns of the first episodes.
///
/// A bootstrapped level climbs from zero at a rate of 1 − γ per copy of the target network, and until it has arrived
/// the price of an early end is too small. So it begins at the mean discounted return of the exploring policy, and
/// the spread of these returns is the unit in which the network learns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReturnStatistics {
    running: BTreeMap<usize, Vec<f64>>,
    steps: f64,
    rewards: f64,
    count: f64,
    sum: f64,
    sum_squares: f64,
}

impl ReturnStatistics {
    /// Takes in a round.
    pub fn push<O, A>(&mut self, rollout: &Rollout<O, A>, gamma: f64) {
        for segment in &rollout.segments {
            for step in &segment.steps {
                self.push_step(segment.env, step.reward, step.status, gamma);
            }
        }
    }

    fn push_step(&mut self, env: usize, reward: f64, status: Status, gamma: f64) {
        self.steps += 1.0;
        self.rewards += reward;
        let episode = self.running.entry(env).or_default();
        episode.push(reward);
        if !status.is_over() {
            return;
        }
        let mut value = 0.0;
        for reward in std::mem::take(episode).into_iter().rev() {
            value = reward + gamma * value;
            self.count += 1.0;
            self.sum += value;
            self.sum_squares += value * value;
        }
    }

    /// Mean and spread so far; from the mean reward if no episode has ended.
    pub fn unit(&self, gamma: f64) -> ValueUnit {
        let (level, spread) = if self.count > 0.0 {
            let mean = self.sum / self.count;
            (mean, (self.sum_squares / self.count - mean * mean).max(0.0).sqrt())
        } else {
            (self.rewards / self.steps.max(1.0) / (1.0 - gamma), 0.0)
        };
        // Equal returns tell nothing about the size of differences: then a tenth of the level, or 1.
        let floor = if level == 0.0 { 1.0 } else { 0.1 * level.abs() };
        ValueUnit { level, scale: if spread > 0.01 * floor { spread } else { floor } }
    }
}
