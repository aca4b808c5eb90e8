//! The experiment `diag_query`: learn what to ask before declaring a diagnosis.

mod algorithms;
mod config;
mod ddxplus;
mod decisions;
mod exact;
mod figures;
mod limits;
mod measure;
mod prepared;
mod problems;
mod rates;
mod references;
mod tables;
mod task;
mod verdict;
mod words;
mod world;

use crate::config::{Layers, Preset};
use crate::deep;
use crate::failure::bad_input;
use crate::study::{Experiment, Info, Prepared, TrialRecord, typed};
use algorithms::ALGORITHMS;
use anyhow::Result;
use config::DiagQuerySettings;
use prepared::DiagQueryStudy;
use retune::env::check::{CandidateSampler, CheckConfig, CheckReport, check_env};
use retune::report::Extras;
use retune::track::Summary;
use retune_envs::diag_query::env::{DiagQuery, DiagQueryConfig, View};
use serde_json::Value;
use std::sync::Arc;

/// What every report says.
pub const NOTICE: &str = "This is a research simulator, not a medical device: nothing in it may be used to diagnose or \
                          treat anybody.";

/// What an arm may be shown.
const VIEWS: &[&str] = &["vector", "known", "signed", "text", "belief", "belief_gain", "candidates", "bins"];

macro_rules! preset {
    ($name:literal) => {
        Preset { name: $name, text: include_str!(concat!("../../presets/diag_query/", $name, ".toml")) }
    };
}

/// What agents need here that they do not need elsewhere.
const AGENTS: Preset = preset!("agents");

static INFO: Info = Info {
    name: "diag_query",
    about: "Ask findings at a cost, then declare a diagnosis; a research simulator, not a medical device.",
    question: "Does an agent that learns what to ask do as well as exact planning on a known model, and where does it do \
               better?",
    envs: problems::ENVS,
    presets: &[
        preset!("quick"),
        preset!("standard"),
        preset!("full"),
        preset!("asia"),
        preset!("child"),
        preset!("alarm"),
        preset!("hepar2"),
        preset!("pathfinder"),
        preset!("nonmyopic"),
        preset!("parity"),
        preset!("soybean"),
        preset!("costs"),
        preset!("noise"),
        preset!("few_cases"),
        preset!("refitted"),
        preset!("dialogue"),
        preset!("unseen"),
        preset!("hpo"),
        preset!("ddxplus"),
    ],
    next_preset: Some("standard"),
    settings: &[include_str!("../../presets/diag_query/settings.toml"), deep::SETTINGS],
    algorithms: ALGORITHMS,
    views: VIEWS,
    anchors: &[],
    // Patients and answers depend on these; what is shown and what it costs changes neither.
    paired_by: &[
        "seed",
        "env.problem",
        "env.target",
        "env.noise",
        "env.missing",
        "env.initial",
        "env.held_out",
        "data",
        "eval.episodes",
    ],
};

/// The experiment.
pub struct DiagQueryStudies;

impl Experiment for DiagQueryStudies {
    fn info(&self) -> &'static Info {
        &INFO
    }

    /// The defaults of every agent, then what is tuned for the problem.
    fn base(&self, layers: &Layers<'_>) -> Vec<Preset> {
        let named = |key: &str| match layers.value(key) {
            Some(toml::Value::String(text)) => !text.is_empty(),
            Some(toml::Value::Array(list)) => !list.is_empty(),
            _ => false,
        };
        let own = config::DataSettings::OWN.into_iter().any(named);
        let problem = layers.value("env.problem").and_then(toml::Value::as_str).unwrap_or_default();
        let tuned = INFO.presets.iter().find(|preset| !own && preset.name == problem);
        [deep::DEFAULTS, AGENTS].into_iter().chain(tuned.copied()).collect()
    }

    fn checked(&self, layers: &Layers<'_>) -> Result<Value> {
        Ok(serde_json::to_value(DiagQuerySettings::from_layers(layers)?)?)
    }

    fn prepare(&self, config: &Value) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(DiagQueryStudy::new(config)?))
    }

    fn method(&self, config: &Value) -> Result<Vec<String>> {
        Ok(words::method(&typed(config)?))
    }

    fn extras(&self, summary: &Summary, records: &[TrialRecord]) -> Result<Extras> {
        figures::extras(prepared::SPLIT.name, summary, records)
    }

    fn check_env(&self, name: &str) -> Result<CheckReport> {
        let unknown = || bad_input(format!("check-env {name}: there is no such environment"));
        let rest = name.strip_prefix("diag_query/").ok_or_else(unknown)?;
        let (problem, view) = rest.split_once('/').unwrap_or((rest, View::Vector.name()));
        let view = View::ALL.iter().find(|(_, name)| *name == view).map(|(view, _)| *view).ok_or_else(|| {
            bad_input(format!("check-env {name}: there is no view {view}; there are {}", VIEWS.join(", ")))
        })?;
        let problem = Arc::new(problems::problem(problem)?.ok_or_else(unknown)?);
        let config = DiagQueryConfig { view, ..DiagQueryConfig::default() };
        let make = || Ok(DiagQuery::new(Arc::clone(&problem), config.clone())?);
        Ok(check_env(make, &CandidateSampler, &CheckConfig::default())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_views_are_those_of_the_environment() {
        assert_eq!(View::ALL.map(|(_, name)| name), VIEWS);
    }

    #[test]
    fn a_preset_that_has_the_name_of_a_problem_sets_it() {
        for preset in INFO.presets.iter().filter(|preset| problems::NAMES.contains(&preset.name)) {
            assert!(preset.text.contains(&format!("problem = \"{}\"", preset.name)), "{}", preset.name);
        }
        for name in problems::NAMES {
            assert!(INFO.presets.iter().any(|preset| preset.name == *name), "{name} has no preset");
        }
    }
}
