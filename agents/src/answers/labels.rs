//! States with the answer that hindsight shows to have been right.

use crate::net::Batcher;
use retune::agent::{Rollout, Transition};
use retune::env::{CandidateObs, Slate};
use retune::replay::ObsBatch;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// States of each env slot that wait for the end of their episode, and with it for their label. They wait across rounds:
/// if those of an episode that a round cuts were left out, long episodes would be rarer among the labelled states than
/// among all, and the classifier would learn something else than P(answer | state).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LabelQueue(Vec<Vec<Waiting>>);

/// A step of an episode that is not over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    obs: CandidateObs,
    action: u32,
    reward: f64,
}

/// States with their labels, candidate indices. Memory is used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelledRows {
    pub obs: ObsBatch,
    pub labels: Vec<u32>,
    /// What was chosen there, candidate indices.
    pub actions: Vec<u32>,
    /// What it brought at once.
    pub rewards: Vec<f32>,
    /// Whether the next row is the next state of the same episode.
    pub goes_on: Vec<bool>,
    /// Labels that were revealed: one for each episode.
    pub episodes: u64,
}

impl LabelledRows {
    pub fn clear(&mut self) {
        Batcher::clear(&mut self.obs);
        self.labels.clear();
        self.actions.clear();
        self.rewards.clear();
        self.goes_on.clear();
        self.episodes = 0;
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    fn push(&mut self, batcher: &Batcher, obs: &CandidateObs, action: u32, reward: f64, label: u32) -> Result<()> {
        batcher.push(&mut self.obs, obs)?;
        self.labels.push(label);
        self.actions.push(action);
        self.rewards.push(reward as f32);
        self.goes_on.push(true);
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
                    waiting.iter().try_for_each(|w| to.push(batcher, &w.obs, w.action, w.reward, label))?;
                    for step in &segment.steps[first..=t] {
                        to.push(batcher, &step.obs, one(step)?, step.reward, label)?;
                    }
                    if let Some(last) = to.goes_on.last_mut() {
                        *last = false;
                    }
                    to.episodes += 1;
                }
                waiting.clear();
                first = t + 1;
            }
            for step in &segment.steps[first..] {
                waiting.push(Waiting { obs: step.obs.as_ref().clone(), action: one(step)?, reward: step.reward });
            }
        }
        Ok(())
    }
}

/// The one candidate of a slate.
fn one(step: &Transition<CandidateObs, Slate>) -> Result<u32> {
    match step.action.0[..] {
        [candidate] => Ok(candidate),
        _ => Err(Error::State(format!("a slate of {} candidates, expected one", step.action.0.len()))),
    }
}
