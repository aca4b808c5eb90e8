//! What the three recommendation environments have in common: the loop, and what a model must supply for it.

use retune::env::{CandidateObs, EnvError, EnvSpec, TextId};
use retune::rng::StreamRng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Settings of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopConfig {
    /// Candidates offered at each step, C.
    pub num_candidates: usize,
    /// Items of a slate, k, at most C.
    pub slate_size: usize,
    /// New candidates after every step; otherwise one set from a seed on.
    pub resample_documents: bool,
    /// Seed that the first `reset(None)` starts from.
    pub seed: u64,
}

impl LoopConfig {
    /// Checks that a slate can be filled.
    ///
    /// # Errors
    /// [`EnvError::Config`] naming key and value.
    pub fn validate(&self) -> Result<(), EnvError> {
        if self.num_candidates == 0 {
            return Err(config_error("num_candidates", 0, "at least 1"));
        }
        if u32::try_from(self.num_candidates).is_err() {
            return Err(config_error("num_candidates", self.num_candidates, "a number below 2^32"));
        }
        if self.slate_size == 0 {
            return Err(config_error("slate_size", 0, "at least 1"));
        }
        if self.slate_size > self.num_candidates {
            let expected = format!("at most num_candidates = {} (a slate has distinct items)", self.num_candidates);
            return Err(config_error("slate_size", self.slate_size, expected));
        }
        Ok(())
    }
}

/// An [`EnvError::Config`].
pub(crate) fn config_error(key: &str, value: impl std::fmt::Display, expected: impl Into<String>) -> EnvError {
    EnvError::Config { key: key.to_owned(), value: value.to_string(), expected: expected.into() }
}

/// A finite number, or an error that names the setting.
pub(crate) fn require(ok: bool, key: &str, value: f64, expected: &str) -> Result<(), EnvError> {
    if ok && value.is_finite() { Ok(()) } else { Err(config_error(key, value, expected)) }
}

/// What is true of an item, shown or hidden. For evaluation and for references, never for agents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemFacts {
    /// Number of the item in the pool; of its topic where items are drawn afresh.
    pub item: u32,
    /// Topic; 0 where items have none.
    pub topic: u32,
    /// Quality; the clickbait score in `long_term_satisfaction`.
    pub quality: f64,
    /// Text of the item, if it has one.
    pub text: Option<TextId>,
}

/// What happened in one step. For evaluation and for references, never for agents.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct StepFacts {
    /// The items shown, in slate order.
    pub slate: Vec<ItemFacts>,
    /// The slate position that was consumed.
    pub chosen: Option<usize>,
    /// Reward of the step.
    pub reward: f64,
}

impl StepFacts {
    /// The item that was consumed.
    #[must_use]
    pub fn consumed(&self) -> Option<&ItemFacts> {
        self.chosen.map(|i| &self.slate[i])
    }
}

/// What a transition leads to, apart from the new user state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The slate position that was consumed.
    pub chosen: Option<usize>,
    /// Reward of the step, all of it from the consumed item.
    pub reward: f64,
    /// Whether the session is over.
    pub terminated: bool,
}

/// A user, the items, and what they do to each other. The transition is pure: every random number comes in as a draw.
pub trait Model: Send + Sync {
    /// Hidden and shown state of the user.
    type User: Clone + std::fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send;
    /// An item on offer.
    type Doc: Clone + std::fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send;
    /// The random numbers of one step.
    type Draws: Copy;

    /// Settings of the loop.
    fn loop_config(&self) -> &LoopConfig;

    /// A string that tells this model from every other one, settings and items included.
    fn fingerprint(&self) -> &str;

    /// A new user.
    fn sample_user(&self, rng: &mut StreamRng) -> Self::User;

    /// Replaces `docs` by C new candidates.
    fn sample_candidates(&self, rng: &mut StreamRng, docs: &mut Vec<Self::Doc>);

    /// All random numbers of one step, whether or not the step will use them.
    fn draw(&self, rng: &mut StreamRng) -> Self::Draws;

    /// The model's scores of the slate, `[slate_size + 1]` with that of "nothing" last, into `scores`.
    ///
    /// # Errors
    /// If the choice model cannot use the user's scores.
    fn score(
        &self,
        user: &Self::User,
        candidates: &[Self::Doc],
        slate: &[u32],
        scores: &mut Vec<f64>,
    ) -> Result<(), EnvError>;

    /// The step itself, with `scores` as [`Model::score`] made them. Pure.
    fn transition(
        &self,
        user: &mut Self::User,
        candidates: &[Self::Doc],
        slate: &[u32],
        scores: &[f64],
        draws: Self::Draws,
    ) -> Outcome;

    /// The user's own score of an item: the higher, the likelier a click. For references.
    fn click_score(&self, user: &Self::User, doc: &Self::Doc) -> f64;

    /// The quality of an item as far as it can be known before it is consumed. For references.
    fn expected_quality(&self, doc: &Self::Doc) -> f64;

    /// What is true of an item.
    fn facts(&self, doc: &Self::Doc) -> ItemFacts;

    /// Number of items in the pool; of topics where items are drawn afresh.
    fn pool_size(&self) -> usize;

    /// Number of topics; 1 where items have none.
    fn num_topics(&self) -> usize;

    /// The observation without history and feedback.
    fn observe(&self, user: &Self::User, candidates: &[Self::Doc]) -> CandidateObs;

    /// Which qualities the responses reveal.
    fn reveals(&self) -> Reveals;

    /// What the response of the consumed item reports of `reward`.
    fn reported(&self, reward: f64) -> f64 {
        reward
    }

    /// Form of the environment.
    fn spec(&self) -> &EnvSpec;

    /// Whether a saved user and candidate list can belong to this model.
    ///
    /// # Errors
    /// With what does not fit.
    fn check(&self, user: &Self::User, candidates: &[Self::Doc]) -> Result<(), String>;
}

/// Which qualities the responses to a slate reveal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reveals {
    /// That of every item shown.
    Shown,
    /// That of the consumed item.
    Consumed,
    /// None.
    Nothing,
}

/// Refuses a slate that is not `k` distinct indices below `num_candidates`, in the order of the three errors.
///
/// # Errors
/// [`EnvError::Action`] of kind `wrong_slate_length`, `index_out_of_range` or `duplicate_item`.
pub fn check_slate(slate: &[u32], slate_size: usize, num_candidates: usize) -> Result<(), EnvError> {
    if slate.len() != slate_size {
        let message = format!("{} items, expected slate_size = {slate_size}", slate.len());
        return Err(EnvError::Action { kind: "wrong_slate_length", message });
    }
    if let Some(index) = slate.iter().find(|&&i| i as usize >= num_candidates) {
        let message = format!("item {index}, expected an index below num_candidates = {num_candidates}");
        return Err(EnvError::Action { kind: "index_out_of_range", message });
    }
    // Slates are short: comparing all pairs beats any set.
    if let Some((_, index)) = slate.iter().enumerate().find(|&(at, index)| slate[..at].contains(index)) {
        let message = format!("item {index} stands twice in the slate {slate:?}, expected distinct items");
        return Err(EnvError::Action { kind: "duplicate_item", message });
    }
    Ok(())
}
