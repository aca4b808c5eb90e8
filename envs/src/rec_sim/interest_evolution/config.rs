//! Settings of `interest_evolution`.

use crate::rec_sim::choice::{ChoiceKind, ChoiceModel};
use crate::rec_sim::shared::{LoopConfig, config_error, require};
use retune::env::EnvError;
use serde::{Deserialize, Serialize};

/// Settings of `interest_evolution`. Defaults are those of RecSim 0.2.4.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvolutionConfig {
    /// Candidates offered at each step, C. At least 1. RecSim's studies use 10.
    pub num_candidates: usize,
    /// Items of a slate, k. From 1 to `num_candidates`. RecSim's studies use 3.
    pub slate_size: usize,
    /// New candidates after every step.
    pub resample_documents: bool,
    /// Seed of the first `reset(None)`.
    pub seed: u64,
    /// Topics, G. At least 1. A catalogue sets it in the text form.
    pub num_topics: usize,
    /// Budget of a new user, minutes. Above 0.
    pub time_budget: f64,
    /// Length of an item, minutes. Above 0.
    pub document_length: f64,
    /// Mean quality of the worst topic. At most 0.
    pub min_quality: f64,
    /// Mean quality of the best topic. At least 0.
    pub max_quality: f64,
    /// Standard deviation of quality within a topic. At least 0.
    pub quality_sd: f64,
    /// How users choose.
    pub choice_model: ChoiceKind,
    /// Score of choosing nothing, m. A logit in the logit model.
    pub no_click_mass: f64,
    /// Floor subtracted from scores by the proportional models, n. At most −1.
    pub min_normalizer: f64,
    /// Probability of looking at a position, for the cascades. In [0, 1].
    pub attention_prob: f64,
    /// Factor on scores, for the cascades. At least 0.
    pub score_scaling: f64,
    /// Budget that a step without a click costs, minutes. Above 0.
    pub step_penalty: f64,
    /// Weight of the choice score in the utility of a watched item.
    pub user_quality_factor: f64,
    /// Weight of quality in the utility of a watched item.
    pub document_quality_factor: f64,
    /// Minutes of budget regained per minute watched and unit of utility, g. At least 0.
    pub budget_gain: f64,
    /// |interest| at which interests stop moving. Above 0.
    pub alpha_x_intercept: f64,
    /// Share of the way to 1 that an interest of 0 moves. At least 0.
    pub alpha_y_intercept: f64,
}

impl Default for EvolutionConfig {
    fn default() -> Self {
        Self {
            num_candidates: 10,
            slate_size: 3,
            resample_documents: true,
            seed: 0,
            num_topics: 20,
            time_budget: 200.0,
            document_length: 4.0,
            min_quality: -3.0,
            max_quality: 3.0,
            quality_sd: 0.1,
            choice_model: ChoiceKind::MultinomialProportional,
            no_click_mass: 1.0,
            min_normalizer: -1.0,
            attention_prob: 0.65,
            score_scaling: 0.05,
            step_penalty: 0.5,
            user_quality_factor: 0.0,
            document_quality_factor: 1.0,
            budget_gain: 0.9 / 3.4,
            alpha_x_intercept: 1.0,
            alpha_y_intercept: 0.3,
        }
    }
}

impl EvolutionConfig {
    /// The defaults with C candidates and slates of k.
    #[must_use]
    pub fn with_sizes(num_candidates: usize, slate_size: usize) -> Self {
        Self { num_candidates, slate_size, ..Self::default() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`EnvError::Config`] naming key and value of the first setting that is out of range.
    pub fn validate(&self) -> Result<(), EnvError> {
        self.loop_config().validate()?;
        if self.num_topics == 0 || u32::try_from(self.num_topics).is_err() {
            return Err(config_error("num_topics", self.num_topics, "at least 1 and below 2^32"));
        }
        let above_zero = "a finite number above 0";
        require(self.time_budget > 0.0, "time_budget", self.time_budget, above_zero)?;
        require(self.document_length > 0.0, "document_length", self.document_length, above_zero)?;
        require(self.step_penalty > 0.0, "step_penalty", self.step_penalty, above_zero)?;
        require(self.alpha_x_intercept > 0.0, "alpha_x_intercept", self.alpha_x_intercept, above_zero)?;
        let at_least_zero = "a finite number of at least 0";
        require(self.alpha_y_intercept >= 0.0, "alpha_y_intercept", self.alpha_y_intercept, at_least_zero)?;
        require(self.quality_sd >= 0.0, "quality_sd", self.quality_sd, at_least_zero)?;
        require(self.budget_gain >= 0.0, "budget_gain", self.budget_gain, at_least_zero)?;
        require(self.min_quality <= 0.0, "min_quality", self.min_quality, "a finite number of at most 0")?;
        require(self.max_quality >= 0.0, "max_quality", self.max_quality, at_least_zero)?;
        require(true, "user_quality_factor", self.user_quality_factor, "a finite number")?;
        require(true, "document_quality_factor", self.document_quality_factor, "a finite number")?;
        self.choice().validate_for_scores(-1.0, 1.0)?;
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

    /// The choice model.
    #[must_use]
    pub fn choice(&self) -> ChoiceModel {
        ChoiceModel {
            kind: self.choice_model,
            no_click_mass: self.no_click_mass,
            min_normalizer: self.min_normalizer,
            attention_prob: self.attention_prob,
            score_scaling: self.score_scaling,
        }
    }
}

/// Mean quality per topic: the first ⌊0.7·n⌋ evenly from `low` to 0, the others evenly from 0 to `high`.
///
/// Both ends are included, so that two topics have mean 0 (13 and 14 of 20). RecSim gives the second part ⌊0.3·n⌋
/// entries, which for n = 11 leaves a topic without a mean; here it has what is left.
#[must_use]
pub fn topic_means(num_topics: usize, low: f64, high: f64) -> Vec<f64> {
    let bad = num_topics * 7 / 10;
    let mut means = linspace(low, 0.0, bad);
    means.extend(linspace(0.0, high, num_topics - bad));
    means
}

fn linspace(from: f64, to: f64, n: usize) -> Vec<f64> {
    let step = if n > 1 { (to - from) / (n - 1) as f64 } else { 0.0 };
    (0..n).map(|i| if i > 0 && i + 1 == n { to } else { from + step * i as f64 }).collect()
}
