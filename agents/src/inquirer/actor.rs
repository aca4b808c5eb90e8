//! Random questions in training, a rule and a threshold in evaluation.

use super::{ANSWER, GAIN, QuestionRule};
use crate::acting::{check_streams, number};
use crate::answers::AnswerGroup;
use crate::net::{Outputs, Predictor};
use retune::agent::{Actor, Decision, Mode, Snapshot};
use retune::env::{CandidateObs, Slate};
use retune::rng::StreamRng;
use retune::{Error, Result};
use std::sync::Arc;

/// Names of what is published beside the network.
pub(super) const THRESHOLD: &str = "actor.threshold";
pub(super) const GAINS: &str = "actor.gains";
pub(super) const COSTS: &str = "actor.costs";

/// Cost below which a question counts as free.
const FREE: f32 = 1e-9;

/// The actor.
pub(super) struct InquirerActor {
    predictor: Box<dyn Predictor>,
    group: AnswerGroup,
    rule: QuestionRule,
    threshold: f64,
    gains: Vec<f32>,
    costs: Vec<f32>,
    out: Outputs,
    log_probs: Vec<f64>,
}

impl InquirerActor {
    pub fn new(predictor: Box<dyn Predictor>, group: AnswerGroup, rule: QuestionRule) -> Self {
        Self {
            predictor,
            group,
            rule,
            threshold: 1.0,
            gains: Vec::new(),
            costs: Vec::new(),
            out: Outputs::default(),
            log_probs: Vec::new(),
        }
    }

    fn is_answer(&self, candidate: usize) -> bool {
        self.group.range().contains(&candidate)
    }

    /// Candidates that are no answers and may be chosen.
    fn questions(&self, obs: &CandidateObs) -> Vec<usize> {
        (0..obs.mask.len()).filter(|&i| obs.mask[i] && !self.is_answer(i)).collect()
    }

    /// What is gained by asking `candidate` in row `row`.
    fn worth(&self, row: usize, candidate: usize) -> f32 {
        let predicted = || self.out.head(GAIN)[row * self.group.num_candidates() + candidate];
        match self.rule {
            QuestionRule::Random => 0.0,
            QuestionRule::Static => self.gains[candidate],
            QuestionRule::Gain => predicted(),
            QuestionRule::GainPerCost => predicted() / self.costs[candidate].max(FREE),
        }
    }

    /// The answer, or the next question.
    fn decide(&mut self, row: usize, obs: &CandidateObs, mode: Mode, rng: &mut StreamRng) -> Result<(usize, f64)> {
        let questions = self.questions(obs);
        let n = self.group.num_candidates();
        let logits = &self.out.head(ANSWER)[row * n..][..n];
        let none = || Error::State("no answer is legal".to_owned());
        let answer = self.group.likeliest(logits, |i| obs.mask[i]).ok_or_else(none)?;
        if mode == Mode::Train {
            // Each question and "answer now" alike: an episode then has states with few and with many answers.
            let at = rng.below(questions.len() + 1);
            let log_prob = -((questions.len() + 1) as f64).ln();
            return Ok((questions.get(at).copied().unwrap_or(answer), log_prob));
        }
        self.group.log_probs(logits, |i| obs.mask[i], &mut self.log_probs)?;
        let confidence = self.log_probs[answer - self.group.range().start].exp();
        if questions.is_empty() || confidence >= self.threshold {
            return Ok((answer, 0.0));
        }
        if self.rule == QuestionRule::Random {
            return Ok((questions[rng.below(questions.len())], -(questions.len() as f64).ln()));
        }
        let better = |best: usize, i: usize| if self.worth(row, i) > self.worth(row, best) { i } else { best };
        Ok((questions.iter().copied().fold(questions[0], better), 0.0))
    }
}

impl Actor<CandidateObs, Slate> for InquirerActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        let row = |name: &str| -> Result<Vec<f32>> {
            let missing = || Error::State(format!("parameter {name} is missing"));
            let values = snapshot.params.get(name).ok_or_else(missing)?.flatten_all()?.to_vec1()?;
            let (found, expected) = (values.len(), self.group.num_candidates());
            if found == expected {
                return Ok(values);
            }
            Err(Error::State(format!("{name} has {found} entries, expected {expected}")))
        };
        let (threshold, gains, costs) = (number(snapshot, THRESHOLD)?, row(GAINS)?, row(COSTS)?);
        self.predictor.load(snapshot)?;
        (self.threshold, self.gains, self.costs) = (threshold, gains, costs);
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<Slate>>> {
        check_streams(obs.len(), rngs.len())?;
        if obs.is_empty() {
            return Ok(Vec::new());
        }
        self.predictor.predict(obs, None, &mut self.out)?;
        let mut decisions = Vec::with_capacity(obs.len());
        for (row, (obs, rng)) in obs.iter().zip(rngs).enumerate() {
            let (candidate, log_prob) = self.decide(row, obs, mode, rng)?;
            decisions.push(Decision { action: Slate(vec![candidate as u32]), log_prob: log_prob as f32 });
        }
        Ok(decisions)
    }
}
