//! Settings of `long_term_satisfaction`.

use crate::rec_sim::shared::{LoopConfig, config_error, require};
use retune::env::EnvError;
use serde::{Deserialize, Serialize};

/// Settings of `long_term_satisfaction`. Defaults are those of RecSim 0.2.4.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SatisfactionConfig {
    /// Candidates offered at each step, C. At least 1.
    pub num_candidates: usize,
    /// Items of a slate, k. From 1 to `num_candidates`. Only the first is ever consumed.
    pub slate_size: usize,
    /// New candidates after every step.
    pub resample_documents: bool,
    /// Seed of the first `reset(None)`.
    pub seed: u64,
    /// Steps of a session. At least 1.
    pub time_budget: u32,
    /// Share of net positive exposure that a step keeps. In [0, 1).
    pub memory_discount: f64,
    /// How strongly exposure moves satisfaction. At least 0.
    pub sensitivity: f64,
    /// Standard deviation of the noise on exposure. At least 0.
    pub innovation_stddev: f64,
    /// Log-scale engagement of pure clickbait at full satisfaction.
    pub choc_mean: f64,
    /// Log-scale spread of engagement with pure clickbait. At least 0.
    pub choc_stddev: f64,
    /// Log-scale engagement of an item without clickbait at full satisfaction.
    pub kale_mean: f64,
    /// Log-scale spread of engagement with an item without clickbait. At least 0.
    pub kale_stddev: f64,
}

impl Default for SatisfactionConfig {
    fn default() -> Self {
        Self {
            num_candidates: 10,
            slate_size: 3,
            resample_documents: true,
            seed: 0,
            time_budget: 60,
            memory_discount: 0.7,
            sensitivity: 0.01,
            innovation_stddev: 0.05,
            choc_mean: 5.0,
            choc_stddev: 1.0,
            kale_mean: 4.0,
            kale_stddev: 1.0,
        }
    }
}

impl SatisfactionConfig {
    /// The defaults with C candidates and slates of k.
    #[must_use]
    pub fn with_sizes(num_candidates: usize, slate_size: usize) -> Self {
        Self { num_candidates, slate_size, ..Self::default() }
    }

    /// Preset `satisfaction/sensitive`: the best rule is mostly no clickbait, then clickbait at the end. Sizes (10, 1).
    #[must_use]
    pub fn sensitive() -> Self {
        Self { slate_size: 1, sensitivity: 0.1, ..Self::default() }
    }

    /// Preset `satisfaction/hard`: both constant rules lose to random; the planner mixes by state. Sizes (10, 1).
    #[must_use]
    pub fn hard() -> Self {
        Self { slate_size: 1, sensitivity: 0.13, choc_mean: 6.0, ..Self::default() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`EnvError::Config`] naming key and value of the first setting that is out of range.
    pub fn validate(&self) -> Result<(), EnvError> {
        self.loop_config().validate()?;
        if self.time_budget == 0 {
            return Err(config_error("time_budget", 0, "at least 1 step"));
        }
        let memory = self.memory_discount;
        require((0.0..1.0).contains(&memory), "memory_discount", memory, "at least 0 and below 1")?;
        // Engagement is an exponential of these: beyond this it would soon be infinite.
        for (key, mean) in [("choc_mean", self.choc_mean), ("kale_mean", self.kale_mean)] {
            require(mean.abs() <= 100.0, key, mean, "a number in [-100, 100]")?;
        }
        for (key, sd) in [
            ("sensitivity", self.sensitivity),
            ("innovation_stddev", self.innovation_stddev),
            ("choc_stddev", self.choc_stddev),
            ("kale_stddev", self.kale_stddev),
        ] {
            require((0.0..=10.0).contains(&sd), key, sd, "a number in [0, 10]")?;
        }
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

    /// σ(sensitivity·exposure), in (0, 1).
    #[must_use]
    pub fn satisfaction(&self, net_positive_exposure: f64) -> f64 {
        1.0 / (1.0 + (-self.sensitivity * net_positive_exposure).exp())
    }

    /// Location and spread, on the log scale, of the engagement with an item of this clickbait score.
    #[must_use]
    pub fn engagement(&self, clickbait: f64, satisfaction: f64) -> (f64, f64) {
        let blend = |choc: f64, kale: f64| clickbait * choc + (1.0 - clickbait) * kale;
        (blend(self.choc_mean, self.kale_mean) * satisfaction, blend(self.choc_stddev, self.kale_stddev))
    }

    /// Exposure after an item of this clickbait score, with `normal` a standard normal draw.
    ///
    /// The sign follows RecSim's code (clickbait lowers exposure), against the text of its class.
    #[must_use]
    pub fn next_exposure(&self, exposure: f64, clickbait: f64, normal: f64) -> f64 {
        self.memory_discount * exposure - 2.0 * (clickbait - 0.5) + self.innovation_stddev * normal
    }
}
