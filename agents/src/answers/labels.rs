//! States with the answer that hindsight shows to have been right.

use crate::net::Batcher;
use retune::Result;
use retune::agent::Rollout;
use retune::env::{CandidateObs, Slate};
use retune::replay::ObsBatch;
use serde::{Deserialize, Serialize};

/// States of each env slot that wait for the end of their episode, and with it for their label. They wait across rounds:
/// if those of an episode that a round cuts were left out, long episodes would be rarer among the labelled states than
/// among all, and the classifier would learn something else than P(answer | state).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LabelQueue(Vec<Vec<CandidateObs>>);

/// States with their labels, candidate indices. Memory is used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelledRows {
    pub obs: ObsBatch,
    pub labels: Vec<u32>,
    /// Labels that were revealed: one for each episode.
    pub episodes: u64,
}

impl LabelledRows {
    pub fn clear(&mut self) {
        Batcher::clear(&mut self.obs);
        self.labels.clear();
        self.episodes = 0;
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    fn push(&mut self, batcher: &Batcher, obs: &CandidateObs, label: u32) -> Result<()> {
        batcher.push(&mut self.obs, obs)?;
        self.labels.push(label);
        Ok(())
    }
}

impl LabelQueue {
    /// Takes in a round, and appends the states of all episodes that ended with a label to `to`, slot by slot. An
    /// episode that ends without a label teaches nothing.
    ///
    /// # Errors
    /// [`retune::Error::State`] if an observation has the wrong shape.
    pub fn push(
        &mut self,
        batcher: &Batcher,
        rollout: &Rollout<CandidateObs, Slate>,
        to: &mut LabelledRows,
    ) -> Result<()> {
        self.0.resize_with(rollout.segments.len().max(self.0.len()), Vec::new);
        for (segment, waiting) in rollout.segments.iter().zip(&mut self.0) {
            let mut first = 0;
            for (t, step) in segment.steps.iter().enumerate().filter(|(_, s)| s.status.is_over()) {
                if let Some(label) = step.next_obs.feedback.as_ref().and_then(|f| f.best) {
                    waiting.iter().try_for_each(|obs| to.push(batcher, obs, label))?;
                    segment.steps[first..=t].iter().try_for_each(|s| to.push(batcher, &s.obs, label))?;
                    to.episodes += 1;
                }
                waiting.clear();
                first = t + 1;
            }
            waiting.extend(segment.steps[first..].iter().map(|s| s.obs.as_ref().clone()));
        }
        Ok(())
    }
}
