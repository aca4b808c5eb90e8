//! Training metrics between two records.

use retune::agent::Metrics;
use retune::rollout::EpisodeRecord;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What rounds have said since the last record. Part of a checkpoint: a record after a resume must not differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// Sum and number of rounds, by metric.
    sums: BTreeMap<String, (f64, u64)>,
    /// Number, sum of returns and sum of lengths of the episodes that ended.
    episodes: (u64, f64, f64),
}

impl Pending {
    /// Takes in one round.
    pub fn add(&mut self, metrics: Metrics, episodes: &[EpisodeRecord]) {
        for (name, value) in metrics {
            let (sum, count) = self.sums.entry(name).or_default();
            *sum += value;
            *count += 1;
        }
        for episode in episodes {
            self.episodes.0 += 1;
            self.episodes.1 += episode.episode_return;
            self.episodes.2 += episode.length as f64;
        }
    }

    /// Means over the rounds, and over the episodes `episode_return` and `episode_length`; begins anew. Empty if
    /// nothing was said.
    pub fn take(&mut self) -> Metrics {
        let Self { sums, episodes: (count, returns, lengths) } = std::mem::take(self);
        let mut values: Metrics = sums.into_iter().map(|(name, (sum, n))| (name, sum / n as f64)).collect();
        if count > 0 {
            values.insert("episode_return".into(), returns / count as f64);
            values.insert("episode_length".into(), lengths / count as f64);
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use retune::env::Status;

    #[test]
    fn records_are_means_and_begin_anew() {
        let episode = |episode_return, length| EpisodeRecord {
            env: 0,
            episode: 0,
            slot_steps: 9,
            episode_return,
            length,
            status: Status::Terminated,
            actions: String::new(),
        };
        let mut pending = Pending::default();
        assert!(pending.take().is_empty());
        pending.add(Metrics::from([("loss".into(), 1.0), ("late".into(), 5.0)]), &[episode(2.0, 4)]);
        pending.add(Metrics::from([("loss".into(), 2.0)]), &[episode(4.0, 8), episode(6.0, 6)]);
        let expected = [("loss", 1.5), ("late", 5.0), ("episode_return", 4.0), ("episode_length", 6.0)];
        assert_eq!(pending.take(), expected.map(|(k, v)| (k.to_owned(), v)).into());
        assert_eq!(pending, Pending::default());
    }
}
