//! The experiment `rec_sim`: recommend things to read to simulated users.

mod agents;
mod config;
mod measure;
mod report;
mod seeds;
mod study;
mod summary;
mod trial;
mod world;

pub use config::RecSimConfig;
pub use report::write as write_report;
pub use study::{Prepared, Study};
pub use summary::summarise;
pub use world::{Items, World};

use crate::config::{Preset, Schema};
use anyhow::{Context, Result};

/// Name on the command line and in files.
pub const NAME: &str = "rec_sim";

/// What it is for.
pub const ABOUT: &str = "Recommend things to read to simulated users; the reward is minutes watched.";

/// The environments, with what is special about each.
pub const ENVS: &[(&str, &str)] = &[
    ("rec_sim/interest_evolution/features", "RecSim's own form: topics and interests as vectors."),
    ("rec_sim/interest_evolution/text", "Items as texts, interests as a vector (or, as a setting, the last steps)."),
];

/// The presets, the default first.
pub const PRESETS: &[Preset] = &[
    Preset { name: "quick", text: include_str!("../../presets/rec_sim/quick.toml") },
    Preset { name: "standard", text: include_str!("../../presets/rec_sim/standard.toml") },
    Preset { name: "full", text: include_str!("../../presets/rec_sim/full.toml") },
    Preset { name: "features", text: include_str!("../../presets/rec_sim/features.toml") },
];

/// Every setting there is.
///
/// # Errors
/// If the table that comes with the program is not valid, which a test excludes.
pub fn schema() -> Result<Schema> {
    Schema::parse(include_str!("../../presets/rec_sim/settings.toml")).context("presets/rec_sim/settings.toml")
}
