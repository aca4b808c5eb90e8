//! Policy gradients for single decisions: REINFORCE with a baseline, A2C, PPO, an IMPALA-style actor-critic with V-trace,
//! and group baselines as in GRPO. See `README.md` here.
//!
//! They differ in where advantages come from and in what is done with a batch; both are fields of a [`Recipe`], and one
//! learner follows it. Networks are chosen by [`crate::net`], so all of them run on any backbone, with masks and
//! variable candidates, and with a penalty on leaving a frozen reference policy.
//!
//! Metrics, means over the updates of a round: `loss`; `policy_loss`; `value_loss`, half the mean squared error;
//! `entropy` in nats; `approx_kl`, `mean (r − 1 − ln r)` against the policy that acted; `clip_fraction`;
//! `reference_kl`, exact; `grad_norm` before clipping; and of the round `explained_variance`, 1 − Var(R − V)/Var(R) of the
//! values before the updates; with a classifier of answers `answer_loss`, its cross-entropy in nats, and `answer_accuracy`; `learning_rate_factor` of the schedule; `stopped_early`, 1 if `target_kl` ended the updates of the round.

mod actor;
#[cfg(test)]
mod answer_tests;
mod classifier;
mod config;
mod labels;
mod learner;
mod recipe;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use config::{A2cConfig, GrpoConfig, ImpalaConfig, PpoConfig, VanillaConfig};
pub use labels::LabelConfig;
pub use recipe::{Estimator, Recipe};

use crate::answers::AnswerGroup;
use crate::learning::{Guarded, Setup};
use crate::net::{Head, NetConfig, Predictor};
pub(crate) use actor::SoftmaxActor;
use learner::PolicyLearner;
pub(crate) use learner::shuffle;
use retune::agent::{Actor, Agent, Learner};
use retune::env::{CandidateObs, Slate};
use retune::{Error, Result};

/// An agent that follows a recipe.
pub struct PolicyGradientAgent {
    learner: Guarded<PolicyLearner>,
}

impl PolicyGradientAgent {
    /// A fresh agent. The budget that schedules refer to is `setup.learning.env_steps`.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range, the env does not offer candidates, or slates have more than one.
    pub fn new(setup: &Setup<'_>, net: &NetConfig, recipe: &Recipe) -> Result<Self> {
        recipe.validate()?;
        let slate_size = setup.slate_size()?;
        if slate_size != 1 {
            let expected = "policy gradients of this family choose one candidate; use reinforce for slates";
            return Err(Error::config("slate_size", slate_size, expected));
        }
        let mut heads = vec![Head::policy()];
        if recipe.has_values() {
            heads.push(Head::value());
        }
        let mut answers = None;
        if recipe.labels.coef > 0.0 {
            let key = format!("{}.label_coef", recipe.name);
            answers = Some(AnswerGroup::new(crate::net::candidates(setup.spec)?, &key, recipe.labels.coef)?);
            heads.push(crate::answers::head());
        }
        let network = crate::net::build(setup, net, &heads)?;
        let learner = PolicyLearner::new(setup, network, recipe.clone(), answers)?;
        Ok(Self { learner: Guarded::new(learner, recipe.gamma, recipe.reward_scale) })
    }

    /// PPO.
    ///
    /// # Errors
    /// As [`PolicyGradientAgent::new`].
    pub fn ppo(setup: &Setup<'_>, config: &PpoConfig) -> Result<Self> {
        Self::new(setup, &config.net, &config.recipe()?)
    }

    /// A2C.
    ///
    /// # Errors
    /// As [`PolicyGradientAgent::new`].
    pub fn a2c(setup: &Setup<'_>, config: &A2cConfig) -> Result<Self> {
        Self::new(setup, &config.net, &config.recipe())
    }

    /// REINFORCE with a baseline.
    ///
    /// # Errors
    /// As [`PolicyGradientAgent::new`].
    pub fn vanilla(setup: &Setup<'_>, config: &VanillaConfig) -> Result<Self> {
        Self::new(setup, &config.net, &config.recipe())
    }

    /// An actor-critic with V-trace.
    ///
    /// # Errors
    /// As [`PolicyGradientAgent::new`].
    pub fn impala(setup: &Setup<'_>, config: &ImpalaConfig) -> Result<Self> {
        Self::new(setup, &config.net, &config.recipe())
    }

    /// Group baselines.
    ///
    /// # Errors
    /// As [`PolicyGradientAgent::new`].
    pub fn grpo(setup: &Setup<'_>, config: &GrpoConfig) -> Result<Self> {
        Self::new(setup, &config.net, &config.recipe()?)
    }
}

impl Agent<CandidateObs, Slate> for PolicyGradientAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        let predictor: Box<dyn Predictor> = self.learner.network().predictor()?;
        Ok(Box::new(match self.learner.answers() {
            Some((group, head)) => SoftmaxActor::answering(predictor, group, head),
            None => SoftmaxActor::new(predictor),
        }))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}
