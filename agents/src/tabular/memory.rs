//! What an update remembers of an episode in one env slot.

use retune::agent::Transition;
use retune::env::Status;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// One step, as numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    pub state: u32,
    pub action: u32,
    pub reward: f64,
    pub status: Status,
    pub next_state: u32,
    /// Which actions were legal in `state`; empty where all always are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legal: Vec<bool>,
    /// The same in `next_state`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_legal: Vec<bool>,
}

impl From<&Transition<u32, u32>> for Move {
    fn from(t: &Transition<u32, u32>) -> Self {
        let (legal, next_legal) = (Vec::new(), Vec::new());
        let (state, next_state) = (*t.obs, *t.next_obs);
        Self { state, action: t.action, reward: t.reward, status: t.status, next_state, legal, next_legal }
    }
}

/// Part of the running episode. Empty when an episode begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Steps whose pair has not been updated yet, oldest first.
    pub waiting: VecDeque<Move>,
    /// Eligibility of cells of the table, in the order of their first visit.
    pub traces: Vec<(u32, f64)>,
    /// What the last update with Dutch traces bootstrapped from; `None` if there is no trace it belongs to.
    pub bootstrapped: Option<f64>,
}
