//! Settings of `diag_query` as the code uses them. Meaning, unit, range and source of each are in
//! `presets/diag_query/settings.toml`, which `experiment describe diag_query` prints.

use super::ALGORITHMS;
use super::problems;
use crate::arms::{self, Arm, Kind, parse_all};
use crate::config::Layers;
use crate::deep::{AgentSettings, Family, settle_arms};
use crate::failure::bad_input;
use crate::study::{EvalPlan, Plan, ReportSettings, TrainPlan};
use crate::suggest::did_you_mean;
use anyhow::Result;
use retune::backbone::WeightForm;
use retune_envs::diag_query::env::{Initial, View};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All settings, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiagQuerySettings {
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
    /// The decision problem.
    pub env: EnvSettings,
    /// A person's own data.
    pub data: DataSettings,
    /// The attached model.
    pub model: ModelSettings,
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

/// Which shaping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShapingName {
    /// None.
    None,
    /// By the potential −H / H0.
    Potential,
    /// Yuan and Yu 2021.
    Aarlc,
}

/// The decision problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvSettings {
    /// Its name.
    pub problem: String,
    /// Variable to find out; empty is the default of the network.
    pub target: String,
    /// What agents see.
    pub view: View,
    /// Bins of the probability in the view `bins`.
    pub probability_bins: usize,
    /// Bins of the entropy in the view `bins`.
    pub entropy_bins: usize,
    /// λ.
    pub lambda: f64,
    /// `unit`, `clinical` or a file.
    pub costs: String,
    /// Most questions; 0 is the default of the problem.
    pub t_max: usize,
    /// Most cost; 0 is no limit.
    pub budget: f64,
    /// ρ.
    pub noise: f64,
    /// m.
    pub missing: f64,
    /// Whether the attached model knows ρ and m.
    pub noise_known: bool,
    /// What is known from the start.
    pub initial: Initial,
    /// Diagnoses that are never met in training.
    pub held_out: Vec<String>,
    /// Whether there is a candidate that declares the likeliest diagnosis of the attached model.
    pub stop: bool,
    /// `simple`, `severity` or a file.
    pub utility: String,
    /// κ of `severity`.
    pub kappa: f64,
    /// Rewards on top.
    pub shaping: ShapingName,
    /// γ of `potential`.
    pub shaping_gamma: f64,
    /// μ of `aarlc`.
    pub shaping_mu: f64,
    /// ν of `aarlc`.
    pub shaping_nu: f64,
    /// K of `aarlc` at the start.
    pub shaping_threshold: f64,
}

/// A person's own data; empty names are no files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// A network in BIF.
    pub network: String,
    /// Its findings; none is all but the target.
    pub findings: Vec<String>,
    /// A table, CSV or ARFF.
    pub cases: String,
    /// Its column with the diagnosis; empty is the last.
    pub diagnosis: String,
    /// Its columns that are no findings.
    pub skip: Vec<String>,
    /// Parts that a numeric column is cut into.
    pub bins: usize,
    /// Folds; a seed is measured on one of them.
    pub folds: usize,
    /// Dialogues to learn from.
    pub dialogues: String,
    /// Dialogues to be measured on; empty takes a fold of the others.
    pub test_dialogues: String,
    /// Rates of one's own.
    pub rates: String,
    /// Folder or files of the Human Phenotype Ontology.
    pub hpo: Vec<String>,
    /// Folder of DDXPlus.
    pub ddxplus: String,
    /// Most diseases that are taken from rates or the ontology; 0 is all.
    pub max_diseases: usize,
    /// Rate of pairs that rates or the ontology do not list.
    pub background: f64,
    /// Only diseases of the ontology whose id begins with this.
    pub prefix: String,
    /// Only diseases of the ontology with so many terms.
    pub min_terms: usize,
    /// Rate of rows of the ontology without a frequency; 0 leaves them out.
    pub without_frequency: f64,
    /// Whether diseases show a term at least as often as any kind of it.
    pub propagate: bool,
    /// Most patients that are read of each file of DDXPlus; 0 is all.
    pub max_patients: usize,
    /// Whether patients of DDXPlus are drawn from the rates of the recorded ones.
    pub draw_patients: bool,
    /// Cases that agents train on, where patients could be drawn without end; 0 is without end.
    pub train_cases: usize,
    /// Share of the training cases by which thresholds are chosen, where cases come from a file.
    pub validation_share: f64,
}

impl DataSettings {
    /// The settings that take the place of a named problem.
    pub const OWN: [&'static str; 6] =
        ["data.network", "data.cases", "data.dialogues", "data.rates", "data.hpo", "data.ddxplus"];

    /// The file or folder that takes the place of a named problem, and the option that names it.
    pub fn own(&self) -> Vec<(&'static str, String)> {
        let hpo = self.hpo.join(",");
        let files = [
            ("--network", &self.network),
            ("--cases", &self.cases),
            ("--dialogues", &self.dialogues),
            ("--rates", &self.rates),
            ("--hpo", &hpo),
            ("--ddxplus", &self.ddxplus),
        ];
        let named = files.into_iter().filter(|(_, file)| !file.is_empty());
        named.map(|(option, file)| (option, file.clone())).collect()
    }
}

/// What the attached model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// The one that patients come from; for tables and dialogues, naive Bayes fitted to the training cases.
    Best,
    /// Naive Bayes fitted to some cases.
    NaiveBayes,
    /// The structure of the true network, its tables fitted to some cases.
    Refitted,
}

/// The attached model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// What it is.
    pub kind: ModelKind,
    /// Cases it is fitted to.
    pub cases: usize,
}

/// Measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSettings {
    /// Cases of the final evaluation.
    pub episodes: usize,
    /// Cases by which stopping thresholds are chosen.
    pub validation_episodes: usize,
    /// Cases per point of the learning curve.
    pub curve_episodes: usize,
    /// Points of the learning curve.
    pub curve_points: u64,
    /// Cases side by side.
    pub num_envs: usize,
    /// Cases that the report tells question by question.
    pub stories: usize,
    /// Other names of findings and diagnoses to be measured with; empty is none.
    pub names: String,
}

impl DiagQuerySettings {
    /// The settings of all layers, checked for contradictions.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] naming the settings that contradict each other and where they came from.
    pub fn from_layers(layers: &Layers<'_>) -> Result<Self> {
        let mut config: Self = layers.typed()?;
        config.check_problem(layers)?;
        let arms = config.parsed_arms()?;
        for arm in arms.iter().filter(|arm| arm.algorithm.kind != Kind::Reference) {
            config.check_arm(arm, layers)?;
        }
        let threads = (config.train.mode, config.actors);
        let parse = |spelling: &str| Arm::parse(spelling, ALGORITHMS, super::VIEWS);
        settle_arms(&arms, &config.agent, &mut config.arm, threads, parse, layers)?;
        Ok(config)
    }

    fn check_problem(&self, layers: &Layers<'_>) -> Result<()> {
        let own = self.data.own();
        if let [(first, _), (second, _), ..] = &own[..] {
            return Err(bad_input(format!("{first} and {second}: expected one source of cases, not several")));
        }
        if self.data.cases.is_empty() && !self.data.diagnosis.is_empty() {
            return Err(bad_input(format!("{}: needs --cases", layers.show("data.diagnosis"))));
        }
        if !self.data.network.is_empty() && self.env.target.is_empty() {
            return Err(bad_input("--network: needs --target, the variable to find out"));
        }
        if own.is_empty() && !problems::NAMES.contains(&self.env.problem.as_str()) {
            let hint = did_you_mean(&self.env.problem, problems::NAMES.iter().copied());
            let (shown, all) = (layers.show("env.problem"), problems::NAMES.join(", "));
            return Err(bad_input(format!("{shown}: there is no such problem; there are {all}{hint}")));
        }
        Ok(())
    }

    fn check_arm(&self, arm: &Arm, layers: &Layers<'_>) -> Result<()> {
        let plain = arm.mode == arms::TrainMode::Frozen && arm.backbone.is_none();
        if self.view(arm) != View::Text && !plain {
            let view = arm.view.map_or_else(|| layers.show("env.view"), |view| format!("its view {view}"));
            return Err(bad_input(format!(
                "arm `{arm}`: {view} shows no texts, so there is no backbone to train or to replace; write \
                 `{}+text…` or leave mode and backbone out",
                arm.algorithm.name
            )));
        }
        if matches!(Family::of(&arm.algorithm), Family::Tabular(_)) && self.view(arm) != View::Bins {
            let name = arm.algorithm.name;
            return Err(bad_input(format!(
                "arm `{arm}`: learns tables and needs numbered states; write `{name}+bins`, the belief in bins"
            )));
        }
        Ok(())
    }

    /// What an arm is shown.
    #[must_use]
    pub fn view(&self, arm: &Arm) -> View {
        let named = |name: &str| View::ALL.iter().find(|(_, other)| *other == name).map(|(view, _)| *view);
        arm.view.and_then(named).unwrap_or(self.env.view)
    }

    /// The arms.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] for an unknown arm or one named twice.
    pub fn parsed_arms(&self) -> Result<Vec<Arm>> {
        parse_all(&self.arms, ALGORITHMS, super::VIEWS)
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
        AgentSettings::from_table(arms::settings(arm, &self.agent, &self.arm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;
    use crate::diag_query::DiagQueryStudies;
    use crate::study::Experiment;

    fn config(preset: Option<&str>, pairs: &[&str]) -> Result<DiagQuerySettings> {
        let set: Vec<String> = pairs.iter().map(|p| (*p).to_owned()).collect();
        let schema = DiagQueryStudies.info().schema()?;
        let request = Request { preset, set: &set, ..Request::default() };
        DiagQuerySettings::from_layers(&(&DiagQueryStudies as &dyn Experiment).layers(&schema, &request)?.1)
    }

    #[test]
    fn every_preset_resolves_and_survives_the_manifest() {
        for preset in DiagQueryStudies.info().presets {
            let config = config(Some(preset.name), &[]).unwrap_or_else(|e| panic!("{}: {e}", preset.name));
            assert!(!preset.about().is_empty());
            let json = serde_json::to_value(&config).expect("serialises");
            assert_eq!(crate::study::typed::<DiagQuerySettings>(&json).expect("parses"), config);
            for arm in config.parsed_arms().expect("known") {
                config.settings(&arm).unwrap_or_else(|e| panic!("{}: {e}", preset.name));
            }
        }
    }

    #[test]
    fn contradictions_are_named() {
        let message = |pairs: &[&str]| config(None, pairs).expect_err("contradiction").to_string();
        assert!(message(&["env.problem=chlid"]).contains("did you mean `child`?"));
        assert!(message(&["arms=ppo+txet"]).contains("did you mean `text`?"));
        assert!(message(&["arms=ppo:lora"]).contains("shows no texts"));
        assert!(message(&["env.lambda=-1"]).contains("env.lambda = -1"));
        assert!(message(&["data.network=a.bif"]).contains("--target"));
        assert!(message(&["data.network=a.bif", "data.cases=b.csv"]).contains("expected one source of cases"));
        assert!(message(&["arms=greedy_gain+belief"]).contains("has no view"));
        assert!(message(&["arms=q_learning"]).contains("write `q_learning+bins`"));
        assert!(message(&["data.rates=a.csv", "data.hpo=b"]).contains("--rates and --hpo: expected one source"));
        assert!(config(None, &["arms=q_learning+bins"]).is_ok());
        assert!(config(None, &["arms=ppo+belief,ppo+text:lora"]).is_ok());
    }
}
