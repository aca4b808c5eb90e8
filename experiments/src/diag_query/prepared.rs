//! A `diag_query` study that is ready to run, and how one of its trials is run.

use super::INFO;
use super::config::DiagQuerySettings;
use super::decisions::Shared;
use super::exact::Exact;
use super::limits;
use super::references::{self, Ground, Sizes};
use super::task::QueryTask;
use super::verdict;
use super::world::{Patients, World};
use crate::arms::Arm;
use crate::backbones::{self, Backbones};
use crate::deep::{AgentSettings, Family, build, build_block_table};
use crate::progress::TrialProgress;
use crate::study::{Info, Plan, Prepared, SplitInfo, Study, Training, TrialId, TrialRecord, TrialSeeds, typed};
use anyhow::Result;
use candle_core::Device;
use retune::agent::{Agent, Stop};
use retune::backbone::{BackboneOptions, Weights};
use retune::env::{CandidateObs, Env, ObsSpec, Slate};
use retune::rng::Seed;
use retune::stats::Bootstrap;
use retune::track::{MetricInfo, Reference, Summary};
use retune_agents::{LearningConfig, Setup, TextModel};
use retune_envs::diag_query::env::View;
use retune_envs::diag_query::problem::Problem;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The only measurement.
pub const SPLIT: SplitInfo = SplitInfo { name: "test", measured_on: "patients never met in training" };

/// The test patients, findings and diagnoses under other names.
pub const RENAMED: SplitInfo = SplitInfo { name: "renamed", measured_on: "the same patients, in other words" };

/// Patients with diagnoses that are held out of training.
pub const HELD_OUT: SplitInfo =
    SplitInfo { name: "held_out", measured_on: "patients with diagnoses never met in training" };

/// Units of the measures beside the return; what has none is left out.
const UNITS: &[(&str, &str)] = &[
    ("queries", "questions"),
    ("cost", "cost units"),
    ("log_loss", "nats"),
    ("accuracy", "share of cases"),
    ("top_3_accuracy", "share of cases"),
    ("exact_return", "utility, expected over all patients"),
    ("expected_return", "utility, expected over diagnoses given the answers"),
    ("exact_accuracy", "share of all patients"),
    ("way_to_optimum", "share of the way from declaring at once"),
];

/// An agent that asks and declares.
type QueryAgent = dyn Agent<CandidateObs, Slate>;

/// Everything the trials of a study share.
pub struct DiagQueryStudy {
    json: Value,
    plan: Plan,
    hashes: BTreeMap<String, String>,
    config: DiagQuerySettings,
    world: World,
    /// Where expectations can be taken.
    exact: Option<Exact>,
    /// What planners have decided before.
    decisions: Shared,
    /// The text encoder, where an arm reads.
    weights: Option<Weights>,
    device: Device,
}

impl DiagQueryStudy {
    /// Reads problem and backbone and checks that every arm can be built.
    ///
    /// # Errors
    /// Whatever is wrong with what a person put in; nothing has been written then.
    pub fn new(json: &Value) -> Result<Self> {
        let config: DiagQuerySettings = typed(json)?;
        let (arms, device) = (config.parsed_arms()?, crate::device::choose(&config.device)?);
        let world = World::new(&config)?;
        let mut hashes = world.hashes.0.clone();
        let root = Seed::root(config.seed);
        let reads = arms.iter().any(|arm| arm.algorithm.trains && config.view(arm) == View::Text);
        let weights =
            reads.then(|| backbones::load(&config.backbone, config.weights, root.child("backbone"))).transpose()?;
        if let Some(weights) = &weights {
            hashes.insert("backbone".to_owned(), weights.version().to_owned());
        }
        let (plan, json) = (config.plan(arms), json.clone());
        let mut study =
            Self { json, plan, hashes, config, world, exact: None, decisions: Shared::default(), weights, device };
        let patients = study.world.patients(0)?;
        study.world.check_names(&patients.test)?;
        limits::check_problem(&patients.test, &study.config, study.world.t_max())?;
        // A planner's environment first: it finds what is wrong with the problem even if no arm learns.
        study.world.planning(&patients.test, false)?;
        study.exact = Exact::of(&study.world, &patients)?;
        for arm in study.plan.arms.iter().filter(|arm| !arm.is_policy()) {
            study.check_arm(arm, &patients)?;
        }
        Ok(study)
    }

    /// That an arm fits into memory and can be built.
    fn check_arm(&self, arm: &Arm, patients: &Patients) -> Result<()> {
        let env = self.world.training(patients, self.config.view(arm))?;
        let held = self.settings(arm)?.observations_held(Family::of(&arm.algorithm), self.plan.train.env_steps);
        limits::check_arm(arm, env.spec(), held)?;
        if let Some(weights) = self.weights.as_ref().filter(|_| self.config.view(arm) == View::Text) {
            backbones::check_lengths(weights, &env.spec().texts, &self.device)?;
        }
        self.build(&TrialId { arm: *arm, seed: 0 }, patients, &Stop::new())?;
        Ok(())
    }

    fn build(&self, trial: &TrialId, patients: &Patients, stop: &Stop) -> retune::Result<Box<QueryAgent>> {
        let (arm, settings) = (&trial.arm, self.settings(&trial.arm)?);
        let env = self.world.training(patients, self.config.view(arm))?;
        // Only the budget is used, but all of it is checked where there are texts.
        let (env_steps, plain) = (self.plan.train.env_steps, LearningConfig::default());
        let learning_starts = plain.learning_starts.min(env_steps.saturating_sub(1));
        let learning = LearningConfig { env_steps, learning_starts, ..plain };
        let text = self.text(trial, &env, stop)?;
        let seed = TrialSeeds::new(self.plan.seed, trial.seed).agent();
        let setup = Setup { learning: &learning, spec: env.spec(), text: text.as_ref(), device: &self.device, seed };
        match (Family::of(&arm.algorithm), env.blocks()) {
            (Family::Tabular(algorithm), Some(blocks)) => {
                build_block_table((arm, algorithm), &settings, &blocks, &setup)
            }
            _ => build(arm, &settings, &setup),
        }
    }

    /// The encoder of an arm that reads.
    fn text(&self, trial: &TrialId, env: &impl Env, stop: &Stop) -> retune::Result<Option<TextModel>> {
        let (Some(weights), ObsSpec::Candidates(spec)) = (&self.weights, &env.spec().obs) else { return Ok(None) };
        if !spec.has_text {
            return Ok(None);
        }
        let root = Seed::root(self.plan.seed);
        let texts = &env.spec().texts;
        let all = Backbones::new(weights.clone(), &[trial.arm], texts, spec.pool.clone(), &self.device, root)
            .map_err(|e| retune::Error::State(e.to_string()))?;
        let encoder = all.encoder(&trial.arm, trial.seed, stop)?;
        Ok(Some(TextModel {
            options: BackboneOptions { ..backbones::options(&encoder.weights, trial.arm.mode.of_backbone()) },
            weights: encoder.weights,
            cache: encoder.cache,
            stop: stop.clone(),
        }))
    }

    fn settings(&self, arm: &Arm) -> retune::Result<AgentSettings> {
        self.config.settings(arm).map_err(|e| retune::Error::State(format!("arm {arm}: {e}")))
    }
}

impl Prepared for DiagQueryStudy {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn config(&self) -> &Value {
        &self.json
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn device(&self) -> String {
        crate::device::name(&self.device)
    }

    fn hashes(&self) -> &BTreeMap<String, String> {
        &self.hashes
    }

    fn metric(&self) -> MetricInfo {
        MetricInfo { name: "episode_return".to_owned(), unit: "utility".to_owned(), higher_is_better: true }
    }

    fn unit(&self, measure: &str) -> &'static str {
        UNITS.iter().find(|(name, _)| *name == measure).map_or("", |(_, unit)| unit)
    }

    fn splits(&self) -> Vec<SplitInfo> {
        let renamed = (!self.config.eval.names.is_empty()).then_some(RENAMED);
        let held_out = (!self.config.env.held_out.is_empty()).then_some(HELD_OUT);
        std::iter::once(SPLIT).chain(renamed).chain(held_out).collect()
    }

    fn backbone(&self, arm: &Arm) -> String {
        let view = self.config.view(arm);
        if arm.is_policy() {
            return "none".to_owned();
        }
        match view {
            View::Text => arm.mode.name().to_owned(),
            view if view.uses_model() => "none (oracle features)".to_owned(),
            _ => "none".to_owned(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = vec![super::NOTICE.to_owned()];
        let oracles: Vec<String> = self
            .plan
            .arms
            .iter()
            .filter(|arm| !arm.is_policy() && self.config.view(arm).uses_model())
            .map(ToString::to_string)
            .collect();
        if !oracles.is_empty() {
            let names = oracles.join(", ");
            warnings.push(format!("Oracle features: {names} see what the attached model believes; the others do not."));
        }
        warnings
    }

    fn fixed_references(&self) -> Vec<Reference> {
        self.exact.as_ref().map(Exact::references).unwrap_or_default()
    }

    fn conclude(&self, summary: &mut Summary, bootstrap: &Bootstrap) -> Result<()> {
        verdict::conclude(summary, bootstrap)
    }

    fn run_trial(&self, study: &Study, trial: &TrialId, bar: &TrialProgress) -> retune::Result<TrialRecord> {
        let (seeds, stop) = (TrialSeeds::new(self.plan.seed, trial.seed), &study.interrupt.hard);
        let patients = self.world.patients(trial.seed).map_err(|e| retune::Error::State(e.to_string()))?;
        let (eval, plan) = (&self.config.eval, &self.plan.eval);
        if trial.arm.is_policy() {
            bar.say("measuring");
            let sizes = Sizes { test: plan.episodes, validation: eval.validation_episodes, stories: eval.stories };
            let name = trial.arm.algorithm.name;
            let measure = |problem: &Arc<Problem>| {
                let exact = self.exact.as_ref().filter(|_| Arc::ptr_eq(problem, &patients.test));
                let ground =
                    Ground { world: &self.world, patients: &patients, problem, exact, decisions: &self.decisions };
                references::measure(ground, name, &seeds, sizes, stop)
            };
            let mut found = vec![(SPLIT.name.to_owned(), measure(&patients.test)?)];
            if let Some(problem) = &patients.held_out {
                found.push((HELD_OUT.name.to_owned(), measure(problem)?));
            }
            // Planners do not read.
            if self.splits().contains(&RENAMED) {
                found.push((RENAMED.name.to_owned(), found[0].1.clone()));
            }
            return Ok(TrialRecord::of_policy(trial, found));
        }
        let agent = self.build(trial, &patients, stop)?;
        let task = QueryTask {
            world: &self.world,
            patients: &patients,
            exact: self.exact.as_ref(),
            view: self.config.view(&trial.arm),
            seeds,
            batch: plan.num_envs,
            validation: eval.validation_episodes,
            stories: eval.stories,
        };
        let collection = self.settings(&trial.arm)?.collection();
        Training::begin(study, trial, task, agent, collection)?.run(trial, bar)
    }
}
