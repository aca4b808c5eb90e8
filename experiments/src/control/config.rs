//! Settings of `control` as the code uses them. Meaning, unit, range and source of each are in
//! `presets/control/settings.toml`, which `experiment describe control` prints.

use crate::arms::{self, Arm, TrainMode as Backbone, parse_all};
use crate::config::Layers;
use crate::deep::{ALGORITHMS, AgentSettings, settle_arms};
use crate::failure::bad_input;
use crate::study::{EvalPlan, Plan, ReportSettings, TrainPlan};
use crate::suggest::did_you_mean;
use anyhow::Result;
use retune_envs::control::ControlTask;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All settings, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlConfig {
    /// Root seed.
    pub seed: u64,
    /// Seeds per arm.
    pub seeds: u64,
    /// Spellings of the arms.
    pub arms: Vec<String>,
    /// Trials side by side; 0 is one per core.
    pub jobs: usize,
    /// Actor threads per trial; 0 is the sync runner.
    pub actors: usize,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// The task.
    pub env: EnvSettings,
    /// Budget, threads and checkpoints.
    pub train: TrainPlan,
    /// Measurement.
    pub eval: EvalSettings,
    /// Statistics.
    pub report: ReportSettings,
    /// Learning, for all arms alike.
    pub agent: toml::Table,
    /// Learning, where one arm differs: by spelling.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arm: BTreeMap<String, toml::Table>,
}

/// The task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvSettings {
    /// Its name.
    pub id: String,
}

/// Measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSettings {
    /// Episodes of the final evaluation.
    pub episodes: usize,
    /// Episodes per point of the learning curve.
    pub curve_episodes: usize,
    /// Points of the learning curve.
    pub curve_points: u64,
    /// Episodes side by side.
    pub num_envs: usize,
    /// Env steps after which an episode is cut.
    pub max_episode_steps: u64,
}

impl ControlConfig {
    /// The settings of all layers, checked for contradictions.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] naming the settings that contradict each other and where they came from.
    pub fn from_layers(layers: &Layers<'_>) -> Result<Self> {
        let mut config: Self = layers.typed()?;
        config.task().map_err(|_| unknown_task(&config.env.id, layers))?;
        let arms = config.parsed_arms()?;
        arms.iter().try_for_each(|arm| check_arm(arm, layers))?;
        let threads = (config.train.mode, config.actors);
        let parse = |spelling: &str| Arm::parse(spelling, ALGORITHMS, &[]);
        settle_arms(&arms, &config.agent, &mut config.arm, threads, parse, layers)?;
        Ok(config)
    }

    /// The task.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] if there is no such task.
    pub fn task(&self) -> Result<ControlTask> {
        let id = &self.env.id;
        ControlTask::from_name(id).ok_or_else(|| bad_input(format!("env.id = {id}: there is no such task")))
    }

    /// The arms.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] for an unknown arm or one named twice.
    pub fn parsed_arms(&self) -> Result<Vec<Arm>> {
        parse_all(&self.arms, ALGORITHMS, &[])
    }

    /// What all studies settle.
    #[must_use]
    pub fn plan(&self, arms: Vec<Arm>) -> Plan {
        let eval = &self.eval;
        Plan {
            seed: self.seed,
            seeds: self.seeds,
            arms,
            jobs: self.jobs,
            actors: self.actors,
            train: self.train,
            eval: EvalPlan {
                episodes: eval.episodes,
                curve_episodes: eval.curve_episodes,
                curve_points: eval.curve_points,
                num_envs: eval.num_envs,
            },
            replications: self.report.replications,
        }
    }

    /// Learning settings of one arm, typed.
    ///
    /// # Errors
    /// If they have another form, which the schema excludes.
    pub fn settings(&self, arm: &Arm) -> Result<AgentSettings> {
        AgentSettings::from_table(self.agent_table(arm))
    }

    /// Learning settings of one arm: those for all, then those for this one.
    #[must_use]
    pub fn agent_table(&self, arm: &Arm) -> toml::Table {
        arms::settings(arm, &self.agent, &self.arm)
    }
}

fn unknown_task(id: &str, layers: &Layers<'_>) -> anyhow::Error {
    let names = || ControlTask::ALL.into_iter().map(ControlTask::name);
    // People know the tasks by shorter names, too.
    let hint = did_you_mean(id, names());
    bad_input(format!(
        "{}: there is no such task; there are {}{hint}",
        layers.show("env.id"),
        names().collect::<Vec<_>>().join(", ")
    ))
}

/// A backbone is for texts, and these tasks have none.
fn check_arm(arm: &Arm, layers: &Layers<'_>) -> Result<()> {
    if arm.mode != Backbone::Frozen || arm.backbone.is_some() {
        return Err(bad_input(format!(
            "arm `{arm}`: {} shows no texts, so there is no backbone to train or to replace; write `{}`",
            layers.show("env.id"),
            arm.algorithm.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;
    use crate::control::Control;
    use crate::study::Experiment;

    fn config(preset: Option<&str>, pairs: &[&str]) -> Result<ControlConfig> {
        let set: Vec<String> = pairs.iter().map(|p| (*p).to_owned()).collect();
        let schema = Control.info().schema()?;
        let request = Request { preset, set: &set, ..Request::default() };
        ControlConfig::from_layers(&(&Control as &dyn Experiment).layers(&schema, &request)?.1)
    }

    #[test]
    fn every_preset_resolves_and_survives_the_manifest() {
        for preset in Control.info().presets {
            let config = config(Some(preset.name), &[]).unwrap_or_else(|e| panic!("{}: {e}", preset.name));
            assert!(!preset.about().is_empty());
            let json = serde_json::to_value(&config).expect("serialises");
            assert_eq!(crate::study::typed::<ControlConfig>(&json).expect("parses"), config);
            for arm in config.parsed_arms().expect("known") {
                config.settings(&arm).unwrap_or_else(|e| panic!("{}: {e}", preset.name));
            }
        }
    }

    #[test]
    fn the_tuned_settings_of_a_task_lie_below_whatever_runs_on_it() {
        let rate = |config: &ControlConfig, arm: &str| {
            config.agent_table(&Arm::parse(arm, ALGORITHMS, &[]).expect("known"))["learning_rate"].as_float()
        };
        let quick = config(None, &[]).expect("valid");
        assert_eq!(rate(&quick, "dqn"), Some(1e-3));
        let other = config(None, &["env.id=control/taxi", "arms=dqn,q_learning"]).expect("valid");
        assert_ne!(rate(&other, "dqn"), Some(1e-3));
        assert_eq!(other.train.env_steps, config(Some("taxi"), &[]).expect("valid").train.env_steps);
        // What a person says for all arms is later than what a preset says for one.
        let all = config(None, &["agent.learning_rate=0.5"]).expect("valid");
        assert_eq!(rate(&all, "dqn"), Some(0.5));
        let one = config(None, &["agent.learning_rate=0.5", "arm.dqn.learning_rate=0.25"]).expect("valid");
        assert_eq!((rate(&one, "dqn"), rate(&one, "c51")), (Some(0.25), Some(0.5)));
    }

    #[test]
    fn contradictions_are_named() {
        let message = |pairs: &[&str]| config(None, pairs).expect_err("contradiction").to_string();
        let text = message(&["env.id=control/cartpol"]);
        assert!(text.contains("env.id = \"control/cartpol\" (--set)") && text.contains("`control/cartpole`"), "{text}");
        assert!(message(&["arms=dqn:lora"]).contains("shows no texts"));
        assert!(message(&["arms=q_learning:lora"]).contains("trains no network"));
        assert!(message(&["arm.q_learning.buffer_size=9"]).contains("q_learning does not use agent.buffer_size"));
        assert!(message(&["arm.dqn.lamda=0.5"]).contains("did you mean `agent.lambda`?"));
        assert!(message(&["train.mode=free"]).contains("needs actor threads"));
        assert!(message(&["actors=2"]).contains("expected at most 1"));
        assert!(message(&["agent.shard_size=9", "agent.num_envs=2"]).contains("expected at most agent.num_envs = 2"));
        assert!(message(&["agent.hidden=64,0"]).contains("agent.hidden"));
    }
}
