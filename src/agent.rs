//! Agents: an *actor* that chooses, a *learner* that improves, and the versioned parameters that travel between.
//!
//! Supervised baselines are agents too: their actor behaves as the logging policy in [`Mode::Train`] and uses what
//! was learnt in [`Mode::Evaluate`]. The same actor and learner run in the sync and in the threaded runner
//! ([`crate::rollout`]).

use crate::Result;
use crate::env::{Status, TextId};
use crate::persist::StateDict;
use crate::rng::StreamRng;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why an actor is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Collecting experience: explores.
    Train,
    /// Being measured: acts as well as it can and leaves no trace in training state.
    Evaluate,
}

/// An action and the probability it was chosen with.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<A> {
    /// What to do.
    pub action: A,
    /// Natural logarithm of the probability under the acting policy; 0 for a deterministic choice.
    pub log_prob: f32,
}

/// One env step as the learner sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition<O, A> {
    /// Observation before the step.
    pub obs: Arc<O>,
    /// What was done.
    pub action: A,
    /// Log-probability of the action under the policy that acted.
    pub log_prob: f32,
    /// Reward of the step.
    pub reward: f64,
    /// How the step left the episode. Only [`Status::Terminated`] removes the bootstrap.
    pub status: Status,
    /// Observation after the step; where the episode is over, its *final* observation, never that of the next one.
    pub next_obs: Arc<O>,
}

/// What one env slot did in one round: consecutive transitions, possibly across episode ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment<O, A> {
    /// Number of the env slot, the same for the whole run.
    pub env: usize,
    /// In time order, `[steps_per_round]`.
    pub steps: Vec<Transition<O, A>>,
}

/// What all env slots did in one round, in slot order whatever thread did the work.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout<O, A> {
    /// Number of the round, from 0.
    pub round: u64,
    /// Version of the parameters that acted.
    pub version: u64,
    /// In slot order.
    pub segments: Vec<Segment<O, A>>,
}

impl<O, A> Rollout<O, A> {
    /// Env steps in this rollout.
    #[must_use]
    pub fn env_steps(&self) -> usize {
        self.segments.iter().map(|s| s.steps.len()).sum()
    }
}

/// Vectors of texts under one set of weights: row `i` belongs to [`TextId`]`(i)`.
///
/// Rows that were not asked for are NaN, so that using one shows at once.
#[derive(Clone, Debug)]
pub struct FeatureTable {
    /// `[num_texts, width]`, on the CPU.
    pub table: Tensor,
    /// Weight version of the encoder that made it.
    pub weight_version: String,
}

/// Immutable parameters at one version: a real copy on the CPU that may cross threads.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one with every published change.
    pub version: u64,
    /// SHA-256 over names, shapes and bits in name order, as hex.
    pub checksum: String,
    /// Parameters that acting needs, by name.
    pub params: BTreeMap<String, Tensor>,
    /// Text vectors that belong to these parameters; `None` where the task has no texts.
    pub features: Option<Arc<FeatureTable>>,
}

/// Chooses actions. Owns no optimizer.
pub trait Actor<O, A>: Send {
    /// Takes over published parameters.
    ///
    /// # Errors
    /// If a parameter is missing or has another shape.
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()>;

    /// One decision for each observation. `rngs[i]` is the action stream of the env that showed `obs[i]`; a decision
    /// may draw from it, and must not depend on anything else that is random.
    ///
    /// # Errors
    /// If the observations do not have the shape the actor was built for, or a score is not finite.
    fn act(&mut self, obs: &[Arc<O>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<A>>>;
}

/// Improves parameters from experience. Owns the optimizer, the replay memory and the random streams of learning.
pub trait Learner<O, A> {
    /// Publishes the current parameters with the vectors of `texts` (empty slice: those it trains on).
    ///
    /// # Errors
    /// If a tensor cannot be copied or a text cannot be encoded.
    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>>;

    /// Takes in one round of experience and improves. `stop` is looked at between updates.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`] if asked to stop (the caller goes back to the last checkpoint);
    /// [`crate::Error::NonFinite`] on the first number that is not finite.
    fn learn(&mut self, rollout: Rollout<O, A>, stop: &Stop) -> Result<Metrics>;

    /// What has been spent so far.
    fn ledger(&self) -> Ledger;

    /// Number of parameters that are trained.
    fn trainable_parameters(&self) -> usize;

    /// Puts everything that later results depend on into `state`, under names that begin with `prefix`.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()>;

    /// Takes everything back from `state`.
    ///
    /// # Errors
    /// [`crate::Error::State`] if it belongs to another agent or shape; nothing is then changed.
    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()>;
}

/// Makes actors, any number, and one learner that belong together.
pub trait Agent<O, A> {
    /// A new actor without parameters: it must [`Actor::load`] first.
    ///
    /// # Errors
    /// If it cannot be built.
    fn make_actor(&self) -> Result<Box<dyn Actor<O, A>>>;

    /// The learner.
    fn learner(&mut self) -> &mut dyn Learner<O, A>;
}

/// Named numbers of one round, in name order. Keys are documented where they are made.
pub type Metrics = BTreeMap<String, f64>;

/// What a trial has spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// Env steps taken for training.
    pub env_steps: u64,
    /// Labels that supervised losses used (a clicked-or-not per shown item, a revealed quality, …).
    pub labels: u64,
    /// Tokens the backbone read without a gradient. Tokens served from the feature cache are not counted.
    pub forward_tokens: u64,
    /// Tokens the backbone read with a gradient.
    pub backward_tokens: u64,
    /// Tokens that the feature cache saved.
    pub cached_tokens: u64,
    /// Optimizer steps.
    pub updates: u64,
    /// Wall-clock seconds of training, evaluation not counted.
    pub wall_secs: f64,
}

/// A request to stop that every long loop looks at.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A request nobody has made yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone who holds a clone to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// `Err(Interrupted)` if somebody asked.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`].
    pub fn check(&self) -> Result<()> {
        if self.is_requested() { Err(crate::Error::Interrupted) } else { Ok(()) }
    }
}
