//! Training and measuring on simulated users.

use super::measure::measure_agent;
use super::world::{Items, StudyEnv, World};
use crate::study::{Measurement, Task, TaskActor};
use retune::agent::{Snapshot, Stop};
use retune::env::TextId;
use std::sync::Arc;

/// The users and items of a study, as its trials use them.
pub struct UserTask<'a> {
    /// Users and items.
    pub world: &'a World,
    /// Users that a measurement serves side by side.
    pub batch: usize,
}

impl Task for UserTask<'_> {
    type Env = StudyEnv;

    fn env(&self) -> retune::Result<StudyEnv> {
        self.world.env(Items::Train)
    }

    fn texts(&self, split: &str) -> retune::Result<Vec<TextId>> {
        match Items::from_name(split)? {
            Items::Train => Ok(Vec::new()),
            items => self.world.pool(items),
        }
    }

    fn measure(
        &self,
        split: &str,
        actor: &mut TaskActor<Self>,
        snapshot: &Arc<Snapshot>,
        episodes: &[u64],
        stop: &Stop,
    ) -> retune::Result<Measurement> {
        measure_agent(self.world, Items::from_name(split)?, actor, snapshot, episodes, self.batch, stop)
    }
}
