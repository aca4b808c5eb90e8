//! The experiment `control`: the classic control tasks, to see how well an agent learns at all.

mod config;
mod prepared;
mod task;
mod verdict;
mod words;

use crate::config::{Layers, Preset};
use crate::deep;
use crate::failure::bad_input;
use crate::study::{Experiment, Info, Prepared, typed};
use anyhow::Result;
use config::ControlConfig;
use prepared::ControlStudy;
use retune::env::check::{CheckConfig, CheckReport};
use retune::track::Anchor;
use retune_envs::control::ControlTask;
use serde_json::Value;

/// Env steps by which the speed of a task is measured: a fraction of a second at ten million a second.
const SPEED_STEPS: u64 = 2_000_000;

static INFO: Info = Info {
    name: "control",
    about: "Learn classic control tasks; the score is the mean return of unseen episodes.",
    question: "How well does each agent learn this task within the budget?",
    envs: &[
        ("control/cartpole", "CartPole-v1: keep a pole upright on a cart."),
        ("control/acrobot", "Acrobot-v1: swing the tip of two linked rods above a line."),
        ("control/mountain_car", "MountainCar-v0: rock a weak car out of a valley."),
        ("control/frozen_lake/4x4", "FrozenLake-v1: cross slippery ice."),
        ("control/frozen_lake/4x4/not_slippery", "FrozenLake-v1 with is_slippery=False."),
        ("control/frozen_lake/8x8", "FrozenLake8x8-v1: cross more slippery ice."),
        ("control/frozen_lake/8x8/not_slippery", "FrozenLake8x8-v1 with is_slippery=False."),
        ("control/cliff_walking", "CliffWalking-v1: walk along a cliff."),
        ("control/cliff_walking/slippery", "CliffWalkingSlippery-v1: walk along a cliff in the wet."),
        ("control/taxi", "Taxi-v3: fetch a passenger and bring them to their destination."),
    ],
    presets: &[
        Preset { name: "quick", text: include_str!("../../presets/control/quick.toml") },
        Preset { name: "cartpole", text: include_str!("../../presets/control/cartpole.toml") },
        Preset { name: "acrobot", text: include_str!("../../presets/control/acrobot.toml") },
        Preset { name: "mountain_car", text: include_str!("../../presets/control/mountain_car.toml") },
        Preset { name: "frozen_lake", text: include_str!("../../presets/control/frozen_lake.toml") },
        Preset { name: "cliff_walking", text: include_str!("../../presets/control/cliff_walking.toml") },
        Preset { name: "taxi", text: include_str!("../../presets/control/taxi.toml") },
    ],
    next_preset: Some("cartpole"),
    settings: &[include_str!("../../presets/control/settings.toml"), deep::SETTINGS],
    algorithms: deep::ALGORITHMS,
    views: &[],
    anchors: &[("random", Anchor::Zero)],
    paired_by: &["seed", "env", "eval.episodes"],
};

/// The experiment.
pub struct Control;

impl Experiment for Control {
    fn info(&self) -> &'static Info {
        &INFO
    }

    /// The defaults of every agent, then what is tuned for the task.
    fn base(&self, layers: &Layers<'_>) -> Vec<Preset> {
        let id = layers.value("env.id").and_then(toml::Value::as_str).unwrap_or_default();
        let tuned = INFO.presets.iter().find(|preset| task_of(preset) == Some(id));
        [deep::DEFAULTS].into_iter().chain(tuned.copied()).collect()
    }

    fn checked(&self, layers: &Layers<'_>) -> Result<Value> {
        Ok(serde_json::to_value(ControlConfig::from_layers(layers)?)?)
    }

    fn prepare(&self, config: &Value) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(ControlStudy::new(config)?))
    }

    fn method(&self, config: &Value) -> Result<Vec<String>> {
        Ok(words::method(&typed(config)?))
    }

    fn check_env(&self, name: &str) -> Result<CheckReport> {
        let task = ControlTask::from_name(name).ok_or_else(|| bad_input(format!("there is no task {name}")))?;
        Ok(task.check(&CheckConfig { speed_steps: SPEED_STEPS, ..CheckConfig::default() })?)
    }
}

/// The task that a preset is tuned for.
fn task_of(preset: &Preset) -> Option<&'static str> {
    let id = |line: &'static str| line.strip_prefix("id = \"")?.strip_suffix('"');
    preset.text.lines().find_map(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_are_those_of_the_crate() {
        let known = ControlTask::ALL.map(|task| (task.name(), task.about()));
        assert_eq!(INFO.envs, known);
    }

    #[test]
    fn every_task_preset_is_below_whatever_runs_on_its_task() {
        for preset in &INFO.presets[1..] {
            let id = task_of(preset).unwrap_or_else(|| panic!("{} names no task", preset.name));
            assert!(ControlTask::from_name(id).is_some(), "{}: {id}", preset.name);
        }
    }
}
