//! What questions have brought and cost on average.

use serde::{Deserialize, Serialize};

/// What is kept of earlier rounds: the classifier gets better, and with it what an answer is worth.
const DECAY: f64 = 0.98;

/// Decaying sums by candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statistics {
    gains: Vec<f64>,
    costs: Vec<f64>,
    counts: Vec<f64>,
}

impl Statistics {
    pub fn new(num_candidates: usize) -> Self {
        let zeros = vec![0.0; num_candidates];
        Self { gains: zeros.clone(), costs: zeros.clone(), counts: zeros }
    }

    /// Begins a round.
    pub fn fade(&mut self) {
        [&mut self.gains, &mut self.costs, &mut self.counts].into_iter().flatten().for_each(|x| *x *= DECAY);
    }

    /// A question that lowered the loss by `gain`, at the price of a negative reward.
    pub fn push(&mut self, candidate: usize, gain: f64, reward: f64) {
        self.gains[candidate] += gain;
        self.costs[candidate] -= reward;
        self.counts[candidate] += 1.0;
    }

    /// Mean drop of the loss, by candidate; 0 for what was never asked.
    pub fn gains(&self) -> Vec<f32> {
        self.means(&self.gains)
    }

    /// Mean cost, by candidate.
    pub fn costs(&self) -> Vec<f32> {
        self.means(&self.costs)
    }

    /// Whether it can belong to a task with so many candidates.
    pub fn fits(&self, num_candidates: usize) -> bool {
        [&self.gains, &self.costs, &self.counts].iter().all(|x| x.len() == num_candidates)
    }

    fn means(&self, sums: &[f64]) -> Vec<f32> {
        sums.iter().zip(&self.counts).map(|(s, n)| if *n > 0.0 { (s / n) as f32 } else { 0.0 }).collect()
    }
}
