//! The environments that commands know by name: those of the experiments, and those that no experiment uses yet.

use crate::{diag_query, experiments};
use anyhow::Result;
use retune::env::check::{CandidateSampler, CheckConfig, CheckReport, check_env};
use retune_envs::control::ControlTask;

/// Env steps by which the speed of a control task is measured: a fraction of a second at ten million a second.
const CONTROL_SPEED_STEPS: u64 = 2_000_000;

/// Name and one sentence about each.
#[must_use]
pub fn all() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = experiments::ALL.iter().flat_map(|e| e.info().envs.iter().copied()).collect();
    let others = diag_query::ENVS.iter().copied().chain(ControlTask::ALL.map(|task| (task.name(), task.about())));
    for (name, about) in others {
        if all.iter().all(|(known, _)| *known != name) {
            all.push((name, about));
        }
    }
    all
}

/// Whether the environment of this name keeps its contract, and its speed; `None` if there is no such environment.
///
/// # Errors
/// If it cannot be built.
pub fn check(name: &str) -> Result<Option<CheckReport>> {
    let mine = |e: &&&dyn crate::study::Experiment| e.info().envs.iter().any(|(env, _)| *env == name);
    if let Some(experiment) = experiments::ALL.iter().find(mine) {
        return Ok(Some(experiment.check_env(name)?));
    }
    if let Some(task) = ControlTask::from_name(name) {
        let config = CheckConfig { speed_steps: CONTROL_SPEED_STEPS, ..CheckConfig::default() };
        return Ok(Some(task.check(&config)?));
    }
    Ok(match diag_query::env_maker(name)? {
        Some(make) => Some(check_env(make, &CandidateSampler, &CheckConfig::default())?),
        None => None,
    })
}
