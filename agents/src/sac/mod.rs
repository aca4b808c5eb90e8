//! Soft actor-critic for single decisions among candidates. See `README.md` here.
//!
//! Metrics, means over the updates of a round: `policy_loss`; `value_loss`, half the squared error of both critics;
//! `entropy` of the policy in nats; `alpha`, the temperature; `q`, the smaller critic's value of what was taken;
//! `grad_norm` before clipping.

mod config;
mod learner;
mod loss;
#[cfg(test)]
mod tests;

pub use config::SacConfig;

use crate::learning::{Guarded, Setup};
use crate::net::Predictor;
use crate::policy_gradient::SoftmaxActor;
use learner::SacLearner;
use retune::Result;
use retune::agent::{Actor, Agent, Learner};
use retune::env::{CandidateObs, Slate};

/// The agent.
pub struct SacAgent {
    learner: Guarded<SacLearner>,
}

impl SacAgent {
    /// A fresh agent. Experience comes from `setup.learning.num_envs` env slots.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if a setting is out of range, the env does not offer candidates, or slates have more
    /// than one.
    pub fn new(setup: &Setup<'_>, config: &SacConfig) -> Result<Self> {
        Ok(Self { learner: Guarded::new(SacLearner::new(setup, config)?, config.gamma, 1.0) })
    }
}

impl Agent<CandidateObs, Slate> for SacAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        let predictor: Box<dyn Predictor> = self.learner.network().predictor()?;
        Ok(Box::new(SoftmaxActor::new(predictor)))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}
