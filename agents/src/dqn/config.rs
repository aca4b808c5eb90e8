//! Settings of deep Q-learning and its relatives.

use crate::learning::{at_least_one, positive, within};
use crate::losses::{Support, TdLoss};
use crate::net::{NetConfig, NetInit};
use crate::q_learning::TargetNetwork;
use retune::nn::mlp::{Activation, AdamConfig};
use retune::replay::PriorityConfig;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a target takes at the next state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bootstrap {
    /// The best legal action: Q-learning (Watkins 1989; Mnih et al. 2015).
    #[default]
    Greedy,
    /// The action that was taken there: SARSA (Rummery and Niranjan 1994).
    Taken,
    /// The expectation under the ε-greedy policy: expected SARSA (van Seijen et al. 2009).
    Expected,
}

/// What is learnt of the return of an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Distribution {
    /// Its mean.
    #[default]
    Mean,
    /// Probabilities of fixed returns: C51 (Bellemare et al., arXiv:1707.06887).
    Categorical {
        /// Smallest return; below `v_max`.
        v_min: f64,
        /// Largest return.
        v_max: f64,
        /// Number of returns, evenly spaced; at least 2.
        num_atoms: usize,
    },
    /// Returns of fixed probability: QR-DQN (Dabney et al., arXiv:1710.10044).
    Quantile {
        /// Number of quantiles; at least 1.
        num_quantiles: usize,
        /// Where the Huber loss becomes linear; above 0.
        kappa: f64,
    },
}

/// Prioritised replay with importance weights whose exponent β goes linearly from `beta` to 1 over the budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prioritized {
    /// Exponent and floor of priorities.
    pub priorities: PriorityConfig,
    /// β at the start; in [0, 1].
    pub beta: f64,
}

impl Default for Prioritized {
    /// Table 3 of the paper for the proportional variant.
    fn default() -> Self {
        Self { priorities: PriorityConfig::default(), beta: 0.4 }
    }
}

/// Share of random actions: linearly from `initial_eps` to `final_eps` over the first `fraction` of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exploration {
    /// In [0, 1].
    pub initial_eps: f64,
    /// In [0, 1].
    pub final_eps: f64,
    /// Share of the budget's env steps, in (0, 1].
    pub fraction: f64,
}

impl Default for Exploration {
    /// Those of Stable-Baselines3.
    fn default() -> Self {
        Self { initial_eps: 1.0, final_eps: 0.05, fraction: 0.1 }
    }
}

impl Exploration {
    /// No random actions: noisy layers explore.
    pub const NONE: Self = Self { initial_eps: 0.0, final_eps: 0.0, fraction: 1.0 };

    /// ε after this share of the budget.
    #[must_use]
    pub fn at(&self, progress: f64) -> f64 {
        if progress >= self.fraction {
            return self.final_eps;
        }
        self.initial_eps + (self.final_eps - self.initial_eps) * progress / self.fraction
    }
}

/// Settings of DQN, deep SARSA and deep expected SARSA. All extensions can be combined; [`DqnConfig::rainbow`] has them
/// all. The budget is [`crate::LearningConfig::env_steps`]; nothing else there has an effect. Names and defaults are
/// those of Stable-Baselines3, apart from `target_network`, which is counted in updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DqnConfig {
    /// Discount per env step; in [0, 1].
    pub gamma: f64,
    /// What rewards are multiplied by before anything is learnt from them; values, `v_min` and `v_max` are in that unit.
    pub reward_scale: f64,
    /// Transitions kept; the oldest go first; at least `batch_size` and `n_step`.
    pub buffer_size: usize,
    /// Env steps before the first update; at least `batch_size`.
    pub learning_starts: u64,
    /// Transitions per update; at least 1.
    pub batch_size: usize,
    /// Env steps between training phases; at least 1. A round of the runner that covers several phases is followed by
    /// all of them at once.
    pub train_freq: u64,
    /// Updates of one training phase; at least 1.
    pub gradient_steps: u64,
    /// How the target network follows.
    pub target_network: TargetNetwork,
    /// Share of random actions.
    pub exploration: Exploration,
    /// What targets take at the next state.
    pub bootstrap: Bootstrap,
    /// Whether the online network chooses the best action at the next state and the target network only values it
    /// (double Q-learning, van Hasselt et al., arXiv:1509.06461); only with `bootstrap` greedy.
    pub double_q: bool,
    /// Whether a value of the state and advantages are learnt apart (Wang et al., arXiv:1511.06581).
    pub dueling: bool,
    /// Rewards summed before the bootstrap; 1 to `buffer_size`.
    pub n_step: usize,
    /// Prioritised replay; `None` draws uniformly.
    pub prioritized: Option<Prioritized>,
    /// What is learnt of the return.
    pub distribution: Distribution,
    /// Loss on the TD error of `distribution` mean.
    pub loss: TdLoss,
    /// Weight of the loss by which the labels of finished episodes teach the values of all answers in all of their states,
    /// from 0; above 0, all answers together are drawn as often as one question where actions are random. Needs an env
    /// that says which candidates are answers and reveals labels.
    pub label_coef: f64,
    /// Labelled states kept; 0 is `buffer_size`.
    pub label_memory: usize,
    /// Share of the learning rate that is left at the end of the budget, falling linearly; 1 is a constant rate.
    pub learning_rate_end: f64,
    /// Network and optimizer. Noisy layers (Fortunato et al., arXiv:1706.10295) are `net.noisy`.
    pub net: NetConfig,
}

impl Default for DqnConfig {
    fn default() -> Self {
        Self {
            gamma: 0.99,
            reward_scale: 1.0,
            buffer_size: 100_000,
            learning_starts: 100,
            batch_size: 32,
            train_freq: 4,
            gradient_steps: 1,
            target_network: TargetNetwork::Hard { updates: 2_500 },
            exploration: Exploration::default(),
            bootstrap: Bootstrap::Greedy,
            double_q: false,
            dueling: false,
            n_step: 1,
            prioritized: None,
            distribution: Distribution::Mean,
            loss: TdLoss::Huber { delta: 1.0 },
            label_coef: 0.0,
            label_memory: 0,
            learning_rate_end: 1.0,
            net: NetConfig {
                hidden: vec![64, 64],
                activation: Activation::Relu,
                shared: true,
                init: NetInit::Torch,
                optimizer: AdamConfig {
                    learning_rate: 1e-4,
                    eps: 1e-8,
                    max_grad_norm: Some(10.0),
                    ..AdamConfig::default()
                },
                ..NetConfig::default()
            },
        }
    }
}

impl DqnConfig {
    /// All extensions together: Rainbow (Hessel et al., arXiv:1710.02298), with its table 1 where it does not depend on
    /// Atari. The support must fit the returns of the task.
    #[must_use]
    pub fn rainbow(v_min: f64, v_max: f64) -> Self {
        let plain = Self::default();
        Self {
            exploration: Exploration::NONE,
            double_q: true,
            dueling: true,
            n_step: 3,
            prioritized: Some(Prioritized {
                priorities: PriorityConfig { alpha: 0.5, ..PriorityConfig::default() },
                beta: 0.4,
            }),
            distribution: Distribution::Categorical { v_min, v_max, num_atoms: 51 },
            net: NetConfig { noisy: true, ..plain.net.clone() },
            ..plain
        }
    }

    /// Refuses settings that are out of range or contradict each other; `section` begins their names in messages.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key, the value and what would be right.
    pub fn validate(&self, section: &str) -> Result<()> {
        let key = |name: &str| format!("{section}.{name}");
        within(&key("gamma"), self.gamma, 0.0, 1.0)?;
        at_least_one(&key("batch_size"), self.batch_size as u64)?;
        at_least_one(&key("train_freq"), self.train_freq)?;
        at_least_one(&key("gradient_steps"), self.gradient_steps)?;
        at_least_one(&key("n_step"), self.n_step as u64)?;
        let at_least = |name: &str, value: usize, other: &str, least: usize| {
            if value >= least {
                return Ok(());
            }
            Err(Error::config(&key(name), value, format!("must be at least {section}.{other} = {least}")))
        };
        at_least("buffer_size", self.buffer_size, "batch_size", self.batch_size)?;
        at_least("buffer_size", self.buffer_size, "n_step", self.n_step)?;
        let starts = usize::try_from(self.learning_starts).unwrap_or(usize::MAX);
        at_least("learning_starts", starts, "batch_size", self.batch_size)?;
        self.validate_target_network(&key)?;
        within(&key("exploration.initial_eps"), self.exploration.initial_eps, 0.0, 1.0)?;
        within(&key("exploration.final_eps"), self.exploration.final_eps, 0.0, 1.0)?;
        let fraction = self.exploration.fraction;
        if !(fraction > 0.0 && fraction <= 1.0) {
            return Err(Error::config(&key("exploration.fraction"), fraction, "must be above 0 and at most 1"));
        }
        if let Some(prioritized) = &self.prioritized {
            prioritized.priorities.validate(&key("prioritized.priorities"))?;
            within(&key("prioritized.beta"), prioritized.beta, 0.0, 1.0)?;
        }
        positive(&key("reward_scale"), self.reward_scale)?;
        self.loss.validate(&key("loss"))?;
        if !(self.label_coef.is_finite() && self.label_coef >= 0.0) {
            return Err(Error::config(&key("label_coef"), self.label_coef, "must be a finite number from 0"));
        }
        within(&key("learning_rate_end"), self.learning_rate_end, 0.0, 1.0)?;
        self.validate_combinations(&key)?;
        self.net.validate().map_err(|e| within_section(section, e))
    }

    fn validate_target_network(&self, key: &impl Fn(&str) -> String) -> Result<()> {
        match self.target_network {
            TargetNetwork::Hard { updates } => at_least_one(&key("target_network.hard.updates"), updates),
            TargetNetwork::Soft { tau } if tau > 0.0 && tau <= 1.0 => Ok(()),
            TargetNetwork::Soft { tau } => {
                Err(Error::config(&key("target_network.soft.tau"), tau, "must be above 0 and at most 1"))
            }
        }
    }

    fn validate_combinations(&self, key: &impl Fn(&str) -> String) -> Result<()> {
        match self.distribution {
            Distribution::Mean => {}
            Distribution::Categorical { v_min, v_max, num_atoms } => {
                Support::new(v_min, v_max, num_atoms)
                    .map_err(|e| within_section(&key("distribution.categorical"), e))?;
            }
            Distribution::Quantile { num_quantiles, kappa } => {
                at_least_one(&key("distribution.quantile.num_quantiles"), num_quantiles as u64)?;
                if !(kappa > 0.0 && kappa.is_finite()) {
                    let name = key("distribution.quantile.kappa");
                    return Err(Error::config(&name, kappa, "must be above 0 and finite"));
                }
                if self.bootstrap == Bootstrap::Expected {
                    let expected = "goes with distribution mean or categorical: an expectation over actions mixes \
                                    distributions, and a mixture of quantiles has no fixed set of quantiles";
                    return Err(Error::config(&key("bootstrap"), "expected", expected));
                }
            }
        }
        if self.double_q && self.bootstrap != Bootstrap::Greedy {
            let expected = "goes with bootstrap = greedy only: the others have no maximum to split";
            return Err(Error::config(&key("double_q"), true, expected));
        }
        Ok(())
    }

    /// Training phases that `env_steps` steps of experience call for.
    #[must_use]
    pub fn phases_after(&self, env_steps: u64) -> u64 {
        (env_steps / self.train_freq).saturating_sub(self.learning_starts / self.train_freq)
    }

    /// Factor on the learning rate after this share of the budget.
    #[must_use]
    pub fn learning_rate_factor(&self, progress: f64) -> f64 {
        1.0 + (self.learning_rate_end - 1.0) * progress.clamp(0.0, 1.0)
    }

    /// β after this share of the budget.
    #[must_use]
    pub fn beta(&self, progress: f64) -> f64 {
        self.prioritized.map_or(0.0, |p| p.beta + (1.0 - p.beta) * progress.clamp(0.0, 1.0))
    }

    /// Numbers that the network puts out per candidate.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match self.distribution {
            Distribution::Mean => 1,
            Distribution::Categorical { num_atoms, .. } => num_atoms,
            Distribution::Quantile { num_quantiles, .. } => num_quantiles,
        }
    }
}

/// The same error with the section before its key.
fn within_section(section: &str, error: Error) -> Error {
    match error {
        Error::Config { key, value, expected } => Error::Config { key: format!("{section}.{key}"), value, expected },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &DqnConfig) -> String {
        config.validate("dqn").unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid_and_survive_a_file() {
        for config in [DqnConfig::default(), DqnConfig::rainbow(-10.0, 10.0)] {
            config.validate("dqn").unwrap();
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<DqnConfig>(&json).unwrap(), config);
        }
        assert!(serde_json::from_str::<DqnConfig>(r#"{"gama": 0.9}"#).is_err());
    }

    #[test]
    fn contradictions_are_refused_and_named() {
        let good = DqnConfig::default();
        let categorical = |v_min, v_max, num_atoms| DqnConfig {
            distribution: Distribution::Categorical { v_min, v_max, num_atoms },
            ..good.clone()
        };
        let quantile = Distribution::Quantile { num_quantiles: 8, kappa: 1.0 };
        let cases = [
            (DqnConfig { gamma: 1.5, ..good.clone() }, "dqn.gamma = 1.5"),
            (DqnConfig { gamma: f64::NAN, ..good.clone() }, "dqn.gamma = NaN"),
            (DqnConfig { reward_scale: 0.0, ..good.clone() }, "dqn.reward_scale = 0"),
            (DqnConfig { label_coef: -1.0, ..good.clone() }, "dqn.label_coef = -1"),
            (DqnConfig { n_step: 0, ..good.clone() }, "dqn.n_step = 0"),
            (
                DqnConfig { n_step: 200_000, ..good.clone() },
                "dqn.buffer_size = 100000: must be at least dqn.n_step = 200000",
            ),
            (
                DqnConfig { batch_size: 128, ..good.clone() },
                "dqn.learning_starts = 100: must be at least dqn.batch_size = 128",
            ),
            (
                DqnConfig { buffer_size: 16, ..good.clone() },
                "dqn.buffer_size = 16: must be at least dqn.batch_size = 32",
            ),
            (categorical(-1.0, 1.0, 1), "dqn.distribution.categorical.num_atoms = 1"),
            (categorical(1.0, 1.0, 51), "dqn.distribution.categorical.v_min = 1"),
            (
                DqnConfig { bootstrap: Bootstrap::Expected, distribution: quantile, ..good.clone() },
                "dqn.bootstrap = expected",
            ),
            (DqnConfig { bootstrap: Bootstrap::Taken, double_q: true, ..good.clone() }, "dqn.double_q = true"),
            (
                DqnConfig { target_network: TargetNetwork::Soft { tau: 0.0 }, ..good.clone() },
                "dqn.target_network.soft.tau = 0",
            ),
            (
                DqnConfig { target_network: TargetNetwork::Hard { updates: 0 }, ..good.clone() },
                "dqn.target_network.hard.updates = 0",
            ),
            (
                DqnConfig { prioritized: Some(Prioritized { beta: 2.0, ..Prioritized::default() }), ..good.clone() },
                "dqn.prioritized.beta = 2",
            ),
            (
                DqnConfig { exploration: Exploration { fraction: 0.0, ..Exploration::default() }, ..good.clone() },
                "dqn.exploration.fraction = 0",
            ),
        ];
        for (config, start) in cases {
            let error = refused(&config);
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn schedules_start_and_end_where_they_should() {
        let exploration = Exploration { initial_eps: 1.0, final_eps: 0.04, fraction: 0.16 };
        assert_eq!(exploration.at(0.0), 1.0);
        assert!((exploration.at(0.08) - 0.52).abs() < 1e-12);
        assert_eq!((exploration.at(0.16), exploration.at(1.0)), (0.04, 0.04));
        let config =
            DqnConfig { prioritized: Some(Prioritized::default()), learning_rate_end: 0.5, ..DqnConfig::default() };
        assert_eq!((config.beta(0.0), config.beta(1.0)), (0.4, 1.0));
        assert_eq!((config.learning_rate_factor(0.0), config.learning_rate_factor(1.0)), (1.0, 0.5));
    }

    #[test]
    fn phases_begin_after_learning_starts() {
        let config = DqnConfig { learning_starts: 1000, train_freq: 256, ..DqnConfig::default() };
        assert_eq!([0, 1000, 1023, 1024, 1280, 50_000].map(|steps| config.phases_after(steps)), [0, 0, 0, 1, 2, 192]);
    }
}
