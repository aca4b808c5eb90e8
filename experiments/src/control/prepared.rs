//! A `control` study that is ready to run, and how one of its trials is run.

use super::INFO;
use super::config::ControlConfig;
use super::task::{CandidateTask, Played, TableTask};
use super::verdict;
use crate::arms::Arm;
use crate::deep::{AgentSettings, build, build_table};
use crate::progress::TrialProgress;
use crate::study::{Info, Plan, Prepared, SplitInfo, Study, Task, Training, TrialId, TrialRecord, TrialSeeds, typed};
use anyhow::Result;
use candle_core::Device;
use retune::agent::Agent;
use retune::env::{CandidateObs, Env, EnvSpec, Slate};
use retune::rng::Seed;
use retune::stats::Bootstrap;
use retune::track::{Anchor, MetricInfo, Reference, Summary};
use retune_agents::tabular::TabularAgent;
use retune_agents::{LearningConfig, Setup};
use serde_json::Value;
use std::collections::BTreeMap;

/// The only measurement.
const SPLIT: SplitInfo = SplitInfo { name: "test", measured_on: "episodes never met in training" };

/// An agent in the form that its environment needs.
enum Built {
    /// Sees candidates.
    Candidates(Box<dyn Agent<CandidateObs, Slate>>),
    /// Sees numbers of states.
    Table(Box<TabularAgent>),
}

/// Everything the trials of a study share.
pub struct ControlStudy {
    json: Value,
    plan: Plan,
    hashes: BTreeMap<String, String>,
    config: ControlConfig,
    played: Played,
    /// With actions as candidates.
    spec: EnvSpec,
    /// With numbered states; `None` where there are too many.
    table: Option<EnvSpec>,
    device: Device,
}

impl ControlStudy {
    /// Checks that every arm can be built.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] for whatever is wrong with what a person put in.
    pub fn new(json: &Value) -> Result<Self> {
        let config: ControlConfig = typed(json)?;
        let (arms, device, task) = (config.parsed_arms()?, crate::device::choose(&config.device)?, config.task()?);
        let (spec, table) = (task.candidates()?.spec().clone(), task.finite().map(|env| env.spec().clone()));
        let played = Played { task, batch: config.eval.num_envs, max_steps: config.eval.max_episode_steps };
        let plan = config.plan(arms);
        let study = Self { json: json.clone(), plan, hashes: BTreeMap::new(), config, played, spec, table, device };
        for arm in &study.plan.arms {
            study.build(arm, Seed::root(study.plan.seed))?;
        }
        Ok(study)
    }

    fn build(&self, arm: &Arm, seed: Seed) -> retune::Result<Built> {
        let settings = self.settings(arm)?;
        let env_steps = self.plan.train.env_steps;
        if let Some(agent) = build_table(arm, &settings, self.table.as_ref(), env_steps, seed)? {
            return Ok(Built::Table(Box::new(agent)));
        }
        let learning = LearningConfig { env_steps, ..LearningConfig::default() };
        let setup = Setup { learning: &learning, spec: &self.spec, text: None, device: &self.device, seed };
        Ok(Built::Candidates(build(arm, &settings, &setup)?))
    }

    fn settings(&self, arm: &Arm) -> retune::Result<AgentSettings> {
        self.config.settings(arm).map_err(|e| retune::Error::State(format!("arm {arm}: {e}")))
    }
}

impl Prepared for ControlStudy {
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
        let unit = self.spec.reward_unit.to_owned();
        MetricInfo { name: "episode_return".to_owned(), unit, higher_is_better: true }
    }

    fn unit(&self, measure: &str) -> &'static str {
        if measure == "episode_length" { "steps" } else { self.spec.reward_unit }
    }

    fn splits(&self) -> Vec<SplitInfo> {
        vec![SPLIT]
    }

    fn backbone(&self, _arm: &Arm) -> String {
        "none".to_owned()
    }

    fn fixed_references(&self) -> Vec<Reference> {
        let solved = |score| Reference {
            name: "solved".to_owned(),
            score,
            description: "The mean return from which Gymnasium calls the task solved.".to_owned(),
            anchor: Some(Anchor::One),
        };
        let task = self.played.task;
        let optimal = |(limit, score): (u64, f64)| Reference {
            name: "optimal".to_owned(),
            score,
            description: format!(
                "Exact mean return of the best policy within {limit} steps, from the table of the task."
            ),
            anchor: task.solved_at().is_none().then_some(Anchor::One),
        };
        let best = task.finite().map(|env| {
            let limit = env.mdp().time_limit().unwrap_or(self.played.max_steps);
            (limit, env.mdp().best_return_within(limit))
        });
        task.solved_at().map(solved).into_iter().chain(best.map(optimal)).collect()
    }

    fn conclude(&self, summary: &mut Summary, bootstrap: &Bootstrap) -> Result<()> {
        verdict::conclude(summary, self.played.task, bootstrap)
    }

    fn run_trial(&self, study: &Study, trial: &TrialId, bar: &TrialProgress) -> retune::Result<TrialRecord> {
        let seeds = TrialSeeds::new(self.plan.seed, trial.seed);
        let built = self.build(&trial.arm, seeds.agent())?;
        let collection = self.settings(&trial.arm)?.collection();
        match built {
            Built::Candidates(mut agent) if trial.arm.is_policy() => {
                bar.say("measuring");
                let (task, episodes) = (CandidateTask(self.played), seeds.test(self.plan.eval.episodes));
                let snapshot = agent.learner().snapshot(&[])?;
                let mut actor = agent.make_actor()?;
                let found = task.measure(SPLIT.name, actor.as_mut(), &snapshot, &episodes, &study.interrupt.hard)?;
                Ok(TrialRecord::of_policy(trial, [(SPLIT.name.to_owned(), found)]))
            }
            Built::Candidates(agent) => {
                Training::begin(study, trial, CandidateTask(self.played), agent, collection)?.run(trial, bar)
            }
            Built::Table(agent) => {
                Training::begin(study, trial, TableTask(self.played), agent, collection)?.run(trial, bar)
            }
        }
    }
}
