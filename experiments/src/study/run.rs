//! A study: its folder, and how its trials are run.

use super::{Prepared, TrialId, TrialOutcome, TrialRecord, run_trials};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use anyhow::Result;
use retune::track::{RunDir, RunLock, read_json, write_json};
use std::path::{Path, PathBuf};

/// A study that writes.
pub struct Study {
    /// What it was prepared from.
    pub prepared: Box<dyn Prepared>,
    /// Its folder.
    pub run: RunDir,
    /// Requests to stop.
    pub interrupt: Interrupt,
    _lock: RunLock,
}

impl Study {
    /// Takes hold of the folder.
    ///
    /// # Errors
    /// If another process is working in it.
    pub fn new(prepared: Box<dyn Prepared>, run: RunDir, interrupt: Interrupt) -> Result<Self> {
        let lock = run.lock()?;
        Ok(Self { prepared, run, interrupt, _lock: lock })
    }

    /// Arms and the ends of the normalized scale, seeds and all.
    #[must_use]
    pub fn trials(&self) -> Vec<TrialId> {
        let plan = self.prepared.plan();
        let mut arms = plan.arms.clone();
        arms.extend(self.prepared.info().anchor_arms().into_iter().filter(|arm| !plan.arms.contains(arm)));
        TrialId::all(&arms, plan.seeds)
    }

    /// Runs every trial that has no result yet, and returns the outcome of all.
    ///
    /// # Errors
    /// If no worker thread can be started.
    pub fn run(&self, progress: &Progress) -> Result<Vec<TrialOutcome<TrialRecord>>> {
        let plan = self.prepared.plan();
        run_trials(&self.trials(), plan.workers(), &self.interrupt.soft, |trial| {
            let path = self.result_path(trial)?;
            if path.is_file() {
                progress.skip();
                return read_json(&path);
            }
            let bar = progress.trial(&trial.to_string(), plan.train.env_steps);
            let result = self.prepared.run_trial(self, trial, &bar).and_then(|record| keep(&path, record));
            progress.finish(&bar, &self.outcome_line(trial, &result));
            result
        })
    }

    fn result_path(&self, trial: &TrialId) -> retune::Result<PathBuf> {
        Ok(self.run.trial(&trial.arm.folder(), trial.seed)?.join("result.json"))
    }

    /// Removes what an interrupted trial left before its first checkpoint.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn clear_trial(&self, trial: &TrialId) -> retune::Result<()> {
        let arm = trial.arm.folder();
        for folder in [self.run.trial(&arm, trial.seed)?, self.run.tensorboard(&arm, trial.seed)?] {
            match std::fs::remove_dir_all(&folder) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(retune::Error::io(&folder, e)),
                _ => {}
            }
        }
        Ok(())
    }

    fn outcome_line(&self, trial: &TrialId, result: &retune::Result<TrialRecord>) -> String {
        let main = self.prepared.splits().first().map_or("", |split| split.name);
        match result {
            Ok(record) => match record.measurements.get(main) {
                Some(found) => format!("{trial}: {:.1} {}", found.episode_return, self.prepared.metric().unit),
                None => format!("{trial}: done"),
            },
            Err(retune::Error::Interrupted) => format!("{trial}: interrupted"),
            Err(error) => format!("{trial}: failed: {error}"),
        }
    }
}

/// Writes the result of a finished trial; from then on the trial is never run again.
fn keep(path: &Path, record: TrialRecord) -> retune::Result<TrialRecord> {
    let folder = path.parent().expect("a result lies in the folder of its trial");
    std::fs::create_dir_all(folder).map_err(|e| retune::Error::io(folder, e))?;
    write_json(path, &record)?;
    Ok(record)
}
