//! A `rec_sim` study that is ready to run: what all its trials share, and how one of them is run.

use super::INFO;
use super::agents::build;
use super::config::{Form, RecSimConfig};
use super::measure::measure_reference;
use super::task::UserTask;
use super::world::{Items, World, catalogue_bytes};
use crate::arms::Arm;
use crate::backbones::{self, Backbones};
use crate::progress::TrialProgress;
use crate::study::{Info, Plan, Prepared, SplitInfo, Study, Training, TrialId, TrialRecord, TrialSeeds, typed};
use anyhow::Result;
use candle_core::Device;
use retune::agent::Stop;
use retune::rng::Seed;
use retune::track::{MetricInfo, sha256_hex};
use serde_json::Value;
use std::collections::BTreeMap;

/// Units of the measures beside the return; what has none is left out.
const UNITS: &[(&str, &str)] =
    &[("discounted_return", "minutes watched"), ("episode_length", "steps"), ("topics_consumed", "topics")];

/// Everything the trials of a study share.
pub struct RecSimStudy {
    json: Value,
    plan: Plan,
    hashes: BTreeMap<String, String>,
    /// The settings.
    pub config: RecSimConfig,
    /// Items and users.
    pub world: World,
    /// Text encoders; `None` in the feature form.
    pub backbones: Option<Backbones>,
    /// Where tensors live.
    pub device: Device,
}

impl RecSimStudy {
    /// Reads backbone and catalogue and checks that every arm can be built.
    ///
    /// # Errors
    /// Whatever is wrong with what a person put in; nothing has been written then.
    pub fn new(json: &Value) -> Result<Self> {
        let config: RecSimConfig = typed(json)?;
        let (arms, device) = (config.parsed_arms()?, crate::device::choose(&config.device)?);
        // Before the files: the cheapest mistakes are found first.
        super::agents::check(&config, &arms)?;
        let root = Seed::root(config.seed);
        let mut hashes = BTreeMap::new();
        let (world, backbones) = if config.env.form == Form::Features {
            (World::new(&config, &|_| unreachable!("the feature form has no texts to embed"))?, None)
        } else {
            let weights = backbones::load(&config.backbone, config.weights, root.child("backbone"))?;
            hashes.insert("backbone".to_owned(), weights.version().to_owned());
            hashes.insert("catalogue".to_owned(), sha256_hex(&catalogue_bytes(&config)?));
            let world = World::new(&config, &|texts| backbones::embed(&weights, texts, &device))?;
            let mut pool = world.pool(Items::Train)?;
            pool.extend(world.pool(Items::ColdStart)?);
            let backbones = Backbones::new(weights, &arms, world.texts(), pool, &device, root)?;
            (world, Some(backbones))
        };
        let plan = config.plan(arms);
        Ok(Self { json: json.clone(), plan, hashes, config, world, backbones, device })
    }

    fn run_reference(&self, trial: &TrialId, stop: &Stop) -> retune::Result<TrialRecord> {
        let users = TrialSeeds::new(self.plan.seed, trial.seed).test(self.plan.eval.episodes);
        let mut measurements = Vec::new();
        for items in self.world.measurements() {
            let name = trial.arm.algorithm.name;
            let found = measure_reference(&self.world, items, name, &users, stop)?;
            measurements.push((items.name().to_owned(), found));
        }
        Ok(TrialRecord::of_policy(trial, measurements))
    }
}

impl Prepared for RecSimStudy {
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
        MetricInfo { name: "episode_return".to_owned(), unit: "minutes watched".to_owned(), higher_is_better: true }
    }

    fn unit(&self, measure: &str) -> &'static str {
        UNITS.iter().find(|(name, _)| *name == measure).map_or("", |(_, unit)| unit)
    }

    fn splits(&self) -> Vec<SplitInfo> {
        self.world.measurements().into_iter().map(Items::split).collect()
    }

    fn backbone(&self, arm: &Arm) -> String {
        if !arm.algorithm.trains || self.config.env.form == Form::Features {
            return "none".to_owned();
        }
        arm.mode.name().to_owned()
    }

    fn warnings(&self) -> Vec<String> {
        self.world.warnings().to_vec()
    }

    fn run_trial(&self, study: &Study, trial: &TrialId, bar: &TrialProgress) -> retune::Result<TrialRecord> {
        let stop = &study.interrupt.hard;
        if trial.arm.is_policy() {
            bar.say("measuring");
            return self.run_reference(trial, stop);
        }
        let (agent, shared_tokens) = build(self, trial, stop)?;
        let task = UserTask { world: &self.world, batch: self.plan.eval.num_envs };
        let mut record = Training::begin(study, trial, task, agent, self.config.collection())?.run(trial, bar)?;
        // The texts were read once for all trials; each would have had to read them by itself.
        let own = shared_tokens.min(record.ledger.cached_tokens);
        record.ledger.forward_tokens += own;
        record.ledger.cached_tokens -= own;
        Ok(record)
    }
}
