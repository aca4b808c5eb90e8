//! Settings of the tabular agents.

use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which update is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TabularAlgorithm {
    /// Off-policy, one step: `r + γ max Q(s′, ·)`.
    #[default]
    QLearning,
    /// Two tables, each evaluating the other's best action.
    DoubleQ,
    /// On-policy, n steps and then the value of the action that was taken.
    Sarsa,
    /// On-policy, n steps and then the expectation over the exploring policy.
    ExpectedSarsa,
    /// Off-policy, n steps: the value of what was done where it was the best, of the best elsewhere.
    TreeBackup,
    /// On-policy with eligibility traces.
    SarsaLambda,
    /// Off-policy with eligibility traces that are cut at exploring actions (Watkins).
    QLambda,
}

impl TabularAlgorithm {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::QLearning,
        Self::DoubleQ,
        Self::Sarsa,
        Self::ExpectedSarsa,
        Self::TreeBackup,
        Self::SarsaLambda,
        Self::QLambda,
    ];

    /// Stable name, as in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QLearning => "q_learning",
            Self::DoubleQ => "double_q",
            Self::Sarsa => "sarsa",
            Self::ExpectedSarsa => "expected_sarsa",
            Self::TreeBackup => "tree_backup",
            Self::SarsaLambda => "sarsa_lambda",
            Self::QLambda => "q_lambda",
        }
    }

    fn takes_n(self) -> bool {
        matches!(self, Self::Sarsa | Self::ExpectedSarsa | Self::TreeBackup)
    }

    /// Whether it keeps eligibility traces.
    #[must_use]
    pub fn has_traces(self) -> bool {
        matches!(self, Self::SarsaLambda | Self::QLambda)
    }
}

/// What a visit does to the trace of its state and action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceKind {
    /// It becomes 1.
    #[default]
    Replacing,
    /// 1 is added to it.
    Accumulating,
    /// It becomes 1 − α of itself plus 1, and updates carry the true-online correction.
    Dutch,
}

/// A number that moves linearly over the env steps of training and then stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// At env step 0.
    pub start: f64,
    /// From env step `env_steps` on.
    pub end: f64,
    /// Env steps over all slots in which it moves; 0 if it is `end` from the beginning.
    pub env_steps: u64,
}

impl Linear {
    /// A number that stays.
    #[must_use]
    pub fn constant(value: f64) -> Self {
        Self { start: value, end: value, env_steps: 0 }
    }

    /// Its value at this env step.
    #[must_use]
    pub fn at(&self, env_step: u64) -> f64 {
        if env_step >= self.env_steps {
            return self.end;
        }
        self.start + (self.end - self.start) * (env_step as f64 / self.env_steps as f64)
    }
}

/// Settings of a [`super::TabularAgent`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TabularConfig {
    /// Which update is made.
    pub algorithm: TabularAlgorithm,
    /// Discount per step, 0 to 1.
    pub gamma: f64,
    /// Step size α, above 0 and at most 1.
    pub learning_rate: Linear,
    /// α is divided by the number of visits to the pair to this power, 0 to 1. With 1 a value is the mean of its
    /// targets; above 0.5 the values converge with probability 1 (Robbins and Monro).
    pub visit_exponent: f64,
    /// Probability of a uniformly random action in training, 0 to 1.
    pub epsilon: Linear,
    /// Value that every pair begins with; a high one makes the agent explore. Finite.
    pub initial_q: f64,
    /// Steps until the bootstrap, at least 1; for `sarsa`, `expected_sarsa` and `tree_backup`.
    pub n_steps: usize,
    /// Decay of the traces, 0 to 1; for `sarsa_lambda` and `q_lambda`.
    pub lambda: f64,
    /// What a visit does to a trace; for `sarsa_lambda` and `q_lambda`.
    pub trace: TraceKind,
}

impl Default for TabularConfig {
    /// α = 0.1 and ε = 0.1 are those of most examples in Sutton and Barto (2018), λ = 0.9 that of their figure 12.10.
    fn default() -> Self {
        Self {
            algorithm: TabularAlgorithm::default(),
            gamma: 0.99,
            learning_rate: Linear::constant(0.1),
            visit_exponent: 0.0,
            epsilon: Linear::constant(0.1),
            initial_q: 0.0,
            n_steps: 1,
            lambda: 0.9,
            trace: TraceKind::default(),
        }
    }
}

impl TabularConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first one that is out of range or contradicts another.
    pub fn validate(&self) -> Result<()> {
        let unit = |key: &str, value: f64| {
            if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(Error::config(key, value, "expected 0 to 1")) }
        };
        unit("gamma", self.gamma)?;
        unit("lambda", self.lambda)?;
        unit("visit_exponent", self.visit_exponent)?;
        unit("epsilon.start", self.epsilon.start)?;
        unit("epsilon.end", self.epsilon.end)?;
        for (key, value) in [("start", self.learning_rate.start), ("end", self.learning_rate.end)] {
            if !(value > 0.0 && value <= 1.0) {
                return Err(Error::config(&format!("learning_rate.{key}"), value, "expected above 0 and at most 1"));
            }
        }
        if !self.initial_q.is_finite() {
            return Err(Error::config("initial_q", self.initial_q, "expected a finite number"));
        }
        if self.n_steps == 0 {
            return Err(Error::config("n_steps", 0, "expected at least 1"));
        }
        if self.n_steps > 1 && !self.algorithm.takes_n() {
            let expected = format!(
                "expected 1 with algorithm = {}; sarsa, expected_sarsa and tree_backup look further ahead",
                self.algorithm.name()
            );
            return Err(Error::config("n_steps", self.n_steps, expected));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_every_impossible_setting_is_named() {
        let good = TabularConfig::default();
        good.validate().unwrap();
        let bad = [
            (TabularConfig { gamma: 1.1, ..good.clone() }, "gamma = 1.1"),
            (TabularConfig { gamma: f64::NAN, ..good.clone() }, "gamma = NaN"),
            (TabularConfig { lambda: -0.1, ..good.clone() }, "lambda = -0.1"),
            (TabularConfig { visit_exponent: 2.0, ..good.clone() }, "visit_exponent = 2"),
            (TabularConfig { epsilon: Linear::constant(1.5), ..good.clone() }, "epsilon.start = 1.5"),
            (TabularConfig { learning_rate: Linear::constant(0.0), ..good.clone() }, "learning_rate.start = 0"),
            (TabularConfig { initial_q: f64::INFINITY, ..good.clone() }, "initial_q = inf"),
            (TabularConfig { n_steps: 0, ..good.clone() }, "n_steps = 0"),
            (TabularConfig { n_steps: 2, ..good.clone() }, "n_steps = 2: expected 1 with algorithm = q_learning"),
        ];
        for (config, start) in bad {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
        TabularConfig { n_steps: 4, algorithm: TabularAlgorithm::TreeBackup, ..good }.validate().unwrap();
        assert!(serde_json::from_str::<TabularConfig>(r#"{"alpha": 0.1}"#).is_err());
        for algorithm in TabularAlgorithm::ALL {
            assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.name());
        }
    }

    #[test]
    fn a_linear_schedule_moves_and_stays() {
        let falling = Linear { start: 1.0, end: 0.2, env_steps: 10 };
        assert_eq!([0, 5, 10, 99].map(|t| falling.at(t)), [1.0, 0.6, 0.2, 0.2]);
        assert_eq!(Linear::constant(0.3).at(0), 0.3);
    }
}
