//! The user model of `interest_exploration`.

use super::config::ExplorationConfig;
use crate::rec_sim::choice::{ChoiceModel, pick};
use crate::rec_sim::shared::{ItemFacts, LoopConfig, Model, Outcome, Reveals};
use retune::env::{ActionSpec, CandidateObs, CandidateSpec, EnvError, EnvSpec, ObsSpec, TextTable};
use retune::rng::StreamRng;
use serde::{Deserialize, Serialize};

/// State of a user, constant and hidden.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Affinity to each topic, above 0: `[num_topics]`.
    pub affinity: Vec<f64>,
}

/// An item on offer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Topic, shown.
    pub topic: u32,
    /// Quality, above 0, shown.
    pub quality: f64,
}

/// Settings of `interest_exploration`, checked.
#[derive(Clone, Debug)]
pub struct ExplorationModel {
    config: ExplorationConfig,
    shape: LoopConfig,
    choice: ChoiceModel,
    spec: EnvSpec,
    fingerprint: String,
}

impl ExplorationModel {
    /// The model with these settings.
    ///
    /// # Errors
    /// [`EnvError::Config`] for a setting out of range.
    pub fn new(config: ExplorationConfig) -> Result<Self, EnvError> {
        config.validate()?;
        let (shape, choice) = (config.loop_config(), config.choice());
        let obs = CandidateSpec {
            num_candidates: config.num_candidates,
            state_dim: 0,
            candidate_dim: config.topic_probs.len() + 1,
            has_text: false,
            history_len: 0,
            history_dim: 0,
            answers: 0..0,
            pool: Vec::new(),
        };
        let spec = EnvSpec {
            id: "rec_sim/interest_exploration".to_owned(),
            description: "Find out what users of a hidden type like; reward is clicks.".to_owned(),
            obs: ObsSpec::Candidates(obs),
            action: ActionSpec::Slate { size: config.slate_size },
            reward_unit: "clicks",
            reward_range: (0.0, 1.0),
            time_limit: Some(config.time_limit),
            texts: TextTable::default(),
        };
        let fingerprint = format!("{} {config:?}", spec.id);
        Ok(Self { config, shape, choice, spec, fingerprint })
    }

    /// A user of type `kind` from standard normal draws: `[num_topics]`.
    pub(super) fn user(&self, kind: usize, normals: impl Iterator<Item = f64>) -> User {
        let settings = self.config.affinity_means[kind].iter().zip(&self.config.affinity_sds[kind]);
        User { affinity: settings.zip(normals).map(|((mean, sd), z)| (mean + sd * z).exp()).collect() }
    }

    /// The user type that a draw in [0, 1) decides for.
    pub(super) fn kind(&self, u: f64) -> usize {
        pick(&self.config.type_probs, u)
    }

    /// An item from a draw in [0, 1) and a standard normal one.
    pub(super) fn item(&self, u: f64, normal: f64) -> Item {
        let topic = pick(&self.config.topic_probs, u);
        let quality = (self.config.quality_means[topic] + self.config.quality_sds[topic] * normal).exp();
        Item { topic: topic as u32, quality }
    }
}

impl Model for ExplorationModel {
    type User = User;
    type Doc = Item;
    /// Decides what is chosen, in [0, 1).
    type Draws = f64;

    fn loop_config(&self) -> &LoopConfig {
        &self.shape
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn sample_user(&self, rng: &mut StreamRng) -> User {
        let kind = self.kind(rng.uniform());
        self.user(kind, std::iter::repeat_with(|| rng.normal()))
    }

    fn sample_candidates(&self, rng: &mut StreamRng, docs: &mut Vec<Item>) {
        docs.clear();
        docs.extend((0..self.shape.num_candidates).map(|_| {
            let u = rng.uniform();
            self.item(u, rng.normal())
        }));
    }

    fn draw(&self, rng: &mut StreamRng) -> f64 {
        rng.uniform()
    }

    fn score(&self, user: &User, candidates: &[Item], slate: &[u32], scores: &mut Vec<f64>) -> Result<(), EnvError> {
        scores.clear();
        scores.extend(slate.iter().map(|&i| self.click_score(user, &candidates[i as usize])));
        let nothing = self.choice.weigh(scores)?;
        scores.push(nothing);
        Ok(())
    }

    fn transition(&self, _: &mut User, _: &[Item], slate: &[u32], scores: &[f64], draw: f64) -> Outcome {
        let picked = pick(scores, draw);
        let chosen = (picked < slate.len()).then_some(picked);
        Outcome { chosen, reward: f64::from(u8::from(chosen.is_some())), terminated: false }
    }

    fn click_score(&self, user: &User, doc: &Item) -> f64 {
        user.affinity[doc.topic as usize] + doc.quality
    }

    fn expected_quality(&self, doc: &Item) -> f64 {
        doc.quality
    }

    fn facts(&self, doc: &Item) -> ItemFacts {
        ItemFacts { item: doc.topic, topic: doc.topic, quality: doc.quality, text: None }
    }

    fn pool_size(&self) -> usize {
        self.config.topic_probs.len()
    }

    fn num_topics(&self) -> usize {
        self.config.topic_probs.len()
    }

    fn observe(&self, _: &User, candidates: &[Item]) -> CandidateObs {
        let width = self.num_topics() + 1;
        let mut features = vec![0.0; candidates.len() * width];
        for (row, item) in features.chunks_exact_mut(width).zip(candidates) {
            row[item.topic as usize] = 1.0;
            row[width - 1] = item.quality as f32;
        }
        let mask = vec![true; candidates.len()];
        CandidateObs { candidate_features: features, mask, ..CandidateObs::default() }
    }

    fn reveals(&self) -> Reveals {
        Reveals::Shown
    }

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn check(&self, user: &User, candidates: &[Item]) -> Result<(), String> {
        let topics = self.num_topics();
        if user.affinity.len() != topics || user.affinity.iter().any(|a| !a.is_finite()) {
            return Err(format!("expected {topics} finite affinities"));
        }
        let fits = |c: &Item| (c.topic as usize) < topics && c.quality.is_finite();
        if candidates.iter().all(fits) { Ok(()) } else { Err("a candidate has no such topic".to_owned()) }
    }
}
