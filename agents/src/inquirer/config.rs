//! Settings of the supervised baseline for questions and answers.

use crate::learning::{at_least_one, within};
use crate::net::NetConfig;
use retune::Result;
use serde::{Deserialize, Serialize};

/// What is asked next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionRule {
    /// Any question, each as likely.
    Random,
    /// In one order for all: by the mean drop of the classifier's loss that a question brought.
    Static,
    /// The largest drop of the loss that a head predicts in this state: greedy conditional mutual information, learnt
    /// without a model (Covert et al., arXiv:2301.00557; Gadgil et al., arXiv:2306.03301).
    #[default]
    Gain,
    /// The same for what the question costs, as rewards have shown it; [`QuestionRule::Gain`] where nothing costs.
    GainPerCost,
}

/// Settings of [`super::InquirerAgent`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InquirerConfig {
    /// Network and optimizer.
    pub net: NetConfig,
    /// Passes over the labelled states of a round; at least 1.
    pub update_epochs: usize,
    /// Labelled states per update; at least 1.
    pub minibatch_size: usize,
    /// Weight of half the squared error of predicted gains beside the cross-entropy; at least 0.
    pub gain_coef: f64,
    /// Whether the learning rate falls linearly to 0.
    pub anneal_lr: bool,
    /// What is asked in evaluation; training asks at random.
    pub rule: QuestionRule,
    /// Probability of the likeliest answer from which on it is given; in [0, 1]. To be tuned on validation cases:
    /// [`super::InquirerAgent::set_threshold`].
    pub threshold: f64,
}

impl Default for InquirerConfig {
    fn default() -> Self {
        let mut net = NetConfig::default();
        net.optimizer.learning_rate = 1e-3;
        Self {
            net,
            update_epochs: 4,
            minibatch_size: 512,
            gain_coef: 1.0,
            anneal_lr: true,
            rule: QuestionRule::Gain,
            threshold: 0.95,
        }
    }
}

impl InquirerConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`retune::Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        at_least_one("inquirer.update_epochs", self.update_epochs as u64)?;
        at_least_one("inquirer.minibatch_size", self.minibatch_size as u64)?;
        within("inquirer.gain_coef", self.gain_coef, 0.0, f64::MAX)?;
        within("inquirer.threshold", self.threshold, 0.0, 1.0)?;
        self.net.validate()
    }
}
