//! Agents for single decisions among candidates and for tables, by name and settings: what the experiments that train
//! them have in common. Which settings there are is in `presets/deep/`.

mod algorithms;
mod build;
mod settings;

pub use algorithms::{ALGORITHMS, ANSWERING, Family, PolicyAlgorithm};
pub use build::{build, build_block_table, build_table};
pub use settings::{AgentSettings, settle_arms};

use crate::config::Preset;

/// Every setting of these agents.
pub const SETTINGS: &str = include_str!("../../presets/deep/settings.toml");

/// What makes one agent differ from another; to lie below every preset.
pub const DEFAULTS: Preset = Preset { name: "agents", text: include_str!("../../presets/deep/agents.toml") };
