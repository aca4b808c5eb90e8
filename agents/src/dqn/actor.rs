//! Takes the candidate of the largest value, some at random in training.

use super::DqnConfig;
use super::returns::Returns;
use crate::acting::{check_streams, number};
use crate::net::{Outputs, Predictor};
use crate::targets::best_action;
use retune::agent::{Actor, Decision, Mode, Snapshot};
use retune::env::{CandidateObs, Slate};
use retune::rng::StreamRng;
use retune::{Error, Result};
use std::sync::Arc;

/// Name of the published share of random actions.
pub(super) const EPSILON: &str = "actor.epsilon";

/// The actor of [`super::DqnAgent`].
pub(super) struct DqnActor {
    returns: Returns,
    net: Box<dyn Predictor>,
    /// Whether noisy layers explore.
    noisy: bool,
    epsilon: f64,
    scored: Vec<Arc<CandidateObs>>,
    outputs: Outputs,
    values: Vec<f32>,
}

impl DqnActor {
    pub fn new(config: &DqnConfig, returns: Returns, net: Box<dyn Predictor>) -> Self {
        let (scored, outputs, values) = (Vec::new(), Outputs::default(), Vec::new());
        Self { returns, net, noisy: config.net.noisy, epsilon: 1.0, scored, outputs, values }
    }

    /// The legal candidate with the largest value in row `row` of the outputs.
    fn greedy(&mut self, row: usize, mask: &[bool]) -> Result<usize> {
        let width = mask.len() * self.returns.width();
        self.values.resize(mask.len(), 0.0);
        self.returns.means(&self.outputs.head(0)[row * width..][..width], &mut self.values);
        best_action(&self.values, mask).ok_or_else(no_legal_action)
    }
}

/// What is said of a mask that forbids everything.
pub(super) fn no_legal_action() -> Error {
    Error::State("an observation with a mask that allows no candidate: at least one must be legal".to_owned())
}

impl Actor<CandidateObs, Slate> for DqnActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        let epsilon = number(snapshot, EPSILON)?;
        self.net.load(snapshot)?;
        self.epsilon = epsilon;
        Ok(())
    }

    /// `log_prob` of a random action is that of exploring and drawing it: whether it is also the best one is not looked
    /// at, because random actions need no forward pass.
    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<Slate>>> {
        check_streams(obs.len(), rngs.len())?;
        let epsilon = if mode == Mode::Train { self.epsilon } else { 0.0 };
        let explores: Vec<bool> = rngs.iter_mut().map(|rng| epsilon > 0.0 && rng.uniform() < epsilon).collect();
        self.scored.clear();
        self.scored.extend(obs.iter().zip(&explores).filter(|(_, e)| !**e).map(|(o, _)| Arc::clone(o)));
        if !self.scored.is_empty() {
            let noise = if self.noisy && mode == Mode::Train { rngs.first_mut() } else { None };
            self.net.predict(&self.scored, noise, &mut self.outputs)?;
        }
        let mut row = 0;
        let mut decisions = Vec::with_capacity(obs.len());
        for (i, o) in obs.iter().enumerate() {
            let legal = o.mask.iter().filter(|&&m| m).count();
            if legal == 0 {
                return Err(no_legal_action());
            }
            let explored = epsilon / legal as f64;
            let (action, probability) = if explores[i] {
                let draw = rngs[i].below(legal);
                let action = (0..o.mask.len()).filter(|&a| o.mask[a]).nth(draw).ok_or_else(no_legal_action)?;
                (action, explored)
            } else {
                row += 1;
                (self.greedy(row - 1, &o.mask)?, 1.0 - epsilon + explored)
            };
            decisions.push(Decision { action: Slate(vec![action as u32]), log_prob: probability.ln() as f32 });
        }
        Ok(decisions)
    }
}
