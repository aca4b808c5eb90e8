//! The environments that commands know by name: those of the experiments, and those that no experiment uses yet.

use crate::{diag_query, experiments};
use anyhow::Result;
use retune::env::check::{CandidateSampler, CheckConfig, CheckReport, check_env};

/// Name and one sentence about each.
#[must_use]
pub fn all() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = experiments::ALL.iter().flat_map(|e| e.info().envs.iter().copied()).collect();
    all.extend(diag_query::ENVS);
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
    Ok(match diag_query::env_maker(name)? {
        Some(make) => Some(check_env(make, &CandidateSampler, &CheckConfig::default())?),
        None => None,
    })
}
