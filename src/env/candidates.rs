//! Decisions as candidate sets: the observation form that recommendation and diagnosis share.
//!
//! A state, a list of candidates that may have a text, and a legality mask; the action is a slate of `k` of them
//! (one decision is a slate of one).

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Index of a text in the [`TextTable`] of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TextId(pub u32);

/// All texts that candidates and histories of one environment can refer to, each stored once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TextTable {
    texts: Arc<[String]>,
}

impl TextTable {
    /// A table in which text `i` has [`TextId`]`(i)`.
    #[must_use]
    pub fn new(texts: Vec<String>) -> Self {
        Self { texts: texts.into() }
    }

    /// The text with this id.
    #[must_use]
    pub fn get(&self, id: TextId) -> Option<&str> {
        self.texts.get(id.0 as usize).map(String::as_str)
    }

    /// All texts in id order.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.texts
    }

    /// How many texts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none: the environment has no texts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// One past step as the agent remembers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// What was consumed; `None` if nothing was chosen.
    pub text: Option<TextId>,
    /// Numbers that describe the outcome, `[history_dim]` as the spec says.
    pub features: Vec<f32>,
}

/// What became of one slate position.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct ItemOutcome {
    /// Whether this position was consumed.
    pub clicked: bool,
    /// What it contributed to the reward.
    pub reward: f32,
    /// A quality that the response revealed; `None` if it stays hidden. Some environments reveal that of every item
    /// shown, others only that of the consumed one, so look at `clicked` to know what was consumed.
    pub quality: Option<f32>,
}

/// What became of the last slate, one entry per slate position.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Feedback {
    /// In slate order.
    pub outcomes: Vec<ItemOutcome>,
    /// The answer that hindsight shows to have been right, one of [`super::CandidateSpec::answers`]: a label. Only in the
    /// final observation of an episode, and only where the environment reveals it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<u32>,
}

impl Feedback {
    /// The slate position that was consumed, if any.
    #[must_use]
    pub fn chosen(&self) -> Option<usize> {
        self.outcomes.iter().position(|o| o.clicked)
    }
}

/// A state and the candidates to choose from.
///
/// Shapes are fixed by [`super::CandidateSpec`]: `state` is `[state_dim]`, `candidate_features` is
/// `[num_candidates, candidate_dim]` row by row (empty if `candidate_dim` is 0), `candidate_texts` is
/// `[num_candidates]` or empty if candidates have no text, `mask` is `[num_candidates]`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct CandidateObs {
    /// Features of the state.
    pub state: Vec<f32>,
    /// The most recent events, oldest first; empty where the environment shows no history.
    pub history: Vec<HistoryEvent>,
    /// Features of the candidates, row by row.
    pub candidate_features: Vec<f32>,
    /// Texts of the candidates.
    pub candidate_texts: Vec<TextId>,
    /// Which candidates may be chosen.
    pub mask: Vec<bool>,
    /// What became of the previous slate; `None` after a reset.
    pub feedback: Option<Feedback>,
}

impl CandidateObs {
    /// How many candidates are offered.
    #[must_use]
    pub fn num_candidates(&self) -> usize {
        self.mask.len()
    }
}

/// An ordered choice of distinct candidate indices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Slate(pub Vec<u32>);
