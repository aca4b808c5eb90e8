//! Acting by the softmax over the legal candidates.

use crate::acting::check_streams;
use crate::losses::policy::{log_softmax, most_probable, sample};
use crate::net::{Outputs, Predictor};
use retune::Result;
use retune::agent::{Actor, Decision, Mode, Snapshot};
use retune::env::{CandidateObs, Slate};
use retune::rng::StreamRng;
use std::sync::Arc;

/// Draws a candidate in training, takes the most probable one in evaluation.
pub(crate) struct SoftmaxActor {
    predictor: Box<dyn Predictor>,
    out: Outputs,
    log_probs: Vec<f64>,
}

impl SoftmaxActor {
    pub fn new(predictor: Box<dyn Predictor>) -> Self {
        Self { predictor, out: Outputs::default(), log_probs: Vec::new() }
    }
}

impl Actor<CandidateObs, Slate> for SoftmaxActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        self.predictor.load(snapshot)
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<Slate>>> {
        check_streams(obs.len(), rngs.len())?;
        if obs.is_empty() {
            return Ok(Vec::new());
        }
        self.predictor.predict(obs, None, &mut self.out)?;
        let logits = self.out.head(0);
        let n = logits.len() / obs.len();
        let mut decisions = Vec::with_capacity(obs.len());
        for ((obs, rng), logits) in obs.iter().zip(rngs).zip(logits.chunks_exact(n)) {
            log_softmax(logits, |i| obs.mask[i], &mut self.log_probs)?;
            let (action, log_prob) = match mode {
                Mode::Evaluate => (most_probable(&self.log_probs), 0.0),
                Mode::Train => {
                    let action = sample(&self.log_probs, rng);
                    (action, self.log_probs[action] as f32)
                }
            };
            decisions.push(Decision { action: Slate(vec![action as u32]), log_prob });
        }
        Ok(decisions)
    }
}
