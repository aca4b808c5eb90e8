//! What is known about an environment at run time.

use super::{TextId, TextTable};
use serde::Serialize;

/// Run-time description of an environment.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvSpec {
    /// Stable name, such as `rec_sim/interest_evolution/text`.
    pub id: String,
    /// One sentence for people.
    pub description: String,
    /// Form of the observation.
    pub obs: ObsSpec,
    /// Form of the action.
    pub action: ActionSpec,
    /// Unit of the reward and of its sum, such as `minutes watched`.
    pub reward_unit: &'static str,
    /// Lowest and highest reward of one step.
    pub reward_range: (f64, f64),
    /// Env steps after which a wrapper truncates; `None` if episodes always end by themselves.
    pub time_limit: Option<u64>,
    /// Texts that observations refer to; empty if there are none.
    pub texts: TextTable,
}

/// Form of an observation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObsSpec {
    /// One of `n` states.
    Discrete {
        /// Number of states.
        n: usize,
    },
    /// A vector; `low` and `high` bound each component.
    Box {
        /// Lower bounds.
        low: Vec<f32>,
        /// Upper bounds.
        high: Vec<f32>,
    },
    /// A candidate set.
    Candidates(CandidateSpec),
}

/// Shapes of a [`super::CandidateObs`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateSpec {
    /// Candidates offered at each step.
    pub num_candidates: usize,
    /// Length of the state vector; 0 if the state is only a history.
    pub state_dim: usize,
    /// Length of a candidate's feature vector; 0 if candidates have only a text, or are a fixed set of actions that
    /// are told apart by their index.
    pub candidate_dim: usize,
    /// Whether candidates have a text.
    pub has_text: bool,
    /// Most events in the history; 0 if there is none.
    pub history_len: usize,
    /// Numbers per event of the history.
    pub history_dim: usize,
    /// Candidates that answer the question of the episode and thereby end it, such as diagnoses among questions; empty
    /// where there is no such difference. Which of them was right may be revealed in [`super::Feedback::best`].
    pub answers: std::ops::Range<usize>,
    /// The texts that this instance can show, in id order: what an agent has to encode. Empty without texts. It may
    /// be fewer than [`EnvSpec::texts`] holds, such as the training part of a catalogue.
    pub pool: Vec<TextId>,
}

/// Form of an action.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionSpec {
    /// One of `n` actions.
    Discrete {
        /// Number of actions.
        n: usize,
    },
    /// `size` distinct candidates.
    Slate {
        /// Slots of the slate.
        size: usize,
    },
}
