//! The user model of `long_term_satisfaction`.

use super::config::SatisfactionConfig;
use crate::rec_sim::shared::{ItemFacts, LoopConfig, Model, Outcome, Reveals};
use retune::env::{ActionSpec, CandidateObs, CandidateSpec, EnvError, EnvSpec, ObsSpec, TextTable};
use retune::rng::StreamRng;
use serde::{Deserialize, Serialize};

/// State of a user, hidden.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Discounted sum of good minus bad exposure, NPE.
    pub net_positive_exposure: f64,
    /// In (0, 1).
    pub satisfaction: f64,
    /// Steps left.
    pub time_budget: u32,
}

/// An item on offer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// In [0, 1], shown.
    pub clickbait: f64,
}

/// The random numbers of one step, both standard normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draws {
    /// Noise on engagement, z₁.
    pub engagement: f64,
    /// Noise on net positive exposure, z₂.
    pub exposure: f64,
}

/// Settings of `long_term_satisfaction`, checked.
#[derive(Clone, Debug)]
pub struct SatisfactionModel {
    config: SatisfactionConfig,
    shape: LoopConfig,
    spec: EnvSpec,
    fingerprint: String,
}

impl SatisfactionModel {
    /// The model with these settings.
    ///
    /// # Errors
    /// [`EnvError::Config`] for a setting out of range.
    pub fn new(config: SatisfactionConfig) -> Result<Self, EnvError> {
        config.validate()?;
        let obs = CandidateSpec {
            num_candidates: config.num_candidates,
            state_dim: 0,
            candidate_dim: 1,
            has_text: false,
            history_len: 0,
            history_dim: 0,
            answers: 0..0,
            pool: Vec::new(),
        };
        let spec = EnvSpec {
            id: "rec_sim/long_term_satisfaction".to_owned(),
            description: "Engage users whom clickbait wears down; reward is engagement.".to_owned(),
            obs: ObsSpec::Candidates(obs),
            action: ActionSpec::Slate { size: config.slate_size },
            reward_unit: "engagement",
            reward_range: (0.0, f64::INFINITY),
            time_limit: None,
            texts: TextTable::default(),
        };
        let (shape, fingerprint) = (config.loop_config(), format!("{} {config:?}", spec.id));
        Ok(Self { config, shape, spec, fingerprint })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &SatisfactionConfig {
        &self.config
    }

    /// A new user from a draw in [0, 1).
    pub(super) fn user(&self, u: f64) -> User {
        let net_positive_exposure = (u - 0.5) / (1.0 - self.config.memory_discount);
        let satisfaction = self.config.satisfaction(net_positive_exposure);
        User { net_positive_exposure, satisfaction, time_budget: self.config.time_budget }
    }
}

impl Model for SatisfactionModel {
    type User = User;
    type Doc = Item;
    type Draws = Draws;

    fn loop_config(&self) -> &LoopConfig {
        &self.shape
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn sample_user(&self, rng: &mut StreamRng) -> User {
        self.user(rng.uniform())
    }

    fn sample_candidates(&self, rng: &mut StreamRng, docs: &mut Vec<Item>) {
        docs.clear();
        docs.extend((0..self.shape.num_candidates).map(|_| Item { clickbait: rng.uniform() }));
    }

    fn draw(&self, rng: &mut StreamRng) -> Draws {
        Draws { engagement: rng.normal(), exposure: rng.normal() }
    }

    /// The first position is always consumed.
    fn score(&self, _: &User, _: &[Item], slate: &[u32], scores: &mut Vec<f64>) -> Result<(), EnvError> {
        scores.clear();
        scores.resize(slate.len() + 1, 0.0);
        scores[0] = 1.0;
        Ok(())
    }

    fn transition(&self, user: &mut User, candidates: &[Item], slate: &[u32], _: &[f64], draws: Draws) -> Outcome {
        let clickbait = candidates[slate[0] as usize].clickbait;
        let (location, spread) = self.config.engagement(clickbait, user.satisfaction);
        let engagement = (location + spread * draws.engagement).exp();
        user.net_positive_exposure = self.config.next_exposure(user.net_positive_exposure, clickbait, draws.exposure);
        user.satisfaction = self.config.satisfaction(user.net_positive_exposure);
        user.time_budget = user.time_budget.saturating_sub(1);
        Outcome { chosen: Some(0), reward: engagement, terminated: user.time_budget == 0 }
    }

    fn click_score(&self, _: &User, doc: &Item) -> f64 {
        doc.clickbait
    }

    fn expected_quality(&self, doc: &Item) -> f64 {
        -doc.clickbait
    }

    fn facts(&self, doc: &Item) -> ItemFacts {
        ItemFacts { item: 0, topic: 0, quality: doc.clickbait, text: None }
    }

    fn pool_size(&self) -> usize {
        1
    }

    fn num_topics(&self) -> usize {
        1
    }

    fn observe(&self, _: &User, candidates: &[Item]) -> CandidateObs {
        let candidate_features = candidates.iter().map(|c| c.clickbait as f32).collect();
        CandidateObs { candidate_features, mask: vec![true; candidates.len()], ..CandidateObs::default() }
    }

    fn reveals(&self) -> Reveals {
        Reveals::Nothing
    }

    fn reported(&self, reward: f64) -> f64 {
        reward.clamp(0.0, 100.0)
    }

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn check(&self, user: &User, candidates: &[Item]) -> Result<(), String> {
        if !user.net_positive_exposure.is_finite() || !(0.0..=1.0).contains(&user.satisfaction) {
            return Err("exposure must be finite and satisfaction must lie in [0, 1]".to_owned());
        }
        let fits = |c: &Item| (0.0..=1.0).contains(&c.clickbait);
        if candidates.iter().all(fits) { Ok(()) } else { Err("clickbait must lie in [0, 1]".to_owned()) }
    }
}
