//! What a measurement leaves behind.

use retune::Result;
use retune::agent::{Actor, Mode, Snapshot, Stop};
use retune::env::Env;
use retune::rollout::{Evaluation, EvaluationRecord, evaluate};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What came of an arm's decisions in a list of episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Mean over episodes of the sum of rewards.
    pub episode_return: f64,
    /// The other measures by name; what could not be measured is left out.
    pub metrics: BTreeMap<String, f64>,
    /// What only the experiment itself understands, such as curves over questions; null if there is nothing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl Measurement {
    /// All measures by name, the return among them.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, f64> {
        let mut values = self.metrics.clone();
        values.insert("episode_return".into(), self.episode_return);
        values
    }
}

/// Plays the given episodes and measures returns and lengths: `episode_return` with its standard error over episodes
/// `episode_return_se`, the lowest return `episode_return_min`, and `episode_length` in env steps.
///
/// # Errors
/// As [`evaluate`].
pub fn measure_returns<E: Env>(
    make_env: impl FnMut(usize) -> Result<E>,
    actor: &mut dyn Actor<E::Obs, E::Action>,
    snapshot: &Arc<Snapshot>,
    episodes: &[u64],
    batch: usize,
    time_limit: Option<u64>,
    stop: &Stop,
) -> Result<Measurement> {
    let evaluation = Evaluation { seeds: episodes, batch, mode: Mode::Evaluate, time_limit };
    let records = evaluate(make_env, actor, snapshot, &evaluation, stop, &mut |_| Ok(()))?;
    Ok(of_records(&records))
}

fn of_records(records: &[EvaluationRecord]) -> Measurement {
    let count = records.len().max(1) as f64;
    let mean = |value: &dyn Fn(&EvaluationRecord) -> f64| records.iter().map(value).sum::<f64>() / count;
    let episode_return = mean(&|r| r.episode_return);
    let variance = mean(&|r| (r.episode_return - episode_return).powi(2));
    let lowest = records.iter().map(|r| r.episode_return).fold(f64::INFINITY, f64::min);
    let all = [
        ("episode_return_se", (variance / count).sqrt()),
        ("episode_return_min", lowest),
        ("episode_length", mean(&|r| r.length as f64)),
    ];
    let metrics = all.into_iter().filter(|(_, v)| v.is_finite()).map(|(k, v)| (k.to_owned(), v)).collect();
    Measurement { episode_return, metrics, details: Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;
    use retune::env::Status;

    #[test]
    fn returns_and_lengths_are_means_over_episodes() {
        let record = |episode_return, length| EvaluationRecord {
            episode: 0,
            seed: 0,
            episode_return,
            length,
            status: Status::Terminated,
            actions: String::new(),
        };
        let found = of_records(&[record(1.0, 4), record(3.0, 8)]);
        assert_eq!((found.episode_return, found.metrics["episode_length"]), (2.0, 6.0));
        assert_eq!((found.metrics["episode_return_min"], found.metrics["episode_return_se"]), (1.0, 0.5f64.sqrt()));
        assert!(found.values().contains_key("episode_return"));
    }
}
