//! Environments: sequential decision tasks.
//!
//! An [`Env`] is reset, then stepped until its [`Status`] is no longer [`Status::Running`]. Only
//! [`Status::Terminated`] stops bootstrapping; a time limit is [`Status::Truncated`] and is added by a wrapper.

mod candidates;
pub mod check;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
mod vector;
mod wrappers;

pub use candidates::{CandidateObs, Feedback, HistoryEvent, ItemOutcome, Slate, TextId, TextTable};
pub use spec::{ActionSpec, CandidateSpec, EnvSpec, ObsSpec};
pub use vector::{EndedEpisode, SlotState, SlotStep, VecEnv};
pub use wrappers::{EpisodeStats, EpisodeTotals, TimeLimit};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How a step left the episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The episode goes on.
    Running,
    /// The task is over: the value of what follows is zero.
    Terminated,
    /// The episode was cut (a time limit): the value of what follows is that of the final observation.
    Truncated,
}

impl Status {
    /// Whether the episode is over, for whichever reason.
    #[must_use]
    pub fn is_over(self) -> bool {
        self != Self::Running
    }
}

/// What one step returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<O> {
    /// The observation after the step; the final one of the episode if `status` is over.
    pub obs: O,
    /// Reward of this step, in the unit that [`EnvSpec::reward_unit`] names.
    pub reward: f64,
    /// Whether the episode goes on.
    pub status: Status,
}

/// Why an environment refused.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// A setting is out of range. Names the key, the value, and what would be right.
    #[error("{key} = {value}: {expected}")]
    Config {
        /// The setting.
        key: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// An illegal action. Raised before any state changes or any draw is consumed.
    #[error("illegal action ({kind}): {message}")]
    Action {
        /// Stable machine-readable kind, such as `duplicate_item`.
        kind: &'static str,
        /// What was wrong and what would be right.
        message: String,
    },
    /// A step without a running episode.
    #[error("the episode is over (or was never begun): call reset before step")]
    EpisodeOver,
    /// A saved state that does not belong to this environment.
    #[error("cannot restore the environment: {0}")]
    State(String),
    /// A data file that cannot be used.
    #[error("{file}: {message}")]
    Data {
        /// The file.
        file: String,
        /// What is wrong, where, and what would be right.
        message: String,
    },
}

/// The exact state of an environment, including its random streams, between two steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvState {
    /// [`EnvSpec::id`] of the environment it belongs to.
    pub env: String,
    /// The state itself.
    pub state: serde_json::Value,
}

/// A sequential decision task.
///
/// Laws, checked by [`check::check_env`] for every environment of the project:
/// * the same seed and the same actions give the same observations, rewards and ends, bit for bit;
/// * a refused action changes no state and consumes no draw;
/// * [`Env::save_state`] then [`Env::restore_state`] continues bit for bit, also in another instance;
/// * stepping before `reset` or after the end is [`EnvError::EpisodeOver`].
pub trait Env: Send {
    /// What the agent sees. Shared between threads, and saved with a run.
    type Obs: Clone + std::fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What the agent does. Its JSON form enters the digest of an episode's actions.
    type Action: Clone + std::fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + 'static;

    /// What is known about the task at run time.
    fn spec(&self) -> &EnvSpec;

    /// Begins an episode. `Some(seed)` restarts the random streams from that seed, so that the same seed gives the
    /// same episode; `None` begins the next episode of the current streams.
    ///
    /// # Errors
    /// If the first observation cannot be made.
    fn reset(&mut self, seed: Option<u64>) -> Result<Self::Obs, EnvError>;

    /// Does `action` and moves one step on.
    ///
    /// # Errors
    /// [`EnvError::Action`] or [`EnvError::EpisodeOver`], before any state changes.
    fn step(&mut self, action: &Self::Action) -> Result<Step<Self::Obs>, EnvError>;

    /// The exact state, to continue from later.
    ///
    /// # Errors
    /// If the state cannot be expressed.
    fn save_state(&self) -> Result<EnvState, EnvError>;

    /// Goes back to a saved state.
    ///
    /// # Errors
    /// [`EnvError::State`] if it belongs to another environment or does not fit; the current state is then kept.
    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError>;
}

/// A boxed environment is one too, so that its kind can be chosen at run time.
impl<E: Env + ?Sized> Env for Box<E> {
    type Obs = E::Obs;
    type Action = E::Action;

    fn spec(&self) -> &EnvSpec {
        (**self).spec()
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<Self::Obs, EnvError> {
        (**self).reset(seed)
    }

    fn step(&mut self, action: &Self::Action) -> Result<Step<Self::Obs>, EnvError> {
        (**self).step(action)
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        (**self).save_state()
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        (**self).restore_state(state)
    }
}
