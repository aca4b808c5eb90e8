//! The problems of `diag_query` that come with the program, by name.

use anyhow::Result;
use retune::env::EnvError;
use retune_assets::networks;
use retune_envs::diag_query::env::{DiagQuery, DiagQueryConfig, View};
use retune_envs::diag_query::generators::{gated, parity};
use retune_envs::diag_query::problem::Problem;
use retune_envs::diag_query::shipped::{Roles, network_problem, read_network};
use std::sync::Arc;

/// Most cells of the junction tree of a problem's model.
const MAX_CELLS: usize = 1 << 26;

/// Name and one sentence about each environment; `NAME/VIEW` selects what is shown, `vector` without one.
pub const ENVS: &[(&str, &str)] = &[
    ("diag_query/asia", "Lung cancer in the chest clinic network ASIA: 4 findings, 2 diagnoses."),
    ("diag_query/child", "Heart disease of newborns in the network CHILD: 8 findings, 6 diagnoses."),
    ("diag_query/alarm", "Intubation in the intensive care network ALARM: 12 findings, 3 diagnoses."),
    ("diag_query/hepar2", "Primary biliary cirrhosis in the liver network HEPAR II: 61 findings, 2 diagnoses."),
    ("diag_query/pathfinder", "Lymph node diseases in the network PATHFINDER: 108 findings, 63 diagnoses."),
    ("diag_query/nonmyopic", "gated(8, 3, 0.05, 6, 0.4): the question that matters tells nothing by itself."),
    ("diag_query/parity", "parity(2, 3, 0, 8, 0.35): three questions pay off only together."),
];

/// The BIF file of a shipped network.
fn network_file(name: &str) -> Option<&'static [u8]> {
    Some(match name {
        "asia" => networks::ASIA,
        "child" => networks::CHILD,
        "alarm" => networks::ALARM,
        "hepar2" => networks::HEPAR2,
        "pathfinder" => networks::PATHFINDER,
        _ => return None,
    })
}

/// A problem by the name it has in [`ENVS`] after `diag_query/`; with a network, `target` may be another of its default
/// targets. `None` if there is no problem of that name.
///
/// # Errors
/// If the target is no variable of the network.
pub fn problem(name: &str, target: Option<&str>) -> Result<Option<Problem>> {
    let Some(bytes) = network_file(name) else {
        return Ok(match name {
            "nonmyopic" => Some(gated(8, 3, 0.05, 6, 0.4)?),
            "parity" => Some(parity(2, 3, 0.0, 8, 0.35)?),
            _ => None,
        });
    };
    let all = Roles::parse(networks::ROLES)?;
    let missing = || EnvError::Data { file: "roles.json".to_owned(), message: format!("{name} has no roles") };
    let roles = all.get(name).ok_or_else(missing)?;
    let target = target.or(roles.targets.first().map(String::as_str)).ok_or_else(missing)?;
    let network = read_network(name, bytes)?;
    Ok(Some(network_problem(&format!("{name}/{target}"), &network, roles, target, MAX_CELLS)?))
}

/// The environment that `check-env` knows as `diag_query/PROBLEM` or `diag_query/PROBLEM/VIEW`; `None` if there is none.
///
/// # Errors
/// If it cannot be built.
pub fn env_maker(name: &str) -> Result<Option<impl Fn() -> retune::Result<DiagQuery> + use<>>> {
    let rest = name.strip_prefix("diag_query/").unwrap_or_default();
    let (problem_name, view) = rest.split_once('/').unwrap_or((rest, View::Vector.name()));
    let view = View::ALL.iter().find(|(_, name)| *name == view).map(|(view, _)| *view);
    let (Some(view), Some(problem)) = (view, problem(problem_name, None)?) else { return Ok(None) };
    let problem = Arc::new(problem);
    let config = DiagQueryConfig { view, ..DiagQueryConfig::default() };
    Ok(Some(move || Ok(DiagQuery::new(Arc::clone(&problem), config.clone())?)))
}
