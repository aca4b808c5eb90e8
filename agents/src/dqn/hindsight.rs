//! What the label of a finished episode says of every answer in all of its states.
//!
//! An episode that ends with an answer brings one reward, for one answer in one state. The label that it reveals says
//! more: what each answer would have brought, in every state on the way, because what is right does not depend on what
//! was asked. It is the relabelling of hindsight experience replay (Andrychowicz et al., arXiv:1707.01495) with the
//! answers as goals, and for the values of answers a regression without bootstrap: `Q(s, a) ← U(label, a)`. The payoffs
//! `U` are not given: they are the mean rewards of the endings seen so far, and a pair that never came up teaches
//! nothing.

use super::objective::Objective;
use crate::answers::{AnswerGroup, LabelMemory, LabelQueue, LabelledRows};
use crate::net::{Batcher, Network, Outputs};
use retune::agent::Rollout;
use retune::env::{CandidateObs, Slate};
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::rng::StreamRng;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// Labelled states and how they are used.
pub(super) struct Hindsight {
    group: AnswerGroup,
    batcher: Batcher,
    /// Weight of the loss.
    weight: f64,
    queue: LabelQueue,
    memory: LabelMemory,
    payoffs: Payoffs,
    rows: LabelledRows,
    batch: ObsBatch,
    labels: Vec<u32>,
    out: Outputs,
    grads: Outputs,
}

/// Mean rewards of endings by label and answer, `[answers, answers]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payoffs {
    answers: usize,
    counts: Vec<u64>,
    means: Vec<f64>,
}

impl Payoffs {
    fn new(answers: usize) -> Self {
        Self { answers, counts: vec![0; answers * answers], means: vec![0.0; answers * answers] }
    }

    fn add(&mut self, label: usize, answer: usize, reward: f64) {
        let at = label * self.answers + answer;
        self.counts[at] += 1;
        self.means[at] += (reward - self.means[at]) / self.counts[at] as f64;
    }

    /// `None` if that ending never came up.
    fn of(&self, label: usize, answer: usize) -> Option<f64> {
        let at = label * self.answers + answer;
        (self.counts[at] > 0).then(|| self.means[at])
    }
}

impl Hindsight {
    /// For `states` labelled states, drawn from `rng`.
    pub fn new(group: AnswerGroup, batcher: Batcher, weight: f64, states: usize, rng: StreamRng) -> Self {
        let payoffs = Payoffs::new(group.range().len());
        Self {
            group,
            batcher,
            weight,
            queue: LabelQueue::default(),
            memory: LabelMemory::new(states, rng),
            payoffs,
            rows: LabelledRows::default(),
            batch: ObsBatch::default(),
            labels: Vec::new(),
            out: Outputs::default(),
            grads: Outputs::default(),
        }
    }

    /// Draws of labelled states.
    pub fn stream(&mut self) -> &mut StreamRng {
        self.memory.stream()
    }

    /// Takes in a round; returns the labels that it revealed.
    pub fn take_in(&mut self, rollout: &Rollout<CandidateObs, Slate>) -> Result<u64> {
        self.rows.clear();
        self.queue.push(&self.batcher, rollout, &mut self.rows)?;
        self.memory.push_all(&self.batcher, &self.rows);
        let range = self.group.range();
        for row in (0..self.rows.len()).filter(|&row| !self.rows.goes_on[row]) {
            let (label, answer) = (self.rows.labels[row] as usize, self.rows.actions[row] as usize);
            if range.contains(&label) && range.contains(&answer) {
                let reward = f64::from(self.rows.rewards[row]);
                self.payoffs.add(label - range.start, answer - range.start, reward);
            }
        }
        Ok(self.rows.episodes)
    }

    /// Adds the gradient of the loss on `size` labelled states, a mean over states of sums over answers, and returns the
    /// loss; `None` if there is no state yet.
    pub fn backward(&mut self, net: &mut dyn Network, objective: &mut Objective, size: usize) -> Result<Option<f64>> {
        self.memory.sample(&self.batcher, size, &mut self.batch, &mut self.labels);
        if self.labels.is_empty() {
            return Ok(None);
        }
        net.forward(&self.batch, &mut self.out)?;
        self.out.require_finite(net.heads(), net.updates())?;
        self.grads.reset(net.heads(), net.num_candidates(), self.labels.len());
        let (range, n) = (self.group.range(), self.group.num_candidates());
        let (outputs, grads) = (self.out.head(0), self.grads.head_mut(0));
        let width = outputs.len() / (n * self.labels.len()).max(1);
        let scale = self.weight / self.labels.len() as f64;
        let mut total = 0.0;
        for (row, &label) in self.labels.iter().enumerate() {
            let label = label as usize;
            if !range.contains(&label) {
                let message = format!("candidate {label} was right, but it is no answer of {range:?}");
                return Err(Error::State(message));
            }
            for answer in range.clone().filter(|&a| self.batch.mask[row * n + a] != 0) {
                let Some(payoff) = self.payoffs.of(label - range.start, answer - range.start) else { continue };
                let at = (row * n + answer) * width;
                let grad = &mut grads[at..at + width];
                total += scale * objective.compare_ending(payoff, &outputs[at..at + width], grad);
                grad.iter_mut().for_each(|g| *g *= scale as f32);
            }
        }
        net.backward(&self.grads)?;
        Ok(Some(total))
    }

    /// Puts everything that later results depend on into `state`.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        state.put(format!("{prefix}queue"), &self.queue)?;
        state.put(format!("{prefix}payoffs"), &self.payoffs)?;
        self.memory.save(state, prefix)
    }

    /// One with the same settings and what was saved.
    pub fn restored(&self, state: &StateDict, prefix: &str) -> Result<Self> {
        let queue: LabelQueue = state.get(&format!("{prefix}queue"))?;
        let payoffs: Payoffs = state.get(&format!("{prefix}payoffs"))?;
        let (found, expected) = (payoffs.answers, self.payoffs.answers);
        let cells = expected * expected;
        if found != expected || payoffs.counts.len() != cells || payoffs.means.len() != cells {
            return Err(Error::State(format!("{prefix}payoffs of {found} answers, expected {expected}")));
        }
        let mut memory = self.memory.clone();
        memory.load(&self.batcher, state, prefix)?;
        let (group, batcher, weight) = (self.group.clone(), self.batcher.clone(), self.weight);
        let (rows, batch, labels) = (LabelledRows::default(), ObsBatch::default(), Vec::new());
        let (out, grads) = (Outputs::default(), Outputs::default());
        Ok(Self { group, batcher, weight, queue, memory, payoffs, rows, batch, labels, out, grads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payoffs_are_means_of_what_was_seen() {
        let mut payoffs = Payoffs::new(2);
        assert_eq!(payoffs.of(0, 1), None);
        payoffs.add(0, 1, -1.0);
        payoffs.add(0, 1, -3.0);
        payoffs.add(1, 1, 1.0);
        assert_eq!([payoffs.of(0, 1), payoffs.of(1, 1), payoffs.of(1, 0)], [Some(-2.0), Some(1.0), None]);
    }
}
