//! The logs of one trial: metrics, episodes and TensorBoard events.

use super::{EventWriter, JsonlWriter, RunDir};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;

/// When a record was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// While learning.
    Train,
    /// On evaluation episodes, which never touch the training state.
    Evaluation,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Evaluation => "evaluation",
        }
    }
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// When it was taken.
    pub phase: Phase,
    /// What was evaluated, where there is more than the main evaluation, such as `cold_start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Env steps of training so far.
    pub env_steps: u64,
    /// Learner updates so far.
    pub updates: u64,
    /// Wall-clock seconds of the trial so far.
    pub wall_secs: f64,
    /// Metrics by name.
    pub values: BTreeMap<String, f64>,
}

/// Lengths of the logs at a checkpoint, in bytes. Stored in the checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Of `metrics.jsonl`.
    pub metrics: u64,
    /// Of `episodes.jsonl`.
    pub episodes: u64,
    /// Of the TensorBoard file.
    pub events: u64,
}

/// The logs of one trial.
pub struct TrialLog {
    metrics: JsonlWriter,
    episodes: JsonlWriter,
    events: EventWriter,
    /// Seconds since 1970 at which the trial would have started had it never been interrupted.
    started: f64,
}

impl TrialLog {
    /// New logs for a trial; makes its folders.
    ///
    /// `started`: seconds since 1970, from which TensorBoard's wall times count.
    ///
    /// # Errors
    /// [`Error::Io`] if a log exists already or cannot be made; [`Error::Config`] for an unusable name of the arm.
    pub fn create(run: &RunDir, arm: &str, seed: u64, started: f64) -> Result<Self> {
        let (trial, tensorboard) = (run.trial(arm, seed)?, run.tensorboard(arm, seed)?);
        for folder in [&trial, &tensorboard] {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        Ok(Self {
            metrics: JsonlWriter::create(&run.metrics(arm, seed)?)?,
            episodes: JsonlWriter::create(&run.episodes(arm, seed)?)?,
            events: EventWriter::create(&tensorboard.join(EventWriter::FILE_NAME), started)?,
            started,
        })
    }

    /// The logs of a trial, cut back to where its checkpoint was taken.
    ///
    /// # Errors
    /// [`Error::Io`] if a log cannot be opened; [`Error::Invalid`] if one is shorter than the checkpoint says.
    pub fn resume(run: &RunDir, arm: &str, seed: u64, started: f64, at: LogPosition) -> Result<Self> {
        let events = run.tensorboard(arm, seed)?.join(EventWriter::FILE_NAME);
        Ok(Self {
            metrics: JsonlWriter::resume(&run.metrics(arm, seed)?, at.metrics)?,
            episodes: JsonlWriter::resume(&run.episodes(arm, seed)?, at.episodes)?,
            events: EventWriter::resume(&events, at.events)?,
            started,
        })
    }

    /// Appends a record to `metrics.jsonl` and its values to the TensorBoard file as `phase/name` or
    /// `phase/split/name`, and makes both visible to readers.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a value is not finite; nothing is written then. [`Error::Io`] if a file cannot be
    /// written.
    pub fn record(&mut self, record: &MetricRecord) -> Result<()> {
        if let Some((name, value)) = record.values.iter().find(|(_, value)| !value.is_finite()) {
            let detail = format!("metric of phase {} has the value {value}", record.phase.name());
            return Err(Error::NonFinite { name: name.clone(), update: record.updates, detail });
        }
        self.metrics.append(record)?;
        let split = record.split.as_ref().map_or(String::new(), |split| format!("{split}/"));
        let tags: Vec<(String, f64)> =
            record.values.iter().map(|(name, &v)| (format!("{}/{split}{name}", record.phase.name()), v)).collect();
        let values = tags.iter().map(|(tag, value)| (tag.as_str(), *value));
        self.events.scalars(self.started + record.wall_secs, record.env_steps, values)?;
        self.metrics.flush()?;
        self.events.flush()
    }

    /// Appends one line to `episodes.jsonl`.
    ///
    /// # Errors
    /// As [`JsonlWriter::append`].
    pub fn episode<T: Serialize + ?Sized>(&mut self, episode: &T) -> Result<()> {
        self.episodes.append(episode)
    }

    /// Flushes all logs to the disk and returns their lengths, to be stored in a checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be written.
    pub fn sync(&mut self) -> Result<LogPosition> {
        Ok(LogPosition { metrics: self.metrics.sync()?, episodes: self.episodes.sync()?, events: self.events.sync()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::read_jsonl;

    fn record(env_steps: u64, value: f64) -> MetricRecord {
        MetricRecord {
            phase: Phase::Evaluation,
            split: Some("cold_start".into()),
            env_steps,
            updates: env_steps / 4,
            wall_secs: env_steps as f64 * 0.01,
            values: BTreeMap::from([("episode_return".into(), value), ("ctr".into(), 0.5)]),
        }
    }

    #[test]
    fn a_resumed_trial_has_the_bytes_of_an_uninterrupted_one() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, interrupt: bool| {
            let run = RunDir::create(&folder.path().join(name)).unwrap();
            let mut log = TrialLog::create(&run, "dqn", 1, 1e9).unwrap();
            log.record(&record(100, 1.5)).unwrap();
            log.episode(&serde_json::json!({"return": 1.5})).unwrap();
            if interrupt {
                let at = log.sync().unwrap();
                log.record(&record(150, 9.0)).unwrap();
                log.episode("lost").unwrap();
                drop(log);
                log = TrialLog::resume(&run, "dqn", 1, 1e9, at).unwrap();
            }
            log.record(&record(200, 2.5)).unwrap();
            log.episode(&serde_json::json!({"return": 2.5})).unwrap();
            log.sync().unwrap();
            let events = run.tensorboard("dqn", 1).unwrap().join(EventWriter::FILE_NAME);
            let files = [run.metrics("dqn", 1).unwrap(), run.episodes("dqn", 1).unwrap(), events];
            files.map(|path| fs::read(path).unwrap())
        };
        assert_eq!(write("whole", false), write("cut", true));
        let metrics = folder.path().join("whole/trials/dqn/1/metrics.jsonl");
        assert_eq!(read_jsonl::<MetricRecord>(&metrics).unwrap(), [record(100, 1.5), record(200, 2.5)]);
    }

    #[test]
    fn a_value_that_is_not_finite_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        let mut log = TrialLog::create(&run, "dqn", 0, 0.0).unwrap();
        let before = log.sync().unwrap();
        let message = log.record(&record(40, f64::NAN)).unwrap_err().to_string();
        assert!(message.contains("episode_return") && message.contains("update 10"), "{message}");
        assert_eq!(log.sync().unwrap(), before);
        assert!(TrialLog::create(&run, "dqn", 0, 0.0).is_err(), "logs must not be overwritten");
    }
}
