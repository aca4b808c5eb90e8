//! Settings of `rec_sim` as the code uses them. Meaning, unit, range and source of each are in
//! `presets/rec_sim/settings.toml`, which `experiment describe rec_sim` prints.

use super::ALGORITHMS;
use crate::arms::{self, Arm, TrainMode, parse_all};
use crate::config::Layers;
use crate::failure::bad_input;
use crate::study::{Collection, EvalPlan, Plan, ReportSettings, TrainMode as Threads, TrainPlan, check_threads};
use anyhow::Result;
use retune::backbone::WeightForm;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All settings, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecSimConfig {
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
    /// `embedded`, `random` or a folder.
    pub backbone: String,
    /// How the weights of frozen encoders are kept in memory.
    pub weights: WeightForm,
    /// Whether trained encoders compute activations twice instead of keeping them.
    pub recompute: bool,
    /// The simulated users and what is shown.
    pub env: EnvSettings,
    /// The items.
    pub catalog: CatalogSettings,
    /// Budget and collection.
    pub train: TrainSettings,
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

/// What items are to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Their text.
    Text,
    /// Their topic as a vector.
    Features,
}

/// What the agent sees of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserView {
    /// The interest vector.
    Interests,
    /// The last steps.
    History,
}

/// The simulated users and what is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvSettings {
    /// What items are to the agent.
    pub form: Form,
    /// What the agent sees of the user.
    pub user: UserView,
    /// Items offered per step.
    pub num_candidates: usize,
    /// Items shown per step.
    pub slate_size: usize,
    /// Steps after which an episode is cut.
    pub time_limit: u64,
}

/// The items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogSettings {
    /// `embedded` or a CSV file.
    pub file: String,
    /// Columns of the text.
    pub text_columns: Vec<String>,
    /// Column of the topic, or empty.
    pub topic_column: String,
    /// Column of the quality, or empty.
    pub quality_column: String,
    /// Topics for k-means.
    pub num_topics: usize,
    /// Root of the catalogue's streams.
    pub seed: u64,
}

/// Budget and collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// Env steps per trained arm.
    pub env_steps: u64,
    /// Envs side by side.
    pub num_envs: usize,
    /// Envs one actor decides for at once.
    pub shard_size: usize,
    /// Steps of each env per round.
    pub steps_per_round: usize,
    /// Whether actor threads wait for the learner.
    #[serde(default)]
    pub mode: Threads,
    /// Rounds by which free-running actors may be behind.
    #[serde(default)]
    pub max_lag: u64,
    /// Seconds between checkpoints.
    pub checkpoint_secs: f64,
    /// Checkpoints kept.
    #[serde(default = "kept_before_there_was_a_setting")]
    pub keep_checkpoints: usize,
    /// Whether the best is kept as well.
    #[serde(default)]
    pub keep_best: bool,
}

/// Manifests of older studies do not say.
fn kept_before_there_was_a_setting() -> usize {
    2
}

/// Measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSettings {
    /// Users of the final evaluation.
    pub users: usize,
    /// Users per point of the learning curve.
    pub curve_users: usize,
    /// Points of the learning curve.
    pub curve_points: u64,
    /// Envs side by side.
    pub num_envs: usize,
}

impl RecSimConfig {
    /// The settings of all layers, checked for contradictions.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] naming the settings that contradict each other and where they came from.
    pub fn from_layers(layers: &Layers<'_>) -> Result<Self> {
        let config: Self = layers.typed()?;
        config.check_env(layers)?;
        config.check_train(layers)?;
        config.check_arms(layers)?;
        config.check_catalog(layers)?;
        Ok(config)
    }

    fn check_env(&self, layers: &Layers<'_>) -> Result<()> {
        if self.env.slate_size > self.env.num_candidates {
            return Err(bad_input(format!(
                "{}: more slots than {}: expected at most that",
                layers.show("env.slate_size"),
                layers.show("env.num_candidates")
            )));
        }
        Ok(())
    }

    fn check_train(&self, layers: &Layers<'_>) -> Result<()> {
        check_threads(self.train.mode, self.actors, self.collection().num_shards(), layers)
    }

    fn check_arms(&self, layers: &Layers<'_>) -> Result<()> {
        for arm in self.parsed_arms()? {
            let reads_texts = arm.mode != TrainMode::Frozen || arm.backbone.is_some();
            if self.env.form == Form::Features && reads_texts {
                return Err(bad_input(format!(
                    "arm `{arm}`: {} shows no texts, so there is no backbone to train or to replace; write `{}`",
                    layers.show("env.form"),
                    arm.algorithm.name
                )));
            }
            if self.weights == WeightForm::U8 && arm.mode != TrainMode::Frozen {
                return Err(bad_input(format!(
                    "arm `{arm}`: {} keeps encoders in 8 bits, which cannot be trained; leave it at f32, or write `{}`",
                    layers.show("weights"),
                    arm.algorithm.name
                )));
            }
        }
        for spelling in self.arm.keys() {
            Arm::parse(spelling, ALGORITHMS, &[])?;
        }
        Ok(())
    }

    fn check_catalog(&self, layers: &Layers<'_>) -> Result<()> {
        let own = self.catalog.file != "embedded";
        let columns = ["catalog.text_columns", "catalog.topic_column", "catalog.quality_column"];
        let given = [
            !self.catalog.text_columns.is_empty(),
            !self.catalog.topic_column.is_empty(),
            !self.catalog.quality_column.is_empty(),
        ];
        if !own && let Some((key, _)) = columns.iter().zip(given).find(|(_, given)| *given) {
            return Err(bad_input(format!(
                "{}: the embedded items have fixed columns; name your own file with --catalog FILE.csv",
                layers.show(key)
            )));
        }
        if own && !given[0] {
            return Err(bad_input(format!(
                "{}: name the columns that make up an item's text with --text-columns A,B",
                layers.show("catalog.file")
            )));
        }
        if own && self.env.form == Form::Features {
            return Err(bad_input(format!(
                "{}: not used with {}; use --set env.form=text",
                layers.show("catalog.file"),
                layers.show("env.form")
            )));
        }
        Ok(())
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
        Plan {
            seed: self.seed,
            seeds: self.seeds,
            arms,
            jobs: self.jobs,
            actors: self.actors,
            train: TrainPlan {
                env_steps: self.train.env_steps,
                mode: self.train.mode,
                max_lag: self.train.max_lag,
                // Rounds are long here.
                log_env_steps: 0,
                checkpoint_secs: self.train.checkpoint_secs,
                keep_checkpoints: self.train.keep_checkpoints,
                keep_best: self.train.keep_best,
            },
            eval: EvalPlan {
                episodes: self.eval.users,
                curve_episodes: self.eval.curve_users,
                curve_points: self.eval.curve_points,
                num_envs: self.eval.num_envs,
            },
            replications: self.report.replications,
        }
    }

    /// How every arm collects experience.
    #[must_use]
    pub fn collection(&self) -> Collection {
        let TrainSettings { num_envs, shard_size, steps_per_round, .. } = self.train;
        Collection { num_envs, shard_size, steps_per_round }
    }

    /// Learning settings of one arm: those for all, then those for this one.
    #[must_use]
    pub fn agent_table(&self, arm: &Arm) -> toml::Table {
        arms::settings(arm, &self.agent, &self.arm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;
    use crate::rec_sim::RecSim;
    use crate::study::Experiment;

    fn config(request: &Request<'_>) -> Result<RecSimConfig> {
        let schema = RecSim.info().schema()?;
        RecSimConfig::from_layers(&(&RecSim as &dyn Experiment).layers(&schema, request)?.1)
    }

    fn with(pairs: &[&str]) -> Result<RecSimConfig> {
        let set: Vec<String> = pairs.iter().map(|p| (*p).to_owned()).collect();
        config(&Request { set: &set, ..Request::default() })
    }

    #[test]
    fn every_preset_resolves() {
        for preset in RecSim.info().presets {
            let request = Request { preset: Some(preset.name), ..Request::default() };
            config(&request).unwrap_or_else(|e| panic!("{}: {e}", preset.name));
            assert!(!preset.about().is_empty());
        }
    }

    #[test]
    fn later_layers_win_and_arms_can_differ() {
        let config = with(&["train.env_steps=5", "agent.hidden=7", "arm.sarsa.hidden=9"]).expect("valid");
        assert_eq!(config.train.env_steps, 5);
        let hidden =
            |arm: &str| config.agent_table(&Arm::parse(arm, ALGORITHMS, &[]).expect("known"))["hidden"].as_integer();
        assert_eq!((hidden("q_learning"), hidden("sarsa"), hidden("sarsa:lora")), (Some(7), Some(9), Some(9)));
    }

    #[test]
    fn contradictions_are_named() {
        let message = |pairs: &[&str]| with(pairs).expect_err("contradiction").to_string();
        let text = message(&["env.slate_size=12"]);
        assert!(text.starts_with("env.slate_size = 12 (--set): more slots than env.num_candidates = 10"), "{text}");
        assert!(message(&["env.form=features", "arms=q_learning:lora"]).contains("shows no texts"));
        assert!(message(&["actors=5", "train.num_envs=8", "train.shard_size=2"]).contains("expected at most 4"));
        assert!(message(&["catalog.topic_column=t"]).contains("--catalog"));
        assert!(message(&["catalog.file=x.csv"]).contains("--text-columns"));
        assert!(message(&["arm.sarsaa.hidden=9"]).contains("did you mean `sarsa`?"));
        assert!(message(&["arm.sarsa.hiden=9"]).contains("agent.hidden"));
        assert!(message(&["seeds=0"]).contains("expected a whole number from 1 to 1000 (seeds)"));
    }

    #[test]
    fn settings_survive_the_manifest() {
        let config = with(&["arm.sarsa.learning_rate=1e-3"]).expect("valid");
        let json = serde_json::to_string(&config).expect("serialises");
        assert_eq!(serde_json::from_str::<RecSimConfig>(&json).expect("parses"), config);
    }
}
