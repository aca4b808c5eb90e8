//! `experiment replay DIR`: make failed trials fail again, to look into why.

use super::{opened, print};
use crate::cli::OutputArgs;
use crate::failure::{Outcome, bad_input};
use crate::interrupt::Interrupt;
use crate::progress::TrialProgress;
use crate::study::{Failure, Study, TrialId};
use crate::threads;
use anyhow::Result;
use retune::Error;
use retune::rollout::catch_panic;
use retune::track::RunDir;
use serde::Serialize;
use std::path::Path;

/// What came of one trial.
#[derive(Debug, Serialize)]
struct Replayed {
    trial: String,
    /// What stopped it then.
    failure: Failure,
    /// What stopped it now; `None`: nothing did.
    now: Option<String>,
    /// Whether that is the same.
    again: bool,
}

pub fn run(dir: &Path, output: OutputArgs) -> Result<Outcome> {
    threads::one_per_operation();
    let opened = opened(dir)?;
    if opened.manifest.config["train"]["mode"] == "free" {
        return Err(bad_input(format!(
            "{}: train.mode = free: what actors had played depended on timing; only studies with train.mode = \
             deterministic replay",
            dir.display()
        )));
    }
    // The study itself stays as it is.
    let copy = tempfile::tempdir()?;
    let run = RunDir::create(&copy.path().join("study"))?;
    let prepared = opened.experiment.prepare(&opened.manifest.config)?;
    let study = Study::new(prepared, run, Interrupt::listen(output.quiet)?)?;
    let mut found = Vec::new();
    for trial in study.trials() {
        let folder = opened.run.trial(&trial.arm.folder(), trial.seed)?;
        let Some(failure) = Failure::read(&folder)? else { continue };
        copy_trial(&opened.run, &study.run, &trial)?;
        let now = match catch_panic(|| study.prepared.run_trial(&study, &trial, &TrialProgress::hidden())) {
            Ok(Ok(_)) => None,
            Ok(Err(Error::Interrupted)) => return Ok(Outcome::Interrupted),
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(panic),
        };
        let again = now.as_deref() == Some(failure.error.as_str());
        found.push(Replayed { trial: trial.to_string(), failure, now, again });
    }
    if found.is_empty() {
        return Err(bad_input(format!("{}: no trial of this study has failed while it was trained", dir.display())));
    }
    print(output, &found, || found.iter().map(text).collect())?;
    Ok(if found.iter().all(|replayed| replayed.again) { Outcome::Done } else { Outcome::Failed })
}

/// Checkpoints and logs of a trial.
fn copy_trial(from: &RunDir, to: &RunDir, trial: &TrialId) -> Result<()> {
    let arm = trial.arm.folder();
    copy_folder(&from.trial(&arm, trial.seed)?, &to.trial(&arm, trial.seed)?)?;
    copy_folder(&from.tensorboard(&arm, trial.seed)?, &to.tensorboard(&arm, trial.seed)?)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).map_err(|e| Error::io(to, e))?;
    for entry in std::fs::read_dir(from).map_err(|e| Error::io(from, e))? {
        let path = entry.map_err(|e| Error::io(from, e))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}

fn text(replayed: &Replayed) -> String {
    let Replayed { trial, failure, now, again } = replayed;
    let from = failure.replays_from.map_or("its beginning".to_owned(), |steps| format!("{steps} env steps"));
    let outcome = match (again, now) {
        (true, _) => "failed again in the same way".to_owned(),
        (false, Some(now)) => format!("failed in another way now: {now}"),
        (false, None) => "did not fail this time".to_owned(),
    };
    format!("{trial}, replayed from {from}: {outcome}\n  {} after {} env steps\n", failure.error, failure.env_steps)
}
