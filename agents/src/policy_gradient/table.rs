//! A round of experience as flat tables.

use crate::net::Batcher;
use retune::agent::{Rollout, Transition};
use retune::env::{CandidateObs, Slate, Status};
use retune::replay::ObsBatch;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// Steps of several env slots, `[num_steps, num_envs]` step by step; or whole episodes one after the other, with
/// `num_envs = 1`. Memory is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub num_envs: usize,
    pub obs: ObsBatch,
    pub actions: Vec<u32>,
    pub log_probs: Vec<f32>,
    pub rewards: Vec<f32>,
    pub status: Vec<Status>,
    /// Observations whose values are bootstrapped from, besides those of the table.
    pub ends: ObsBatch,
    /// Row of [`Table::ends`] for each step that has one.
    pub end_of: Vec<Option<usize>>,
}

/// One step of an episode that is not over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PendingStep {
    obs: CandidateObs,
    action: u32,
    log_prob: f32,
    reward: f64,
}

/// Steps of each env slot that wait for the end of their episode.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pending(Vec<Vec<PendingStep>>);

/// A whole episode.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Episode {
    steps: Vec<PendingStep>,
    status: Status,
    last: CandidateObs,
}

impl Episode {
    /// Sum of its rewards.
    pub fn total(&self) -> f64 {
        self.steps.iter().map(|s| s.reward).sum()
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }
}

impl Table {
    pub fn rows(&self) -> usize {
        self.actions.len()
    }

    fn clear(&mut self, num_envs: usize) {
        self.num_envs = num_envs;
        Batcher::clear(&mut self.obs);
        Batcher::clear(&mut self.ends);
        self.actions.clear();
        self.log_probs.clear();
        self.rewards.clear();
        self.status.clear();
        self.end_of.clear();
    }

    /// Takes over a round.
    ///
    /// # Errors
    /// [`Error::State`] if slots have different numbers of steps, or an observation or slate the wrong shape.
    pub fn fill(&mut self, batcher: &Batcher, rollout: &Rollout<CandidateObs, Slate>) -> Result<()> {
        self.clear(rollout.segments.len().max(1));
        let steps = rollout.segments.first().map_or(0, |s| s.steps.len());
        if let Some(other) = rollout.segments.iter().find(|s| s.steps.len() != steps) {
            let found = other.steps.len();
            return Err(Error::State(format!("env slot {} has {found} steps, others {steps}", other.env)));
        }
        for t in 0..steps {
            for segment in &rollout.segments {
                let step = &segment.steps[t];
                let goes_on = step.status == Status::Running && t + 1 < steps;
                let end = (!goes_on && step.status != Status::Terminated).then(|| step.next_obs.as_ref());
                let (action, log_prob) = (action_of(step)?, step.log_prob);
                self.push(batcher, &step.obs, action, log_prob, step.reward, step.status, end)?;
            }
        }
        Ok(())
    }

    /// Takes over whole episodes.
    ///
    /// # Errors
    /// [`Error::State`] if an observation has the wrong shape.
    pub fn fill_episodes(&mut self, batcher: &Batcher, episodes: &[Episode]) -> Result<()> {
        self.clear(1);
        for episode in episodes {
            for (i, step) in episode.steps.iter().enumerate() {
                let status = if i + 1 == episode.len() { episode.status } else { Status::Running };
                let end = (status == Status::Truncated).then_some(&episode.last);
                self.push(batcher, &step.obs, step.action, step.log_prob, step.reward, status, end)?;
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row")]
    fn push(
        &mut self,
        batcher: &Batcher,
        obs: &CandidateObs,
        action: u32,
        log_prob: f32,
        reward: f64,
        status: Status,
        end: Option<&CandidateObs>,
    ) -> Result<()> {
        batcher.push(&mut self.obs, obs)?;
        self.actions.push(action);
        self.log_probs.push(log_prob);
        self.rewards.push(reward as f32);
        self.status.push(status);
        let row = batcher.rows(&self.ends);
        if let Some(end) = end {
            batcher.push(&mut self.ends, end)?;
        }
        self.end_of.push(end.map(|_| row));
        Ok(())
    }

    /// Values that follow each step: those of the table where an episode goes on, those of `ends` where it is cut, 0
    /// after a terminated step.
    pub fn following(&self, values: &[f32], ends: &[f32]) -> Vec<f32> {
        let one = |(i, end): (usize, &Option<usize>)| match (end, self.status[i]) {
            (_, Status::Terminated) => 0.0,
            (Some(row), _) => ends[*row],
            // A step without an end is followed by one of the same slot.
            (None, _) => values[i + self.num_envs],
        };
        self.end_of.iter().enumerate().map(one).collect()
    }
}

impl Pending {
    /// Takes in a round; returns the episodes that ended, in slot order and then in time order.
    ///
    /// # Errors
    /// [`Error::State`] if a slate has not one candidate.
    pub fn push(&mut self, rollout: &Rollout<CandidateObs, Slate>) -> Result<Vec<Episode>> {
        self.0.resize_with(rollout.segments.len().max(self.0.len()), Vec::new);
        let mut episodes = Vec::new();
        for (segment, pending) in rollout.segments.iter().zip(&mut self.0) {
            for step in &segment.steps {
                let (obs, action) = (step.obs.as_ref().clone(), action_of(step)?);
                pending.push(PendingStep { obs, action, log_prob: step.log_prob, reward: step.reward });
                if step.status.is_over() {
                    let (steps, last) = (std::mem::take(pending), step.next_obs.as_ref().clone());
                    episodes.push(Episode { steps, status: step.status, last });
                }
            }
        }
        Ok(episodes)
    }
}

fn action_of(step: &Transition<CandidateObs, Slate>) -> Result<u32> {
    match step.action.0.as_slice() {
        [one] => Ok(*one),
        other => Err(Error::State(format!("a slate of {} candidates, expected one", other.len()))),
    }
}
