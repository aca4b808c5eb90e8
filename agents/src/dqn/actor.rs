//! Takes the candidate of the largest value, some at random in training.

use super::DqnConfig;
use super::returns::Returns;
use crate::acting::{check_streams, number};
use crate::answers::AnswerGroup;
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
    /// Answers that are drawn as one where actions are random.
    answers: Option<AnswerGroup>,
    scored: Vec<Arc<CandidateObs>>,
    outputs: Outputs,
    values: Vec<f32>,
}

impl DqnActor {
    pub fn new(config: &DqnConfig, returns: Returns, net: Box<dyn Predictor>, answers: Option<AnswerGroup>) -> Self {
        let (scored, outputs, values) = (Vec::new(), Outputs::default(), Vec::new());
        Self { returns, net, noisy: config.net.noisy, epsilon: 1.0, answers, scored, outputs, values }
    }

    /// A random action and its probability: the legal candidates alike, answers together as much as one question.
    fn explore(&self, mask: &[bool], rng: &mut StreamRng) -> Result<(usize, f64)> {
        let (questions, answers) = self.legal(mask)?;
        let kinds = questions.len() + usize::from(!answers.is_empty());
        let draw = rng.below(kinds);
        let action = match questions.get(draw) {
            Some(&question) => question,
            None => answers[rng.below(answers.len())],
        };
        Ok((action, self.explored(mask, action)?))
    }

    /// Probability of an action where actions are random.
    fn explored(&self, mask: &[bool], action: usize) -> Result<f64> {
        let (questions, answers) = self.legal(mask)?;
        let one = 1.0 / (questions.len() + usize::from(!answers.is_empty())) as f64;
        Ok(if answers.contains(&action) { one / answers.len() as f64 } else { one })
    }

    /// Legal candidates: those drawn alike, and answers that are drawn as one.
    fn legal(&self, mask: &[bool]) -> Result<(Vec<usize>, Vec<usize>)> {
        let is_answer = |i: &usize| self.answers.as_ref().is_some_and(|group| group.range().contains(i));
        let (answers, questions): (Vec<usize>, Vec<usize>) = (0..mask.len()).filter(|&i| mask[i]).partition(is_answer);
        if questions.is_empty() && answers.is_empty() { Err(no_legal_action()) } else { Ok((questions, answers)) }
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
            let (action, probability) = if explores[i] {
                let (action, drawn) = self.explore(&o.mask, &mut rngs[i])?;
                (action, epsilon * drawn)
            } else {
                row += 1;
                let action = self.greedy(row - 1, &o.mask)?;
                let drawn = if epsilon > 0.0 { self.explored(&o.mask, action)? } else { 0.0 };
                (action, 1.0 - epsilon + epsilon * drawn)
            };
            decisions.push(Decision { action: Slate(vec![action as u32]), log_prob: probability.ln() as f32 });
        }
        Ok(decisions)
    }
}
