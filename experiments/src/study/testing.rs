//! A tiny experiment for the tests of this folder: a walk along a chain, measured by its return.

use super::{
    Collection, EvalPlan, Info, Measurement, Plan, Prepared, SplitInfo, Study, Task, TaskActor, TrainMode, TrainPlan,
    TrialId, measure_returns,
};
use crate::arms::{Algorithm, Arm};
use crate::progress::TrialProgress;
use retune::agent::{Snapshot, Stop};
use retune::env::TextId;
use retune::track::MetricInfo;
use retune::{Error, Result};
use retune_envs::probe::{CandidateTabular, Mdp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

static INFO: Info = Info {
    name: "walk",
    about: "A walk along a chain.",
    question: "Does it arrive?",
    envs: &[],
    presets: &[],
    next_preset: None,
    settings: &[],
    algorithms: &[Algorithm::rl("sarsa", "Learns.")],
    views: &[],
    anchors: &[],
    paired_by: &[],
};

/// A study of one arm, `sarsa`.
pub struct Walk {
    plan: Plan,
    hashes: BTreeMap<String, String>,
}

impl Walk {
    /// 1200 env steps, points of the curve after every quarter; `change` changes the plan.
    pub fn new(change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = Plan {
            seed: 0,
            seeds: 1,
            arms: vec![Arm::plain(INFO.algorithms[0])],
            jobs: 1,
            actors: 0,
            train: TrainPlan {
                env_steps: 1200,
                mode: TrainMode::Deterministic,
                max_lag: 1,
                log_env_steps: 0,
                checkpoint_secs: 1000.0,
                keep_checkpoints: 2,
                keep_best: true,
            },
            eval: EvalPlan { episodes: 6, curve_episodes: 3, curve_points: 4, num_envs: 4 },
            replications: 100,
        };
        change(&mut plan);
        Self { plan, hashes: BTreeMap::new() }
    }
}

impl Prepared for Walk {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn config(&self) -> &Value {
        &Value::Null
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn device(&self) -> String {
        "cpu".to_owned()
    }

    fn hashes(&self) -> &BTreeMap<String, String> {
        &self.hashes
    }

    fn metric(&self) -> MetricInfo {
        MetricInfo { name: "episode_return".to_owned(), unit: "points".to_owned(), higher_is_better: true }
    }

    fn unit(&self, _measure: &str) -> &'static str {
        ""
    }

    fn splits(&self) -> Vec<SplitInfo> {
        vec![SplitInfo { name: "train", measured_on: "other walks" }]
    }

    fn backbone(&self, _arm: &Arm) -> String {
        "none".to_owned()
    }

    fn run_trial(&self, _: &Study, trial: &TrialId, _: &TrialProgress) -> Result<super::TrialRecord> {
        Err(Error::State(format!("{trial} is run by the tests themselves")))
    }
}

/// Rounds of 80 env steps in three shards.
pub const COLLECTION: Collection = Collection { num_envs: 5, shard_size: 2, steps_per_round: 16 };

/// The chain.
pub struct ChainTask;

impl Task for ChainTask {
    type Env = CandidateTabular;

    fn env(&self) -> Result<CandidateTabular> {
        Ok(CandidateTabular::new(Mdp::chain(5)))
    }

    fn texts(&self, _split: &str) -> Result<Vec<TextId>> {
        Ok(Vec::new())
    }

    fn measure(
        &self,
        _split: &str,
        actor: &mut TaskActor<Self>,
        snapshot: &Arc<Snapshot>,
        episodes: &[u64],
        stop: &Stop,
    ) -> Result<Measurement> {
        measure_returns(|_| self.env(), actor, snapshot, episodes, 4, Some(200), stop)
    }
}
