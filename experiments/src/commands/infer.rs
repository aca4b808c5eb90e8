//! `experiment infer --network FILE.bif`: questions on standard input, posteriors on standard output.

use crate::failure::{Outcome, bad_input};
use anyhow::Result;
use retune_envs::diag_query::bif::{self, BifLimits};
use retune_envs::diag_query::inference::{Evidence, EvidenceMap, Inference, InferenceOptions, Quality};
use retune_envs::diag_query::network::Network;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::{BufRead, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

/// One line of input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    target: String,
    #[serde(default)]
    evidence: BTreeMap<String, Known>,
}

/// What is known of a variable: its state, or a likelihood for each state.
#[derive(Deserialize)]
#[serde(untagged)]
enum Known {
    State(String),
    Likelihood(BTreeMap<String, f64>),
}

/// One line of output.
#[derive(Serialize)]
struct Reply<'a> {
    posterior: ByState<'a>,
    log_evidence: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled: Option<Sampled<'a>>,
}

#[derive(Serialize)]
struct Sampled<'a> {
    standard_error: ByState<'a>,
    effective_samples: f64,
}

/// Numbers by name of the state, in the order of the network.
struct ByState<'a>(&'a [String], &'a [f64]);

impl Serialize for ByState<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (state, number) in self.0.iter().zip(self.1) {
            map.serialize_entry(state, number)?;
        }
        map.end()
    }
}

pub fn run(file: &Path, samples: usize) -> Result<Outcome> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|e| bad_input(format!("--network {name}: cannot be read: {e}")))?;
    let network = bif::read(&name, &bytes, &BifLimits::default()).map_err(|e| bad_input(e.to_string()))?;
    let network = Arc::new(network);
    let options = InferenceOptions { samples, ..InferenceOptions::default() };
    let mut inference = Inference::new(Arc::clone(&network), options);
    let mut out = std::io::stdout().lock();
    for (i, line) in std::io::stdin().lock().split(b'\n').enumerate() {
        let line = line?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |message: String| bad_input(format!("standard input, line {}: {message}", i + 1));
        let question: Question = serde_json::from_slice(&line).map_err(|e| {
            wrong(format!(r#"{e}; expected {{"target": "VARIABLE", "evidence": {{"VARIABLE": "STATE"}}}}"#))
        })?;
        let mut json = reply(&mut inference, &network, &question).map_err(wrong)?;
        json.push('\n');
        match out.write_all(json.as_bytes()).and_then(|()| out.flush()) {
            // The reader has seen enough.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(Outcome::Done),
            other => other?,
        }
    }
    Ok(Outcome::Done)
}

/// The answer as JSON, or what is wrong with the question.
fn reply(inference: &mut Inference, network: &Network, question: &Question) -> Result<String, String> {
    let target = variable(network, &question.target)?;
    let evidence = question.evidence.iter().map(|(name, known)| {
        let v = variable(network, name)?;
        Ok((v, evidence(network, v, known)?))
    });
    let evidence: EvidenceMap = evidence.collect::<Result<_, String>>()?;
    let answer = inference.posterior(target, &evidence).map_err(|e| e.to_string())?;
    let states = &network.variables()[target].states;
    let sampled = match &answer.quality {
        Quality::Exact => None,
        Quality::Sampled { standard_errors, effective_samples } => {
            Some(Sampled { standard_error: ByState(states, standard_errors), effective_samples: *effective_samples })
        }
    };
    let posterior = ByState(states, &answer.probabilities);
    let reply = Reply { posterior, log_evidence: answer.log_evidence, sampled };
    serde_json::to_string(&reply).map_err(|e| e.to_string())
}

fn variable(network: &Network, name: &str) -> Result<usize, String> {
    network.find(name).ok_or_else(|| {
        let names = network.variables().iter().map(|v| v.name.as_str());
        let hint = crate::suggest::did_you_mean(name, names);
        format!("there is no variable {name} in the network{hint}")
    })
}

fn evidence(network: &Network, v: usize, known: &Known) -> Result<Evidence, String> {
    let variable = &network.variables()[v];
    let state = |name: &str| {
        let expected = || format!("{} has no state {name}, expected {}", variable.name, variable.states.join(", "));
        network.find_state(v, name).ok_or_else(expected)
    };
    match known {
        Known::State(name) => Ok(Evidence::State(state(name)?)),
        Known::Likelihood(by_state) => {
            let mut likelihood = vec![0.0; variable.states.len()];
            for (name, &p) in by_state {
                likelihood[state(name)?] = p;
            }
            Ok(Evidence::Likelihood(likelihood))
        }
    }
}
