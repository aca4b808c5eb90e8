//! Training and measuring on control tasks, in the two forms that agents need.

use crate::study::{Measurement, Task, TaskActor, measure_returns};
use retune::agent::{Snapshot, Stop};
use retune::env::TextId;
use retune::{Error, Result};
use retune_envs::control::{CandidateEnv, ControlTask};
use retune_envs::finite::Finite;
use std::sync::Arc;

/// A task as its trials use it.
#[derive(Clone, Copy, Debug)]
pub struct Played {
    /// The task.
    pub task: ControlTask,
    /// Episodes that a measurement plays side by side.
    pub batch: usize,
    /// Env steps after which a measurement cuts an episode.
    pub max_steps: u64,
}

/// With actions as candidates, for deep agents.
pub struct CandidateTask(pub Played);

/// With numbered states, for tables.
pub struct TableTask(pub Played);

impl TableTask {
    fn finite(&self) -> Result<Finite> {
        let name = self.0.task.name();
        self.0.task.finite().ok_or_else(|| Error::State(format!("{name} has no numbered states")))
    }
}

impl Task for CandidateTask {
    type Env = CandidateEnv;

    fn env(&self) -> Result<CandidateEnv> {
        Ok(self.0.task.candidates()?)
    }

    fn texts(&self, _split: &str) -> Result<Vec<TextId>> {
        Ok(Vec::new())
    }

    fn measure(
        &self,
        _split: &str,
        actor: &mut TaskActor<Self>,
        snapshot: &Arc<Snapshot>,
        episodes: &[u64],
        stop: &Stop,
    ) -> Result<Measurement> {
        measure_returns(|_| self.env(), actor, snapshot, episodes, self.0.batch, Some(self.0.max_steps), stop)
    }
}

impl Task for TableTask {
    type Env = Finite;

    fn env(&self) -> Result<Finite> {
        self.finite()
    }

    fn texts(&self, _split: &str) -> Result<Vec<TextId>> {
        Ok(Vec::new())
    }

    fn measure(
        &self,
        _split: &str,
        actor: &mut TaskActor<Self>,
        snapshot: &Arc<Snapshot>,
        episodes: &[u64],
        stop: &Stop,
    ) -> Result<Measurement> {
        measure_returns(|_| self.env(), actor, snapshot, episodes, self.0.batch, Some(self.0.max_steps), stop)
    }
}
