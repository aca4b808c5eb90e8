//! The environments that commands know by name.

use crate::{diag_query, rec_sim};
use retune_envs::control::ControlTask;

/// Name and one sentence about each.
#[must_use]
pub fn all() -> Vec<(&'static str, &'static str)> {
    let control = ControlTask::ALL.map(|task| (task.name(), task.about()));
    [rec_sim::ENVS, diag_query::ENVS, &control].concat()
}
