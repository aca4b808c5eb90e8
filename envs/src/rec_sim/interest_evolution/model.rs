//! The user model of `interest_evolution`: items, users, and the pure transition.

use super::config::{EvolutionConfig, topic_means};
use crate::rec_sim::choice::{ChoiceModel, pick};
use crate::rec_sim::shared::{ItemFacts, LoopConfig, Model, Outcome, Reveals};
use retune::env::{ActionSpec, CandidateObs, CandidateSpec, EnvError, EnvSpec, ObsSpec, TextId, TextTable};
use retune::rng::StreamRng;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// State of a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Interest in each topic, in [−1, 1]: `[num_topics]`.
    pub interests: Vec<f64>,
    /// Budget left, minutes. Hidden.
    pub time_budget: f64,
}

/// An item on offer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Number of the card in the pool; of the topic where items are drawn afresh.
    pub item: u32,
    /// Topic.
    pub topic: u32,
    /// Quality. Hidden until a response reveals it.
    pub quality: f64,
    /// Length, minutes.
    pub length: f64,
}

/// A card that a catalogue offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Card {
    /// Its text in the table of the environment.
    pub text: TextId,
    /// Its topic.
    pub topic: u32,
    /// Its quality, fixed.
    pub quality: f64,
}

/// The random numbers of one step, each in [0, 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draws {
    /// Decides what is chosen.
    pub choice: f64,
    /// Decides whether interest in a watched topic grows (below (x + 1)/2) or shrinks.
    pub interest: f64,
}

/// Where candidates come from.
#[derive(Clone, Debug)]
pub(super) enum Pool {
    /// Topic uniform, then quality normal around the mean of the topic.
    Sampled,
    /// Uniform without replacement from fixed cards.
    Cards(Arc<[Card]>),
}

/// Settings and items of `interest_evolution`.
#[derive(Clone, Debug)]
pub struct EvolutionModel {
    config: EvolutionConfig,
    shape: LoopConfig,
    choice: ChoiceModel,
    topic_means: Arc<[f64]>,
    pool: Pool,
    spec: EnvSpec,
    fingerprint: String,
}

impl EvolutionModel {
    /// The feature form.
    ///
    /// # Errors
    /// [`EnvError::Config`] for a setting out of range.
    pub fn features(config: EvolutionConfig) -> Result<Self, EnvError> {
        config.validate()?;
        let obs = CandidateSpec {
            num_candidates: config.num_candidates,
            state_dim: config.num_topics,
            candidate_dim: config.num_topics,
            has_text: false,
            history_len: 0,
            history_dim: 0,
            answers: 0..0,
            pool: Vec::new(),
        };
        let spec = spec(
            &config,
            "rec_sim/interest_evolution/features",
            "Recommend videos to users whose interests and topics are shown; reward is minutes watched.",
            obs,
            TextTable::default(),
        );
        let means = topic_means(config.num_topics, config.min_quality, config.max_quality);
        let fingerprint = format!("{} {config:?}", spec.id);
        Ok(Self::new(config, means.into(), Pool::Sampled, spec, fingerprint))
    }

    pub(super) fn new(
        config: EvolutionConfig,
        topic_means: Arc<[f64]>,
        pool: Pool,
        spec: EnvSpec,
        fingerprint: String,
    ) -> Self {
        let (shape, choice) = (config.loop_config(), config.choice());
        Self { config, shape, choice, topic_means, pool, spec, fingerprint }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &EvolutionConfig {
        &self.config
    }

    /// Expected quality of each topic: `[num_topics]`.
    #[must_use]
    pub fn topic_means(&self) -> &[f64] {
        &self.topic_means
    }

    /// The choice model.
    #[must_use]
    pub fn choice(&self) -> &ChoiceModel {
        &self.choice
    }

    /// Watching: the budget pays for the minutes and utility gives some of them back; the interest moves.
    fn watch(&self, user: &mut User, item: &Item, score: f64, draw: f64) -> f64 {
        let config = &self.config;
        let watched = user.time_budget.min(item.length);
        let x = user.interests[item.topic as usize];
        let step = config.alpha_y_intercept * (1.0 - x.abs() / config.alpha_x_intercept) * (1.0 - x);
        let moved = if draw < (x + 1.0) / 2.0 { x + step } else { x - step };
        user.interests[item.topic as usize] = moved.clamp(-1.0, 1.0);
        let utility = config.user_quality_factor * score + config.document_quality_factor * item.quality;
        user.time_budget += config.budget_gain * watched * utility - watched;
        watched
    }
}

/// The parts of the description that both forms share.
pub(super) fn spec(
    config: &EvolutionConfig,
    id: &str,
    description: &str,
    obs: CandidateSpec,
    texts: TextTable,
) -> EnvSpec {
    EnvSpec {
        id: id.to_owned(),
        description: description.to_owned(),
        obs: ObsSpec::Candidates(obs),
        action: ActionSpec::Slate { size: config.slate_size },
        reward_unit: "minutes watched",
        reward_range: (0.0, config.document_length),
        time_limit: None,
        texts,
    }
}

impl Model for EvolutionModel {
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
        let interests = (0..self.topic_means.len()).map(|_| 2.0 * rng.uniform() - 1.0).collect();
        User { interests, time_budget: self.config.time_budget }
    }

    fn sample_candidates(&self, rng: &mut StreamRng, docs: &mut Vec<Item>) {
        docs.clear();
        let length = self.config.document_length;
        match &self.pool {
            Pool::Sampled => docs.extend((0..self.shape.num_candidates).map(|_| {
                let topic = rng.below(self.topic_means.len());
                let quality = self.topic_means[topic] + self.config.quality_sd * rng.normal();
                Item { item: topic as u32, topic: topic as u32, quality, length }
            })),
            Pool::Cards(cards) => {
                // Drawing again on a repeat gives every ordered choice of distinct cards the same probability.
                while docs.len() < self.shape.num_candidates {
                    let item = rng.below(cards.len()) as u32;
                    if !docs.iter().any(|d| d.item == item) {
                        let Card { topic, quality, .. } = cards[item as usize];
                        docs.push(Item { item, topic, quality, length });
                    }
                }
            }
        }
    }

    fn draw(&self, rng: &mut StreamRng) -> Draws {
        Draws { choice: rng.uniform(), interest: rng.uniform() }
    }

    fn score(&self, user: &User, candidates: &[Item], slate: &[u32], scores: &mut Vec<f64>) -> Result<(), EnvError> {
        scores.clear();
        scores.extend(slate.iter().map(|&i| user.interests[candidates[i as usize].topic as usize]));
        let nothing = self.choice.weigh(scores)?;
        scores.push(nothing);
        Ok(())
    }

    fn transition(&self, user: &mut User, candidates: &[Item], slate: &[u32], scores: &[f64], draws: Draws) -> Outcome {
        let picked = pick(scores, draws.choice);
        let chosen = (picked < slate.len()).then_some(picked);
        let reward = match chosen {
            Some(position) => self.watch(user, &candidates[slate[position] as usize], scores[position], draws.interest),
            None => {
                user.time_budget -= self.config.step_penalty;
                0.0
            }
        };
        Outcome { chosen, reward, terminated: user.time_budget <= 0.0 }
    }

    fn click_score(&self, user: &User, doc: &Item) -> f64 {
        user.interests[doc.topic as usize]
    }

    fn expected_quality(&self, doc: &Item) -> f64 {
        self.topic_means[doc.topic as usize]
    }

    fn facts(&self, doc: &Item) -> ItemFacts {
        let text = match &self.pool {
            Pool::Sampled => None,
            Pool::Cards(cards) => Some(cards[doc.item as usize].text),
        };
        ItemFacts { item: doc.item, topic: doc.topic, quality: doc.quality, text }
    }

    fn pool_size(&self) -> usize {
        match &self.pool {
            Pool::Sampled => self.topic_means.len(),
            Pool::Cards(cards) => cards.len(),
        }
    }

    fn num_topics(&self) -> usize {
        self.topic_means.len()
    }

    fn observe(&self, user: &User, candidates: &[Item]) -> CandidateObs {
        let mut obs = CandidateObs { mask: vec![true; candidates.len()], ..CandidateObs::default() };
        let ObsSpec::Candidates(shape) = &self.spec.obs else { return obs };
        if shape.state_dim > 0 {
            obs.state = user.interests.iter().map(|&x| x as f32).collect();
        }
        if shape.candidate_dim > 0 {
            obs.candidate_features = vec![0.0; candidates.len() * shape.candidate_dim];
            for (row, item) in obs.candidate_features.chunks_exact_mut(shape.candidate_dim).zip(candidates) {
                row[item.topic as usize] = 1.0;
            }
        }
        if let Pool::Cards(cards) = &self.pool {
            obs.candidate_texts = candidates.iter().map(|c| cards[c.item as usize].text).collect();
        }
        obs
    }

    fn reveals(&self) -> Reveals {
        match &self.pool {
            Pool::Sampled => Reveals::Shown,
            Pool::Cards(_) => Reveals::Consumed,
        }
    }

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn check(&self, user: &User, candidates: &[Item]) -> Result<(), String> {
        let topics = self.topic_means.len();
        if user.interests.len() != topics {
            return Err(format!("{} interests, expected {topics}", user.interests.len()));
        }
        if user.interests.iter().any(|x| !(-1.0..=1.0).contains(x)) || !user.time_budget.is_finite() {
            return Err("interests must lie in [-1, 1] and the budget must be finite".to_owned());
        }
        let fits = |c: &Item| {
            (c.topic as usize) < topics
                && (c.item as usize) < self.pool_size()
                && c.quality.is_finite()
                && c.length.is_finite()
        };
        if candidates.iter().all(fits) { Ok(()) } else { Err("a candidate is not in the pool".to_owned()) }
    }
}
