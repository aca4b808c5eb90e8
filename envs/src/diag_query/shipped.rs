//! The networks that come with the program, as problems.

use super::bif::{self, BifLimits};
use super::inference::InferenceError;
use super::model::NetworkModel;
use super::network::Network;
use super::problem::{Diagnosis, Finding, NetworkSource, Problem, TestKind};
use retune::env::EnvError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who plays which part in a network: what may be the diagnosis, what may be asked, and how it is called.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Variables that may be the diagnosis; the first is the default.
    pub targets: Vec<String>,
    /// Variables that may be asked, with the kind of test.
    pub findings: Vec<(String, TestKind)>,
    /// Names for people; where there is none, the variable's name with blanks for underscores.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
}

impl Roles {
    /// Roles in a network of one's own: every variable but the target is a finding that costs as an examination.
    #[must_use]
    pub fn all_but(network: &Network, target: &str) -> Self {
        let others = network.variables().iter().map(|v| v.name.clone()).filter(|name| name != target);
        let findings = others.map(|name| (name, TestKind::Exam)).collect();
        Self { targets: vec![target.to_owned()], findings, names: BTreeMap::new() }
    }

    /// The roles of all shipped networks by name, from the text `networks::ROLES` of the crate `retune-assets`.
    ///
    /// # Errors
    /// [`EnvError::Data`] if the text is not what it should be.
    pub fn parse(text: &str) -> Result<BTreeMap<String, Self>, EnvError> {
        serde_json::from_str(text).map_err(|e| data_error("roles.json", e.to_string()))
    }
}

fn data_error(file: &str, message: String) -> EnvError {
    EnvError::Data { file: file.to_owned(), message }
}

/// Reads a network.
///
/// # Errors
/// [`EnvError::Data`] with line and cause.
pub fn read_network(file: &str, bytes: &[u8]) -> Result<Arc<Network>, EnvError> {
    let read = bif::read(file, bytes, &BifLimits::default());
    read.map(Arc::new).map_err(|e| data_error(file, format!("line {}: {}", e.line, e.kind)))
}

/// The problem of finding out `target` in a network, with the network itself as model.
///
/// # Errors
/// [`EnvError::Config`] if a role names an unknown variable; [`EnvError::Data`] if exact inference would not fit into
/// `max_cells`.
pub fn network_problem(
    name: &str,
    network: &Arc<Network>,
    roles: &Roles,
    target: &str,
    max_cells: usize,
) -> Result<Problem, EnvError> {
    let find = |variable: &str| {
        network.find(variable).ok_or_else(|| EnvError::Config {
            key: format!("{name}: variable"),
            value: variable.to_owned(),
            expected: "a variable of the network".to_owned(),
        })
    };
    let class = find(target)?;
    let spoken = |v: usize| {
        let name = &network.variables()[v].name;
        roles.names.get(name).cloned().unwrap_or_else(|| name.replace('_', " "))
    };
    let (mut numbers, mut findings) = (Vec::new(), Vec::new());
    for (variable, kind) in roles.findings.iter().filter(|(variable, _)| variable != target) {
        let v = find(variable)?;
        let states = &network.variables()[v].states;
        numbers.push(v);
        findings.push(Finding {
            id: variable.clone(),
            name: spoken(v),
            states: states.iter().map(|s| s.replace('_', " ")).collect(),
            default: default_state(states),
            kind: *kind,
            requires: None,
        });
    }
    let model = NetworkModel::new(network, class, &numbers, max_cells).map_err(|e| match e {
        InferenceError::Invalid(message) => {
            EnvError::Config { key: format!("{name}: findings"), value: target.to_owned(), expected: message }
        }
        other => data_error(name, other.to_string()),
    })?;
    let target_name = spoken(class);
    let states = &network.variables()[class].states;
    let diagnosis = |state: &String| {
        let state_name = state.replace('_', " ");
        // "yes" alone says nothing; a state such as "TGA" is a name of its own.
        let bare = ["yes", "no", "true", "false", "present", "absent"].contains(&state_name.to_lowercase().as_str());
        let name = if bare || states.len() < 4 { format!("{target_name} {state_name}") } else { state_name };
        Diagnosis { id: state.clone(), name, severity: None }
    };
    let problem = Problem {
        name: name.to_owned(),
        diagnoses: states.iter().map(diagnosis).collect(),
        findings,
        source: Arc::new(NetworkSource::new(Arc::clone(network), class, numbers)),
        model: Some(Arc::new(model)),
    };
    problem.validate()?;
    Ok(problem)
}

/// The state that reads like "nothing found"; the last one where none does.
fn default_state(states: &[String]) -> usize {
    const NEGATIVE: [&str; 7] = ["absent", "no", "false", "normal", "none", "negative", "na"];
    let is_negative = |state: &String| NEGATIVE.contains(&state.to_lowercase().as_str());
    states.iter().position(is_negative).unwrap_or(states.len() - 1)
}
