//! The classifier that says what to answer, trained beside the policy.

use crate::answers::{AnswerGroup, AnswerReport, LabelMemory, LabelQueue, LabelledRows, answer_loss};
use crate::net::{Batcher, Network, Outputs};
use retune::Result;
use retune::agent::Rollout;
use retune::env::{CandidateObs, Slate};
use retune::replay::ObsBatch;
use retune::rng::StreamRng;
use serde::{Deserialize, Serialize};

/// What answers have been paid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paid {
    /// Sum of the rewards of wrong and of right answers.
    sums: [f64; 2],
    counts: [u64; 2],
}

impl Paid {
    fn add(&mut self, right: bool, reward: f64) {
        self.sums[usize::from(right)] += reward;
        self.counts[usize::from(right)] += 1;
    }

    /// Mean rewards of wrong and of right answers; `None` until both have been given.
    fn means(&self) -> Option<[f64; 2]> {
        (self.counts[0] > 0 && self.counts[1] > 0).then(|| [0, 1].map(|i| self.sums[i] / self.counts[i] as f64))
    }
}

/// Labels and how they are used.
pub(super) struct Classifier {
    pub group: AnswerGroup,
    /// Position of its head.
    pub head: usize,
    /// Weight of its loss.
    weight: f64,
    pub queue: LabelQueue,
    pub paid: Paid,
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
            paid: Paid::default(),
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
        for row in (0..self.rows.len()).filter(|&row| !self.rows.goes_on[row]) {
            let right = self.rows.actions[row] == self.rows.labels[row];
            self.paid.add(right, f64::from(self.rows.rewards[row]));
        }
        self.order.clear();
        match &mut self.memory {
            Some(memory) => memory.push(batcher, &self.rows),
            None => self.order.extend(0..self.rows.len()),
        }
        Ok(self.rows.episodes)
    }

    /// Replaces the rewards of answers by their expectation under the classifier with these logits; leaves them where
    /// not both right and wrong answers have been paid yet.
    ///
    /// # Shapes
    /// `logits`, `mask`: `[rows, num_candidates]`; `actions`, `rewards`: `[rows]`.
    ///
    /// # Errors
    /// If a logit is not finite.
    pub fn expect(&self, logits: &[f32], mask: &[u8], actions: &[u32], rewards: &mut [f32]) -> Result<()> {
        let Some([wrong, right]) = self.paid.means() else { return Ok(()) };
        let (n, range) = (self.group.num_candidates(), self.group.range());
        let mut log_probs = Vec::new();
        for (row, (&action, reward)) in actions.iter().zip(rewards).enumerate() {
            if range.contains(&(action as usize)) {
                let mask = &mask[row * n..][..n];
                self.group.log_probs(&logits[row * n..][..n], |i| mask[i] != 0, &mut log_probs)?;
                let p = log_probs[action as usize - range.start].exp();
                *reward = (p * right + (1.0 - p) * wrong) as f32;
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::testing::Riddle;
    use crate::net::candidates;
    use retune::env::Env;

    #[test]
    fn rewards_of_answers_are_expected_ones() {
        let group = AnswerGroup::new(candidates(Riddle::new().spec()).unwrap(), "key", 1).unwrap();
        let mut classifier = Classifier::new(group, 2, 1.0, None);
        // Answers are candidates 2 and 3; odds of 3 to 1 for the last.
        let (logits, mask, actions) = ([0.0, 0.0, 0.0, 3f32.ln()].repeat(3), [1u8; 12], [3, 0, 2]);
        let mut rewards = [7.0, -0.5, 7.0];
        classifier.paid.add(true, 2.0);
        classifier.expect(&logits, &mask, &actions, &mut rewards).unwrap();
        assert_eq!(rewards, [7.0, -0.5, 7.0], "nobody knows yet what a wrong answer costs");
        classifier.paid.add(true, 4.0);
        classifier.paid.add(false, -1.0);
        classifier.expect(&logits, &mask, &actions, &mut rewards).unwrap();
        for (found, expected) in rewards.iter().zip([0.75 * 3.0 - 0.25, -0.5, 0.25 * 3.0 - 0.75]) {
            assert!((found - expected).abs() < 1e-6, "{rewards:?}");
        }
    }
}
