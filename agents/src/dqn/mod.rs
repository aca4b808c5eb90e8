//! DQN and its extensions (double, dueling, n-step, prioritised, C51, quantile regression, noisy layers: together
//! Rainbow), deep SARSA and deep expected SARSA. See `README.md` here.
//!
//! Metrics, means over the updates of a round: `loss`, with its importance weights; `td_error`, mean size of what
//! priorities are made of (|Q − target|, or the loss of a distribution); `q`, mean Q(s, a); `target`, mean of what it
//! is compared with; `label_loss`, where labels are used; `grad_norm` before clipping; and at the end of the round `epsilon` and `memory`, the transitions
//! held.

mod actor;
mod config;
mod hindsight;
mod learner;
mod objective;
mod returns;
#[cfg(test)]
mod tests;

pub use config::{Bootstrap, Distribution, DqnConfig, Exploration, Prioritized};

use crate::learning::{Guarded, Setup};
use crate::net::Outputs;
use actor::DqnActor;
use learner::DqnLearner;
use retune::Result;
use retune::agent::{Actor, Agent, Learner};
use retune::env::{CandidateObs, Slate};
use returns::Returns;
use std::sync::Arc;

/// An agent that learns the values of single candidates from replayed experience.
pub struct DqnAgent {
    config: DqnConfig,
    learner: Guarded<DqnLearner>,
}

impl DqnAgent {
    /// A fresh agent; `section` begins the names of its settings in messages.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if a setting is out of range or contradicts another, or the env does not offer
    /// candidates of which one is chosen.
    pub fn new(setup: &Setup<'_>, config: &DqnConfig, section: &str) -> Result<Self> {
        let learner = DqnLearner::new(setup, config, section)?;
        Ok(Self { config: config.clone(), learner: Guarded::new(learner, config.gamma, config.reward_scale) })
    }

    /// Mean return of every candidate of each observation under the current parameters, without noise:
    /// `[observations, num_candidates]`. Those of candidates that may not be chosen mean nothing.
    ///
    /// # Errors
    /// If an observation does not have the shapes of the env, or a value is not finite.
    pub fn values(&mut self, obs: &[Arc<CandidateObs>]) -> Result<Vec<f64>> {
        let snapshot = self.learner.snapshot(&[])?;
        let mut predictor = self.learner.network().predictor()?;
        predictor.load(&snapshot)?;
        let mut outputs = Outputs::default();
        predictor.predict(obs, None, &mut outputs)?;
        let returns = Returns::new(&self.config)?;
        Ok(outputs.head(0).chunks(returns.width()).map(|row| returns.mean(row)).collect())
    }

    #[cfg(test)]
    fn returns(&self) -> Returns {
        Returns::new(&self.config).expect("the configuration was checked")
    }

    #[cfg(test)]
    fn network_mut(&mut self) -> &mut dyn crate::net::Network {
        self.learner.network_mut()
    }

    /// The next update alone: what a saved failure is looked into with.
    #[cfg(test)]
    fn replay_update(&mut self) -> Result<()> {
        self.learner.replay_update()
    }
}

impl Agent<CandidateObs, Slate> for DqnAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        let net = self.learner.network().predictor()?;
        Ok(Box::new(DqnActor::new(&self.config, Returns::new(&self.config)?, net, self.learner.answers())))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}
