//! Settings of each algorithm, with the defaults of its paper or reference implementation.

use super::labels::LabelConfig;
use super::recipe::{Estimator, Recipe};
use crate::learning::positive;
use crate::losses::Surrogate;
use crate::net::NetConfig;
use crate::targets::VTraceConfig;
use retune::Result;
use retune::nn::mlp::AdamConfig;
use serde::{Deserialize, Serialize};

/// `ppo`: Schulman et al., arXiv:1707.06347, as CleanRL's `ppo.py` has it. Envs and steps per round are the runner's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Network and optimizer.
    pub net: NetConfig,
    /// Discount per env step.
    pub gamma: f64,
    /// λ of the advantage estimates.
    pub gae_lambda: f64,
    /// Passes over a round.
    pub update_epochs: usize,
    /// Decisions per update.
    pub minibatch_size: usize,
    /// ε of the clipped surrogate.
    pub clip_coef: f64,
    /// Whether steps of values are clipped by `clip_coef`, too.
    pub clip_vloss: bool,
    /// Whether advantages are normalised in each minibatch.
    pub norm_adv: bool,
    /// Weight of the entropy bonus.
    pub ent_coef: f64,
    /// Whether it falls linearly to 0.
    pub anneal_ent: bool,
    /// The classifier that says which answer to give, if the policy does not.
    pub labels: LabelConfig,
    /// Weight of half the mean squared error of values (Stable-Baselines3 leaves out the half: twice its number here).
    pub vf_coef: f64,
    /// `approx_kl` above 1.5 times which the updates of a round end; `None` for never.
    pub target_kl: Option<f64>,
    /// Weight of KL(π‖π_initial).
    pub kl_coef: f64,
    /// Whether the learning rate falls linearly to 0.
    pub anneal_lr: bool,
    /// Whether the clip range falls linearly to 0.
    pub anneal_clip: bool,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            net: net(2.5e-4),
            gamma: 0.99,
            gae_lambda: 0.95,
            update_epochs: 4,
            minibatch_size: 128,
            clip_coef: 0.2,
            clip_vloss: true,
            norm_adv: true,
            ent_coef: 0.01,
            anneal_ent: false,
            labels: LabelConfig::default(),
            vf_coef: 0.5,
            target_kl: None,
            kl_coef: 0.0,
            anneal_lr: true,
            anneal_clip: false,
        }
    }
}

impl PpoConfig {
    /// The settings of rl-baselines3-zoo for CartPole-v1: for 8 envs, 32 steps per round, 100,000 env steps.
    #[must_use]
    pub fn cartpole() -> Self {
        Self {
            net: net(1e-3),
            gamma: 0.98,
            gae_lambda: 0.8,
            update_epochs: 20,
            minibatch_size: 256,
            clip_vloss: false,
            ent_coef: 0.0,
            vf_coef: 1.0,
            anneal_clip: true,
            ..Self::default()
        }
    }

    /// What the learner follows.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if `clip_coef` is out of range; everything else is checked by [`Recipe::validate`].
    pub fn recipe(&self) -> Result<Recipe> {
        positive("ppo.clip_coef", self.clip_coef)?;
        Ok(Recipe {
            name: "ppo",
            gamma: self.gamma,
            reward_scale: 1.0,
            estimator: Estimator::Gae { gae_lambda: self.gae_lambda },
            surrogate: Surrogate::Clipped { clip_coef: self.clip_coef },
            normalize_advantages: self.norm_adv,
            vf_coef: self.vf_coef,
            clip_value: self.clip_vloss.then_some(self.clip_coef),
            ent_coef: self.ent_coef,
            anneal_ent: self.anneal_ent,
            labels: self.labels,
            kl_coef: self.kl_coef,
            update_epochs: self.update_epochs,
            minibatch_size: Some(self.minibatch_size),
            target_kl: self.target_kl,
            anneal_lr: self.anneal_lr,
            anneal_clip: self.anneal_clip,
        })
    }
}

/// `a2c`: the synchronous form of Mnih et al., arXiv:1602.01783, with the settings of Stable-Baselines3, but Adam in the
/// place of RMSprop. One update per round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct A2cConfig {
    /// Network and optimizer.
    pub net: NetConfig,
    /// Discount per env step.
    pub gamma: f64,
    /// λ of the advantage estimates; 1 gives n-step returns of the round.
    pub gae_lambda: f64,
    /// Whether advantages are normalised.
    pub norm_adv: bool,
    /// Weight of the entropy bonus.
    pub ent_coef: f64,
    /// Whether it falls linearly to 0.
    pub anneal_ent: bool,
    /// The classifier that says which answer to give, if the policy does not.
    pub labels: LabelConfig,
    /// Weight of half the mean squared error of values.
    pub vf_coef: f64,
    /// Weight of KL(π‖π_initial).
    pub kl_coef: f64,
    /// Whether the learning rate falls linearly to 0.
    pub anneal_lr: bool,
}

impl Default for A2cConfig {
    fn default() -> Self {
        Self {
            net: net(7e-4),
            gamma: 0.99,
            gae_lambda: 1.0,
            norm_adv: false,
            ent_coef: 0.0,
            anneal_ent: false,
            labels: LabelConfig::default(),
            vf_coef: 1.0,
            kl_coef: 0.0,
            anneal_lr: false,
        }
    }
}

impl A2cConfig {
    /// What the learner follows.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        Recipe {
            gamma: self.gamma,
            estimator: Estimator::Gae { gae_lambda: self.gae_lambda },
            normalize_advantages: self.norm_adv,
            vf_coef: self.vf_coef,
            ent_coef: self.ent_coef,
            anneal_ent: self.anneal_ent,
            labels: self.labels,
            kl_coef: self.kl_coef,
            anneal_lr: self.anneal_lr,
            ..plain("a2c")
        }
    }
}

/// `vanilla`: REINFORCE with a baseline (Williams 1992; Sutton and Barto, 2nd edition, section 13.4) on whole episodes;
/// as usual in implementations without the factor γ^t. One update per round in which an episode ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VanillaConfig {
    /// Network and optimizer.
    pub net: NetConfig,
    /// Discount per env step.
    pub gamma: f64,
    /// Whether advantages are normalised.
    pub norm_adv: bool,
    /// Weight of the entropy bonus.
    pub ent_coef: f64,
    /// Whether it falls linearly to 0.
    pub anneal_ent: bool,
    /// The classifier that says which answer to give, if the policy does not.
    pub labels: LabelConfig,
    /// Weight of half the mean squared error of the baseline.
    pub vf_coef: f64,
    /// Weight of KL(π‖π_initial).
    pub kl_coef: f64,
    /// Whether the learning rate falls linearly to 0.
    pub anneal_lr: bool,
}

impl Default for VanillaConfig {
    fn default() -> Self {
        Self {
            net: net(1e-3),
            gamma: 0.99,
            norm_adv: true,
            ent_coef: 0.0,
            anneal_ent: false,
            labels: LabelConfig::default(),
            vf_coef: 1.0,
            kl_coef: 0.0,
            anneal_lr: false,
        }
    }
}

impl VanillaConfig {
    /// What the learner follows.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        Recipe {
            gamma: self.gamma,
            estimator: Estimator::Episodes,
            normalize_advantages: self.norm_adv,
            vf_coef: self.vf_coef,
            ent_coef: self.ent_coef,
            anneal_ent: self.anneal_ent,
            labels: self.labels,
            kl_coef: self.kl_coef,
            anneal_lr: self.anneal_lr,
            ..plain("vanilla")
        }
    }
}

/// `impala`: an actor-critic with V-trace (Espeholt et al., arXiv:1802.01561). Policies that act may be older than the one
/// that is trained, and a round may be used several times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImpalaConfig {
    /// Network and optimizer.
    pub net: NetConfig,
    /// Discount per env step.
    pub gamma: f64,
    /// λ of V-trace.
    pub lambda: f64,
    /// ρ̄: decides which policy the values belong to.
    pub rho_bar: f64,
    /// c̄: decides how fast they get there.
    pub c_bar: f64,
    /// ρ̄ of the policy gradient.
    pub pg_rho_bar: f64,
    /// Updates per round.
    pub update_epochs: usize,
    /// Weight of the entropy bonus.
    pub ent_coef: f64,
    /// Whether it falls linearly to 0.
    pub anneal_ent: bool,
    /// The classifier that says which answer to give, if the policy does not.
    pub labels: LabelConfig,
    /// Weight of half the mean squared error of values.
    pub vf_coef: f64,
    /// Weight of KL(π‖π_initial).
    pub kl_coef: f64,
    /// Whether the learning rate falls linearly to 0.
    pub anneal_lr: bool,
}

impl Default for ImpalaConfig {
    fn default() -> Self {
        Self {
            net: net(1e-3),
            gamma: 0.99,
            lambda: 1.0,
            rho_bar: 1.0,
            c_bar: 1.0,
            pg_rho_bar: 1.0,
            update_epochs: 4,
            ent_coef: 0.01,
            anneal_ent: false,
            labels: LabelConfig::default(),
            vf_coef: 0.5,
            kl_coef: 0.0,
            anneal_lr: true,
        }
    }
}

impl ImpalaConfig {
    /// What the learner follows.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        let Self { gamma, lambda, rho_bar, c_bar, pg_rho_bar, .. } = *self;
        Recipe {
            gamma,
            estimator: Estimator::VTrace(VTraceConfig { gamma, lambda, rho_bar, c_bar, pg_rho_bar }),
            update_epochs: self.update_epochs,
            vf_coef: self.vf_coef,
            ent_coef: self.ent_coef,
            anneal_ent: self.anneal_ent,
            labels: self.labels,
            kl_coef: self.kl_coef,
            anneal_lr: self.anneal_lr,
            ..plain("impala")
        }
    }
}

/// `grpo`: group baselines instead of a value function (Shao et al., arXiv:2402.03300). A group is made of episodes that
/// ended one after the other, where the paper has several answers to one question: an env shows a new start each time.
/// The divergence from the reference is exact over all candidates, where the paper estimates it from the one taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpoConfig {
    /// Network and optimizer.
    pub net: NetConfig,
    /// Episodes of a group.
    pub group_size: usize,
    /// Whether advantages are divided by the standard deviation of the group.
    pub normalize: bool,
    /// ε of the clipped surrogate.
    pub clip_coef: f64,
    /// Updates with the episodes of a round.
    pub update_epochs: usize,
    /// Weight of the entropy bonus.
    pub ent_coef: f64,
    /// Whether it falls linearly to 0.
    pub anneal_ent: bool,
    /// The classifier that says which answer to give, if the policy does not.
    pub labels: LabelConfig,
    /// Weight of KL(π‖π_initial).
    pub kl_coef: f64,
    /// Whether the learning rate falls linearly to 0.
    pub anneal_lr: bool,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        Self {
            net: net(1e-3),
            group_size: 16,
            normalize: true,
            clip_coef: 0.2,
            update_epochs: 4,
            ent_coef: 0.0,
            anneal_ent: false,
            labels: LabelConfig::default(),
            kl_coef: 0.04,
            anneal_lr: false,
        }
    }
}

impl GrpoConfig {
    /// What the learner follows.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if `clip_coef` is out of range; everything else is checked by [`Recipe::validate`].
    pub fn recipe(&self) -> Result<Recipe> {
        positive("grpo.clip_coef", self.clip_coef)?;
        Ok(Recipe {
            estimator: Estimator::Group { size: self.group_size, normalize: self.normalize },
            surrogate: Surrogate::Clipped { clip_coef: self.clip_coef },
            update_epochs: self.update_epochs,
            ent_coef: self.ent_coef,
            anneal_ent: self.anneal_ent,
            labels: self.labels,
            kl_coef: self.kl_coef,
            anneal_lr: self.anneal_lr,
            ..plain("grpo")
        })
    }
}

/// One update per round on everything, without any extra.
fn plain(name: &'static str) -> Recipe {
    Recipe {
        name,
        gamma: 1.0,
        estimator: Estimator::Episodes,
        surrogate: Surrogate::LogProb,
        reward_scale: 1.0,
        normalize_advantages: false,
        vf_coef: 0.0,
        clip_value: None,
        ent_coef: 0.0,
        anneal_ent: false,
        labels: LabelConfig::default(),
        kl_coef: 0.0,
        update_epochs: 1,
        minibatch_size: None,
        target_kl: None,
        anneal_lr: false,
        anneal_clip: false,
    }
}

fn net(learning_rate: f64) -> NetConfig {
    NetConfig { optimizer: AdamConfig { learning_rate, ..AdamConfig::default() }, ..NetConfig::default() }
}
