//! The environments that commands know by name: those of the experiments.

use crate::experiments;
use crate::study::Experiment;
use anyhow::Result;
use retune::env::check::CheckReport;

/// Name and one sentence about each.
#[must_use]
pub fn all() -> Vec<(&'static str, &'static str)> {
    experiments::ALL.iter().flat_map(|e| e.info().envs.iter().copied()).collect()
}

/// Whether the environment of this name keeps its contract, and its speed; `None` if there is no such environment. A
/// name may go on after that of an environment, such as with the view of `diag_query/asia/text`.
///
/// # Errors
/// If it cannot be built.
pub fn check(name: &str) -> Result<Option<CheckReport>> {
    let is = |env: &str| name == env || name.strip_prefix(env).is_some_and(|rest| rest.starts_with('/'));
    let mine = |e: &&&dyn Experiment| e.info().envs.iter().any(|(env, _)| is(env));
    experiments::ALL.iter().find(mine).map(|experiment| experiment.check_env(name)).transpose()
}
