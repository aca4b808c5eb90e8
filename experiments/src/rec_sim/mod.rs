//! The experiment `rec_sim`: recommend things to read to simulated users.

mod agents;
mod algorithms;
mod config;
mod measure;
mod prepared;
mod task;
mod words;
mod world;

pub use algorithms::ALGORITHMS;

use crate::config::{Layers, Preset, Request};
use crate::study::{Experiment, Info, Prepared, typed};
use anyhow::Result;
use config::RecSimConfig;
use prepared::RecSimStudy;
use retune::env::check::{CandidateSampler, CheckConfig, CheckReport, check_env};
use retune::track::Anchor;
use serde_json::Value;
use world::{Items, World};

static INFO: Info = Info {
    name: "rec_sim",
    about: "Recommend things to read to simulated users; the reward is minutes watched.",
    question: "Does reinforcement learning make a pretrained text encoder a better recommender than supervised \
               learning does?",
    envs: &[
        ("rec_sim/interest_evolution/features", "RecSim's own form: topics and interests as vectors."),
        (
            "rec_sim/interest_evolution/text",
            "Items as texts, interests as a vector (or, as a setting, the last steps).",
        ),
    ],
    presets: &[
        Preset { name: "quick", text: include_str!("../../presets/rec_sim/quick.toml") },
        Preset { name: "standard", text: include_str!("../../presets/rec_sim/standard.toml") },
        Preset { name: "full", text: include_str!("../../presets/rec_sim/full.toml") },
        Preset { name: "features", text: include_str!("../../presets/rec_sim/features.toml") },
    ],
    next_preset: Some("standard"),
    settings: &[include_str!("../../presets/rec_sim/settings.toml")],
    algorithms: ALGORITHMS,
    views: &[],
    anchors: &[("random", Anchor::Zero), ("planner", Anchor::One)],
    paired_by: &["seed", "env", "catalog", "eval.users"],
};

/// The experiment.
pub struct RecSim;

impl Experiment for RecSim {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn checked(&self, layers: &Layers<'_>) -> Result<Value> {
        Ok(serde_json::to_value(RecSimConfig::from_layers(layers)?)?)
    }

    fn prepare(&self, config: &Value) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(RecSimStudy::new(config)?))
    }

    fn method(&self, config: &Value) -> Result<Vec<String>> {
        Ok(words::method(&typed(config)?))
    }

    fn check_env(&self, name: &str) -> Result<CheckReport> {
        let form = name.rsplit('/').next().unwrap_or_default();
        let (schema, set) = (INFO.schema()?, [format!("env.form={form}")]);
        let (_, layers) = (self as &dyn Experiment).layers(&schema, &Request { set: &set, ..Request::default() })?;
        let config = RecSimConfig::from_layers(&layers)?;
        let world = World::new(&config, &|_| unreachable!("the embedded catalogue names its topics"))?;
        Ok(check_env(|| world.env(Items::Train), &CandidateSampler, &CheckConfig::default())?)
    }
}
