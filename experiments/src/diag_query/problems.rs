//! The problems of `diag_query` that come with the program, by name.

use anyhow::{Context, Result};
use retune::env::EnvError;
use retune_assets::networks;
use retune_envs::diag_query::generators::{gated, parity};
use retune_envs::diag_query::network::Network;
use retune_envs::diag_query::problem::Problem;
use retune_envs::diag_query::shipped::{Roles, network_problem, read_network};
use std::sync::Arc;

/// Most cells of the junction tree of a problem's model.
pub const MAX_CELLS: usize = 1 << 26;

/// Name and one sentence about each environment; `NAME/VIEW` selects what is shown, `vector` without one.
pub static ENVS: &[(&str, &str)] = &[
    ("diag_query/asia", "Lung cancer in the chest clinic network ASIA: 4 findings, 2 diagnoses."),
    ("diag_query/child", "Heart disease of newborns in the network CHILD: 8 findings, 6 diagnoses."),
    ("diag_query/alarm", "Intubation in the intensive care network ALARM: 12 findings, 3 diagnoses."),
    ("diag_query/hepar2", "Primary biliary cirrhosis in the liver network HEPAR II: 61 findings, 2 diagnoses."),
    ("diag_query/pathfinder", "Lymph node diseases in the network PATHFINDER: 108 findings, 63 diagnoses."),
    ("diag_query/nonmyopic", "gated(8, 3, 0.05, 6, 0.4): the question that matters tells nothing by itself."),
    ("diag_query/parity", "parity(2, 3, 0, 8, 0.35): three questions pay off only together."),
];

/// What `env.problem` may be: those of [`ENVS`], and real cases that come with the program.
pub const NAMES: &[&str] = &["asia", "child", "alarm", "hepar2", "pathfinder", "nonmyopic", "parity", "soybean"];

/// The BIF file of a shipped network.
pub fn network_file(name: &str) -> Option<&'static [u8]> {
    Some(match name {
        "asia" => networks::ASIA,
        "child" => networks::CHILD,
        "alarm" => networks::ALARM,
        "hepar2" => networks::HEPAR2,
        "pathfinder" => networks::PATHFINDER,
        _ => return None,
    })
}

/// A shipped network with the roles of its variables.
///
/// # Errors
/// If a file that comes with the program is damaged, which tests exclude.
pub fn shipped_network(name: &str) -> Result<Option<(Arc<Network>, Roles)>> {
    let Some(bytes) = network_file(name) else { return Ok(None) };
    let missing = || EnvError::Data { file: "roles.json".to_owned(), message: format!("{name} has no roles") };
    let roles = Roles::parse(networks::ROLES)?.remove(name).ok_or_else(missing)?;
    Ok(Some((read_network(name, bytes)?, roles)))
}

/// The variable to find out: the first default target of the roles where `target` is empty.
///
/// # Errors
/// If the roles name none.
pub fn target_of<'a>(roles: &'a Roles, target: &'a str) -> Result<&'a str> {
    let first = roles.targets.first().map(String::as_str).filter(|_| target.is_empty());
    first.or((!target.is_empty()).then_some(target)).context("the roles name no target")
}

/// A problem in which the best single question is the wrong one.
///
/// # Errors
/// If its numbers are out of range, which they are not.
pub fn generated(name: &str) -> Result<Option<Problem>> {
    Ok(match name {
        "nonmyopic" => Some(gated(8, 3, 0.05, 6, 0.4)?),
        "parity" => Some(parity(2, 3, 0.0, 8, 0.35)?),
        _ => None,
    })
}

/// A problem by the name it has in [`ENVS`] after `diag_query/`, with its first target. `None` if there is none.
///
/// # Errors
/// If a file that comes with the program is damaged, which tests exclude.
pub fn problem(name: &str) -> Result<Option<Problem>> {
    let Some((network, roles)) = shipped_network(name)? else { return generated(name) };
    let target = target_of(&roles, "")?;
    Ok(Some(network_problem(&format!("{name}/{target}"), &network, &roles, target, MAX_CELLS)?))
}
