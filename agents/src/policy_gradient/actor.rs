//! Acting by the softmax over the legal candidates.

use crate::acting::{check_streams, number};
use crate::answers::{AnswerGroup, Grouped};
use crate::losses::policy::{log_softmax, most_probable, sample};
use crate::net::{Outputs, Predictor};
use retune::agent::{Actor, Decision, Mode, Snapshot};
use retune::env::{CandidateObs, Slate};
use retune::rng::StreamRng;
use retune::{Error, Result};
use std::sync::Arc;

/// Name under which a snapshot says, by 1, that training asks at random as long as it can.
pub(super) const ASKS: &str = "actor.asks";

/// Draws a candidate in training, takes the most probable one in evaluation. Where a classifier says what to answer, all
/// answers are one action of the policy, and the classifier's likeliest is given.
pub(crate) struct SoftmaxActor {
    predictor: Box<dyn Predictor>,
    /// Answers, and the head of the classifier.
    answers: Option<(AnswerGroup, usize)>,
    /// Whether training draws questions uniformly, and answers when none is open.
    asks: bool,
    grouped: Grouped,
    mask: Vec<u8>,
    out: Outputs,
    log_probs: Vec<f64>,
}

impl SoftmaxActor {
    pub fn new(predictor: Box<dyn Predictor>) -> Self {
        Self {
            predictor,
            answers: None,
            asks: false,
            grouped: Grouped::default(),
            mask: Vec::new(),
            out: Outputs::default(),
            log_probs: Vec::new(),
        }
    }

    /// With a classifier of answers at position `head` of the outputs.
    pub fn answering(predictor: Box<dyn Predictor>, group: AnswerGroup, head: usize) -> Self {
        Self { answers: Some((group, head)), ..Self::new(predictor) }
    }

    /// Logits and masks of actions, from those of candidates.
    fn group(&mut self, obs: &[Arc<CandidateObs>], mode: Mode) {
        self.mask.clear();
        self.mask.extend(obs.iter().flat_map(|o| o.mask.iter().map(|&m| u8::from(m))));
        match &self.answers {
            Some((group, _)) => {
                group.group(self.out.head(0), &self.mask, &mut self.grouped);
                if self.asks && mode == Mode::Train {
                    self.grouped.logits.fill(0.0);
                    group.hold_answers(&mut self.grouped);
                }
            }
            None => self.grouped.copy(self.out.head(0), &self.mask),
        }
    }

    /// The candidate of an action in row `row`.
    fn candidate(&self, row: usize, action: usize, obs: &CandidateObs) -> Result<u32> {
        let Some((group, head)) = &self.answers else { return Ok(action as u32) };
        if action != group.answer() {
            return Ok(group.candidate_of(action) as u32);
        }
        let n = group.num_candidates();
        let logits = &self.out.head(*head)[row * n..][..n];
        let likeliest = group.likeliest(logits, |i| obs.mask[i]);
        likeliest.map(|i| i as u32).ok_or_else(|| Error::State("no answer is legal".to_owned()))
    }
}

impl Actor<CandidateObs, Slate> for SoftmaxActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        self.asks = snapshot.params.contains_key(ASKS) && number(snapshot, ASKS)? > 0.0;
        self.predictor.load(snapshot)
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<Slate>>> {
        check_streams(obs.len(), rngs.len())?;
        if obs.is_empty() {
            return Ok(Vec::new());
        }
        self.predictor.predict(obs, None, &mut self.out)?;
        self.group(obs, mode);
        let n = self.grouped.logits.len() / obs.len();
        let mut decisions = Vec::with_capacity(obs.len());
        for (row, (obs, rng)) in obs.iter().zip(rngs).enumerate() {
            let (logits, mask) = (&self.grouped.logits[row * n..][..n], &self.grouped.mask[row * n..][..n]);
            log_softmax(logits, |i| mask[i] != 0, &mut self.log_probs)?;
            let (action, log_prob) = match mode {
                Mode::Evaluate => (most_probable(&self.log_probs), 0.0),
                Mode::Train => {
                    let action = sample(&self.log_probs, rng);
                    (action, self.log_probs[action] as f32)
                }
            };
            decisions.push(Decision { action: Slate(vec![self.candidate(row, action, obs)?]), log_prob });
        }
        Ok(decisions)
    }
}
