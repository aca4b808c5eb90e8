//! Settings of `interest_exploration`.

use crate::rec_sim::choice::{ChoiceKind, ChoiceModel};
use crate::rec_sim::shared::{LoopConfig, config_error, require};
use retune::env::EnvError;
use serde::{Deserialize, Serialize};

/// Settings of `interest_exploration`. Defaults are those of RecSim 0.2.4. A "lognormal (μ, s)" is exp(μ + s·N(0, 1)).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExplorationConfig {
    /// Candidates offered at each step, C. At least 1.
    pub num_candidates: usize,
    /// Items of a slate, k. From 1 to `num_candidates`.
    pub slate_size: usize,
    /// New candidates after every step.
    pub resample_documents: bool,
    /// Seed of the first `reset(None)`.
    pub seed: u64,
    /// Env steps after which a wrapper is to truncate. At least 1.
    pub time_limit: u64,
    /// Logit of choosing nothing, m.
    pub no_click_mass: f64,
    /// Probability of each topic: `[num_topics]`, adds up to 1.
    pub topic_probs: Vec<f64>,
    /// μ of the lognormal quality of each topic: `[num_topics]`.
    pub quality_means: Vec<f64>,
    /// s of the lognormal quality of each topic, at least 0: `[num_topics]`.
    pub quality_sds: Vec<f64>,
    /// Probability of each user type: `[num_types]`, adds up to 1.
    pub type_probs: Vec<f64>,
    /// μ of the lognormal affinity of each type to each topic: `[num_types][num_topics]`.
    pub affinity_means: Vec<Vec<f64>>,
    /// s of the lognormal affinity of each type to each topic, at least 0: `[num_types][num_topics]`.
    pub affinity_sds: Vec<Vec<f64>>,
}

impl Default for ExplorationConfig {
    fn default() -> Self {
        Self {
            num_candidates: 10,
            slate_size: 3,
            resample_documents: true,
            seed: 0,
            time_limit: 100,
            no_click_mass: 5.0,
            topic_probs: vec![0.2, 0.8],
            quality_means: vec![0.8, 0.2],
            quality_sds: vec![0.1; 2],
            type_probs: vec![0.3, 0.7],
            affinity_means: vec![vec![0.1, 0.7], vec![0.7, 0.1]],
            affinity_sds: vec![vec![0.1; 2]; 2],
        }
    }
}

impl ExplorationConfig {
    /// The defaults with C candidates and slates of k.
    #[must_use]
    pub fn with_sizes(num_candidates: usize, slate_size: usize) -> Self {
        Self { num_candidates, slate_size, ..Self::default() }
    }

    /// Preset `exploration/hard`: five mainstream topics that everyone likes a little, and for each of five user types
    /// one niche topic that it likes a lot. Greedy agents stay trapped in the mainstream. Sizes (10, 2).
    #[must_use]
    pub fn hard() -> Self {
        let affinity = |kind: usize, topic: usize| match topic {
            0..5 => 0.4,
            _ if topic == 5 + kind => 1.2,
            _ => -1.0,
        };
        Self {
            slate_size: 2,
            topic_probs: vec![0.1; 10],
            quality_means: (0..10).map(|topic| if topic < 5 { 0.2 } else { 0.0 }).collect(),
            quality_sds: vec![0.1; 10],
            type_probs: vec![0.2; 5],
            affinity_means: (0..5).map(|kind| (0..10).map(|topic| affinity(kind, topic)).collect()).collect(),
            affinity_sds: vec![vec![0.1; 10]; 5],
            ..Self::default()
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`EnvError::Config`] naming key and value of the first setting that is out of range.
    pub fn validate(&self) -> Result<(), EnvError> {
        self.loop_config().validate()?;
        if self.time_limit == 0 {
            return Err(config_error("time_limit", 0, "at least 1 env step: episodes do not end by themselves"));
        }
        distribution("topic_probs", &self.topic_probs)?;
        distribution("type_probs", &self.type_probs)?;
        let (topics, types) = (self.topic_probs.len(), self.type_probs.len());
        row("quality_means", &self.quality_means, topics, false)?;
        row("quality_sds", &self.quality_sds, topics, true)?;
        for (key, matrix, sds) in
            [("affinity_means", &self.affinity_means, false), ("affinity_sds", &self.affinity_sds, true)]
        {
            if matrix.len() != types {
                return Err(config_error(key, format!("{} rows", matrix.len()), format!("{types}, one for each type")));
            }
            matrix.iter().try_for_each(|r| row(key, r, topics, sds))?;
        }
        self.choice().validate()?;
        Ok(())
    }

    /// Settings of the loop.
    #[must_use]
    pub fn loop_config(&self) -> LoopConfig {
        LoopConfig {
            num_candidates: self.num_candidates,
            slate_size: self.slate_size,
            resample_documents: self.resample_documents,
            seed: self.seed,
        }
    }

    /// The choice model: multinomial logit.
    #[must_use]
    pub fn choice(&self) -> ChoiceModel {
        ChoiceModel {
            kind: ChoiceKind::MultinomialLogit,
            no_click_mass: self.no_click_mass,
            min_normalizer: 0.0,
            attention_prob: 1.0,
            score_scaling: 1.0,
        }
    }
}

fn distribution(key: &str, probs: &[f64]) -> Result<(), EnvError> {
    for &p in probs {
        require((0.0..=1.0).contains(&p), key, p, "a probability in [0, 1]")?;
    }
    let total: f64 = probs.iter().sum();
    require((total - 1.0).abs() < 1e-9, key, total, "probabilities that add up to 1")
}

fn row(key: &str, values: &[f64], topics: usize, at_least_zero: bool) -> Result<(), EnvError> {
    if values.len() != topics {
        let expected = format!("{topics}, one for each of topic_probs");
        return Err(config_error(key, format!("{} entries", values.len()), expected));
    }
    let expected = if at_least_zero { "finite numbers of at least 0" } else { "finite numbers" };
    // Scores are exponentials of these; beyond 100 they would not be finite for long.
    values.iter().try_for_each(|&x| require(x.abs() <= 100.0 && (x >= 0.0 || !at_least_zero), key, x, expected))
}
