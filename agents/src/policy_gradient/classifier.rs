//! The classifier that says what to answer, trained beside the policy.

use crate::answers::{AnswerGroup, AnswerReport, LabelMemory, LabelQueue, LabelledRows, answer_loss};
use crate::net::{Batcher, Network, Outputs};
use retune::Result;
use retune::agent::Rollout;
use retune::env::{CandidateObs, Slate};
use retune::replay::ObsBatch;
use retune::rng::StreamRng;

/// Labels and how they are used.
pub(super) struct Classifier {
    pub group: AnswerGroup,
    /// Position of its head.
    pub head: usize,
    /// Weight of its loss.
    weight: f64,
    pub queue: LabelQueue,
    /// What it learns from in the place of the states of the round.
    pub memory: Option<LabelMemory>,
    rows: LabelledRows,
    order: Vec<usize>,
    labels: Vec<u32>,
    batch: ObsBatch,
    out: Outputs,
    grads: Outputs,
}

impl Classifier {
    pub fn new(group: AnswerGroup, head: usize, weight: f64, memory: Option<LabelMemory>) -> Self {
        Self {
            group,
            head,
            weight,
            queue: LabelQueue::default(),
            memory,
            rows: LabelledRows::default(),
            order: Vec::new(),
            labels: Vec::new(),
            batch: ObsBatch::default(),
            out: Outputs::default(),
            grads: Outputs::default(),
        }
    }

    /// Takes in a round; returns the labels that it revealed.
    pub fn take_in(&mut self, batcher: &Batcher, rollout: &Rollout<CandidateObs, Slate>) -> Result<u64> {
        self.rows.clear();
        self.queue.push(batcher, rollout, &mut self.rows)?;
        self.order.clear();
        match &mut self.memory {
            Some(memory) => memory.push(batcher, &self.rows),
            None => self.order.extend(0..self.rows.len()),
        }
        Ok(self.rows.episodes)
    }

    /// Another order of the labelled states.
    pub fn shuffle(&mut self, rng: &mut StreamRng) {
        super::learner::shuffle(&mut self.order, rng);
    }

    /// Fills the batch with part `part.0` of `part.1` equal parts of the states of the round, or with `size` states of
    /// the memory.
    fn draw(&mut self, batcher: &Batcher, part: (usize, usize), size: usize) {
        if let Some(memory) = &mut self.memory {
            return memory.sample(batcher, size, &mut self.batch, &mut self.labels);
        }
        let at = |part_of: usize| self.order.len() * part_of / part.1.max(1);
        let rows = &self.order[at(part.0)..at(part.0 + 1)];
        batcher.gather(&self.rows.obs, rows, &mut self.batch);
        self.labels.clear();
        self.labels.extend(rows.iter().map(|&row| self.rows.labels[row]));
    }

    /// Adds the gradient of the loss on what [`Classifier::draw`] draws; nothing if that is nothing.
    pub fn backward(
        &mut self,
        network: &mut dyn Network,
        batcher: &Batcher,
        part: (usize, usize),
        size: usize,
    ) -> Result<Option<AnswerReport>> {
        self.draw(batcher, part, size);
        if self.labels.is_empty() {
            return Ok(None);
        }
        network.forward(&self.batch, &mut self.out)?;
        self.out.require_finite(network.heads(), network.updates())?;
        self.grads.reset(network.heads(), network.num_candidates(), self.labels.len());
        let (logits, grads) = (self.out.head(self.head), self.grads.head_mut(self.head));
        let report = answer_loss(&self.group, logits, &self.batch.mask, &self.labels, self.weight, grads)?;
        network.backward(&self.grads)?;
        Ok(Some(report))
    }
}
