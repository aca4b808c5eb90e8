//! The supervised baseline for tasks that end with an answer: a classifier of answers learnt from random questions, with
//! a simple rule for what to ask. See `README.md` here.
//!
//! Metrics, means over the updates of a round: `loss`; `answer_loss`, cross-entropy in nats; `answer_accuracy`;
//! `gain_loss`, half the mean squared error of predicted gains, nats²; `grad_norm` before clipping; and
//! `learning_rate_factor` of the schedule.

mod actor;
mod config;
mod learner;
mod statistics;
#[cfg(test)]
mod tests;

pub use config::{InquirerConfig, QuestionRule};

use crate::answers::{self, AnswerGroup};
use crate::learning::{Guarded, Setup, within};
use crate::net::{Head, Per};
use actor::{InquirerActor, THRESHOLD};
use candle_core::{Device, Tensor};
use learner::InquirerLearner;
use retune::Result;
use retune::agent::{Actor, Agent, Learner, Snapshot};
use retune::env::{CandidateObs, Slate};

/// Position of the heads.
const ANSWER: usize = 0;
const GAIN: usize = 1;

/// The agent.
pub struct InquirerAgent {
    config: InquirerConfig,
    group: AnswerGroup,
    learner: Guarded<InquirerLearner>,
}

impl InquirerAgent {
    /// A fresh agent. The budget that schedules refer to is `setup.learning.env_steps`.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if a setting is out of range, or the env does not say which candidates are answers.
    pub fn new(setup: &Setup<'_>, config: &InquirerConfig) -> Result<Self> {
        config.validate()?;
        let group = AnswerGroup::new(crate::net::candidates(setup.spec)?, "env", &setup.spec.id)?;
        let gain = Head { name: "gain", per: Per::Candidate, width: 1, dueling: false, gain: 0.01 };
        let network = crate::net::build(setup, &config.net, &[answers::head(), gain])?;
        let learner = Guarded::new(InquirerLearner::new(setup, config, group.clone(), network)?, 0.0, 1.0);
        Ok(Self { config: config.clone(), group, learner })
    }

    /// Probability of the likeliest answer from which on it is given. It changes acting alone, so it can be tuned on
    /// validation cases after training; what is published from now on has it.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if it is not between 0 and 1.
    pub fn set_threshold(&mut self, threshold: f64) -> Result<()> {
        within("inquirer.threshold", threshold, 0.0, 1.0)?;
        self.learner.set_threshold(threshold);
        Ok(())
    }
}

/// The same parameters with another [`InquirerConfig::threshold`], to compare thresholds on validation cases; `None` if
/// they are of another kind of agent.
///
/// # Errors
/// [`retune::Error::Config`] if it is not between 0 and 1.
pub fn with_threshold(snapshot: &Snapshot, threshold: f64) -> Result<Option<Snapshot>> {
    within("inquirer.threshold", threshold, 0.0, 1.0)?;
    if !snapshot.params.contains_key(THRESHOLD) {
        return Ok(None);
    }
    let mut changed = snapshot.clone();
    changed.params.insert(THRESHOLD.to_owned(), Tensor::new(&[threshold as f32], &Device::Cpu)?);
    changed.checksum = format!("{}+{THRESHOLD}={threshold}", snapshot.checksum);
    Ok(Some(changed))
}

impl Agent<CandidateObs, Slate> for InquirerAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        let predictor = self.learner.network().predictor()?;
        Ok(Box::new(InquirerActor::new(predictor, self.group.clone(), self.config.rule)))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}
