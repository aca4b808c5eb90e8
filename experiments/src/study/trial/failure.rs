//! What a trial leaves behind that could not go on: the error, and where to look into it.
//!
//! `failure/failure.json` beside the checkpoints says what happened, `failure/agent.safetensors` holds the agent as it
//! was when it happened. Trials are deterministic, so the last checkpoint (or the beginning) replays the failure:
//! `experiment replay DIR`.

use retune::agent::Learner;
use retune::persist::{StateDict, save_file};
use retune::track::{read_json, write_json};
use retune::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const FOLDER: &str = "failure";
const FILE: &str = "failure.json";
/// Kind of the file with the agent.
const AGENT_KIND: &str = "agent of a failed trial";

/// Why a trial stopped, `trials/<arm>/<seed>/failure/failure.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The error as a person read it.
    pub error: String,
    /// Tensor or metric that was not finite; `None` for other errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
    /// Learner update at which it appeared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<u64>,
    /// The batch and whatever else helps to find the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Env steps of training before the round that failed.
    pub env_steps: u64,
    /// Env steps of the checkpoint that replays it; `None`: the trial from its beginning.
    pub replays_from: Option<u64>,
}

impl Failure {
    /// What is worth keeping of `error`; `None` where there is nothing to look into: a request to stop, a disk that is
    /// full, a setting that was refused.
    pub(super) fn of(error: &Error, env_steps: u64, replays_from: Option<u64>) -> Option<Self> {
        let (tensor, update, detail) = match error {
            Error::Interrupted | Error::Io { .. } | Error::Config { .. } => return None,
            Error::NonFinite { name, update, detail } => (Some(name.clone()), Some(*update), Some(detail.clone())),
            _ => (None, None, None),
        };
        Some(Self { error: error.to_string(), tensor, update, detail, env_steps, replays_from })
    }

    /// Keeps it in the folder of a trial, with the agent as it is.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn write<O, A>(&self, trial: &Path, learner: &dyn Learner<O, A>) -> Result<()> {
        let folder = trial.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let mut state = StateDict::default();
        learner.save(&mut state, "agent/")?;
        save_file(&folder.join("agent.safetensors"), AGENT_KIND, &state)?;
        write_json(&Self::path(trial), self)
    }

    /// That of a trial in `trial`; `None` if it has not failed.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(trial: &Path) -> Result<Option<Self>> {
        let path = Self::path(trial);
        if path.is_file() { read_json(&path).map(Some) } else { Ok(None) }
    }

    /// Forgets the failure of an earlier run of the process.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub(super) fn clear(trial: &Path) -> Result<()> {
        let folder = trial.join(FOLDER);
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&folder, e)),
            _ => Ok(()),
        }
    }

    fn path(trial: &Path) -> PathBuf {
        trial.join(FOLDER).join(FILE)
    }
}
