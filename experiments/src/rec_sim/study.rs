//! A `rec_sim` study: everything its trials share, and how one trial is run.

use super::agents::build;
use super::config::{Form, RecSimConfig};
use super::measure::measure_reference;
use super::seeds::TrialSeeds;
use super::trial::{Training, TrialRecord};
use super::world::{Items, World, catalogue_bytes};
use crate::arms::Arm;
use crate::backbones::{self, Backbones};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::study::{TrialId, TrialOutcome, run_trials};
use anyhow::Result;
use candle_core::Device;
use retune::agent::Ledger;
use retune::rng::Seed;
use retune::track::{RunDir, RunLock, read_json, sha256_hex, write_json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What can be prepared without writing anything: settings that were understood, files that were read.
pub struct Prepared {
    /// The settings.
    pub config: RecSimConfig,
    /// The arms.
    pub arms: Vec<Arm>,
    /// Items and users.
    pub world: World,
    /// Text encoders; `None` in the feature form.
    pub backbones: Option<Backbones>,
    /// Where tensors live.
    pub device: Device,
    /// SHA-256 of what was read, by name.
    pub hashes: BTreeMap<String, String>,
}

impl Prepared {
    /// Reads backbone and catalogue and checks that every arm can be built.
    ///
    /// # Errors
    /// Whatever is wrong with what a person put in; nothing has been written then.
    pub fn new(config: RecSimConfig) -> Result<Self> {
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
        Ok(Self { config, arms, world, backbones, device, hashes })
    }
}

/// A study that writes.
pub struct Study {
    /// What it was prepared from.
    pub prepared: Prepared,
    /// Its folder.
    pub run: RunDir,
    /// Requests to stop.
    pub interrupt: Interrupt,
    _lock: RunLock,
}

impl Study {
    /// Takes hold of the folder.
    ///
    /// # Errors
    /// If another process is working in it.
    pub fn new(prepared: Prepared, run: RunDir, interrupt: Interrupt) -> Result<Self> {
        let lock = run.lock()?;
        Ok(Self { prepared, run, interrupt, _lock: lock })
    }

    /// Arms and the ends of the normalized scale, seeds and all.
    #[must_use]
    pub fn trials(&self) -> Vec<TrialId> {
        let mut arms = self.prepared.arms.clone();
        // Measured even if nobody asked: they cost a second and say what a score is worth.
        arms.extend(Arm::anchors().into_iter().filter(|arm| !self.prepared.arms.contains(arm)));
        TrialId::all(&arms, self.prepared.config.seeds)
    }

    /// Runs every trial that has no result yet, and returns the outcome of all.
    ///
    /// # Errors
    /// If no worker thread can be started.
    pub fn run(&self, progress: &Progress) -> Result<Vec<TrialOutcome<TrialRecord>>> {
        let jobs = self.prepared.config.workers();
        run_trials(&self.trials(), jobs, &self.interrupt.soft, |trial| {
            let path = self.result_path(trial)?;
            if path.is_file() {
                progress.skip();
                return read_json(&path);
            }
            let bar = progress.trial(&trial.to_string(), self.prepared.config.train.env_steps);
            let result = self.run_trial(trial, &bar).and_then(|record| keep(&path, record));
            progress.finish(&bar, &outcome_line(trial, &result));
            result
        })
    }

    fn run_trial(&self, trial: &TrialId, bar: &crate::progress::TrialProgress) -> retune::Result<TrialRecord> {
        if trial.arm.is_policy() {
            bar.say("measuring");
            return self.run_reference(trial);
        }
        let (agent, shared_tokens) = build(&self.prepared, trial, &self.interrupt.hard)?;
        let mut record = Training::begin(self, trial, agent)?.run(trial, bar)?;
        // The texts were read once for all trials; each would have had to read them by itself.
        let own = shared_tokens.min(record.ledger.cached_tokens);
        record.ledger.forward_tokens += own;
        record.ledger.cached_tokens -= own;
        Ok(record)
    }

    fn run_reference(&self, trial: &TrialId) -> retune::Result<TrialRecord> {
        let Prepared { config, world, .. } = &self.prepared;
        let users = TrialSeeds::new(config.seed, trial.seed).test_users(config.eval.users);
        let mut measurements = BTreeMap::new();
        for items in world.measurements() {
            let name = trial.arm.algorithm.name;
            measurements.insert(items, measure_reference(world, items, name, &users, &self.interrupt.hard)?);
        }
        Ok(TrialRecord {
            arm: trial.arm.to_string(),
            seed: trial.seed,
            curve: Vec::new(),
            measurements,
            ledger: Ledger::default(),
            trainable_parameters: 0,
        })
    }

    fn result_path(&self, trial: &TrialId) -> retune::Result<PathBuf> {
        Ok(self.run.trial(&trial.arm.folder(), trial.seed)?.join("result.json"))
    }

    /// Removes what an interrupted trial left before its first checkpoint.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn clear_trial(&self, trial: &TrialId) -> retune::Result<()> {
        let arm = trial.arm.folder();
        for folder in [self.run.trial(&arm, trial.seed)?, self.run.tensorboard(&arm, trial.seed)?] {
            match std::fs::remove_dir_all(&folder) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(retune::Error::io(&folder, e)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes the result of a finished trial; from then on the trial is never run again.
fn keep(path: &Path, record: TrialRecord) -> retune::Result<TrialRecord> {
    let folder = path.parent().expect("a result lies in the folder of its trial");
    std::fs::create_dir_all(folder).map_err(|e| retune::Error::io(folder, e))?;
    write_json(path, &record)?;
    Ok(record)
}

fn outcome_line(trial: &TrialId, result: &retune::Result<TrialRecord>) -> String {
    match result {
        Ok(record) => match record.measurements.get(&Items::Train) {
            Some(found) => format!("{trial}: {:.1} minutes watched", found.episode_return),
            None => format!("{trial}: done"),
        },
        Err(retune::Error::Interrupted) => format!("{trial}: interrupted"),
        Err(error) => format!("{trial}: failed: {error}"),
    }
}
