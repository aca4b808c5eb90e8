//! How old the parameters were that acted.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Transitions by policy lag: how many newer parameters had been published when the learner took the transition in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LagHistogram(BTreeMap<u64, u64>);

impl LagHistogram {
    /// Counts `transitions` of this lag.
    pub fn add(&mut self, lag: u64, transitions: u64) {
        *self.0.entry(lag).or_default() += transitions;
    }

    /// Counts everything that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (&lag, &count) in &other.0 {
            self.add(lag, count);
        }
    }

    /// Transitions counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Mean lag; 0 if nothing was counted.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let sum: u64 = self.0.iter().map(|(lag, count)| lag * count).sum();
        sum as f64 / self.total().max(1) as f64
    }

    /// Largest lag; 0 if nothing was counted.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.keys().next_back().copied().unwrap_or_default()
    }

    /// Lags with their counts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(&lag, &count)| (lag, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let mut lags = LagHistogram::default();
        assert_eq!((lags.total(), lags.mean(), lags.max()), (0, 0.0, 0));
        lags.add(0, 3);
        lags.add(2, 1);
        let mut all = lags.clone();
        all.merge(&lags);
        assert_eq!((all.total(), all.mean(), all.max()), (8, 0.5, 2));
        assert_eq!(all.iter().collect::<Vec<_>>(), [(0, 6), (2, 2)]);
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"{"0":6,"2":2}"#);
    }
}
