//! One trial: train an agent on a budget, watch it learn, measure what it learnt.

use super::measure::{Measurement, measure_agent};
use super::seeds::TrialSeeds;
use super::study::Study;
use super::world::{Items, StudyEnv};
use crate::progress::TrialProgress;
use crate::study::TrialId;
use retune::agent::{Actor, Agent, Ledger, Metrics};
use retune::env::{CandidateObs, Slate};
use retune::persist::{CheckpointDir, StateDict};
use retune::rollout::{EpisodeRecord, Runner, RunnerConfig};
use retune::track::{LogPosition, MetricRecord, Phase, TrialLog};
use retune::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a checkpoint of a trial is called inside.
const CHECKPOINT_KIND: &str = "rec_sim trial";

/// Checkpoints kept: one more than needed, in case the newest is damaged.
const KEPT: usize = 2;

/// An agent for candidate sets.
pub type SlateAgent = dyn Agent<CandidateObs, Slate>;

/// What is kept of a finished trial, `trials/<arm>/<seed>/result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// Spelling of the arm.
    pub arm: String,
    /// Number of the seed.
    pub seed: u64,
    /// The learning curve.
    pub curve: Vec<CurvePoint>,
    /// The final evaluation, by what was offered.
    pub measurements: BTreeMap<Items, Measurement>,
    /// What was spent.
    pub ledger: Ledger,
    /// Numbers that were trained.
    pub trainable_parameters: usize,
}

/// One point of a learning curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// Env steps of training so far.
    pub env_steps: u64,
    /// Mean return over the users of the curve.
    pub episode_return: f64,
}

/// Where a trial is, apart from the states of agent and runner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    env_steps: u64,
    /// Seconds of training, over all runs of the process.
    train_secs: f64,
    /// Seconds of the trial, evaluation and pauses between runs not counted as pauses.
    wall_secs: f64,
    /// Seconds since 1970 when it began.
    began: f64,
    curve: Vec<CurvePoint>,
    log: LogPosition,
}

/// A trial that is being trained.
pub struct Training<'a> {
    study: &'a Study,
    seeds: TrialSeeds,
    agent: Box<SlateAgent>,
    /// Measures; never collects.
    judge: Box<dyn Actor<CandidateObs, Slate>>,
    runner: Runner<StudyEnv>,
    log: TrialLog,
    at: Position,
    checkpoints: CheckpointDir,
    written: Instant,
    resumed: Instant,
}

impl<'a> Training<'a> {
    /// Begins a trial, or goes on from its checkpoint if it has one.
    ///
    /// # Errors
    /// If a part cannot be built, or the checkpoint does not belong to it.
    pub fn begin(study: &'a Study, trial: &TrialId, mut agent: Box<SlateAgent>) -> Result<Self> {
        let config = &study.prepared.config;
        let seeds = TrialSeeds::new(config.seed, trial.seed);
        let runner_config = RunnerConfig {
            num_envs: config.train.num_envs,
            shard_size: config.train.shard_size,
            steps_per_round: config.train.steps_per_round,
            actors: config.actors,
        };
        let env = |_| study.prepared.world.env(Items::Train);
        let stop = &study.interrupt.hard;
        let mut runner = Runner::new(env, || agent.make_actor(), &runner_config, seeds.train(), stop)?;
        let arm = trial.arm.folder();
        let folder = study.run.checkpoint(&arm, trial.seed)?;
        let (log, at) = if let Some(found) = CheckpointDir::open(&folder, CHECKPOINT_KIND, KEPT)?.load_latest()? {
            for damaged in &found.damaged {
                tracing::warn!("{trial}: going on from an earlier checkpoint: {}", damaged.message);
            }
            runner.load(&found.state, "runner/")?;
            agent.learner().load(&found.state, "agent/")?;
            let at: Position = found.state.get("trial")?;
            (TrialLog::resume(&study.run, &arm, trial.seed, at.began, at.log)?, at)
        } else {
            study.clear_trial(trial)?;
            let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
            (TrialLog::create(&study.run, &arm, trial.seed, began)?, Position { began, ..Position::default() })
        };
        let checkpoints = CheckpointDir::open(&folder, CHECKPOINT_KIND, KEPT)?;
        let judge = agent.make_actor()?;
        let now = Instant::now();
        Ok(Self { study, seeds, agent, judge, runner, log, at, checkpoints, written: now, resumed: now })
    }

    /// Trains to the end of the budget and measures.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after a request to stop, with a checkpoint to go on from; whatever else stops a trial.
    pub fn run(mut self, trial: &TrialId, bar: &TrialProgress) -> Result<TrialRecord> {
        bar.begin_at(self.at.env_steps);
        if self.at.curve.is_empty() {
            self.add_to_curve(bar)?;
        }
        while self.at.env_steps < self.study.prepared.config.train.env_steps {
            if self.study.interrupt.soft.is_requested() {
                self.write_checkpoint()?;
                return Err(Error::Interrupted);
            }
            self.round(bar)?;
            if self.written.elapsed() >= Duration::from_secs_f64(self.study.prepared.config.train.checkpoint_secs) {
                self.write_checkpoint()?;
            }
        }
        // So that an interruption of the final evaluation costs that alone.
        self.write_checkpoint()?;
        self.finish(trial, bar)
    }

    fn round(&mut self, bar: &TrialProgress) -> Result<()> {
        let began = Instant::now();
        bar.say("");
        let learner = self.agent.learner();
        // Taken here and not kept from the last evaluation, so that snapshots are numbered alike after a resume.
        let (rollout, episodes) = self.runner.collect(&learner.snapshot(&[])?)?;
        let steps = rollout.env_steps() as u64;
        let learnt = learner.learn(rollout, &self.study.interrupt.hard)?;
        let due = self.points_due(self.at.env_steps + steps) > self.points_due(self.at.env_steps);
        self.at.env_steps += steps;
        self.at.train_secs += began.elapsed().as_secs_f64();
        self.log_round(&episodes, learnt)?;
        bar.set(self.at.env_steps);
        if due { self.add_to_curve(bar) } else { Ok(()) }
    }

    fn log_round(&mut self, episodes: &[EpisodeRecord], mut values: Metrics) -> Result<()> {
        for episode in episodes {
            self.log.episode(episode)?;
        }
        if !episodes.is_empty() {
            let mean = |f: fn(&EpisodeRecord) -> f64| episodes.iter().map(f).sum::<f64>() / episodes.len() as f64;
            values.insert("episode_return".into(), mean(|e| e.episode_return));
            values.insert("episode_length".into(), mean(|e| e.length as f64));
        }
        if values.is_empty() { Ok(()) } else { self.record(Phase::Train, None, values) }
    }

    /// Points of the learning curve up to `env_steps`: evenly over the budget, the last at its end.
    fn points_due(&self, env_steps: u64) -> u64 {
        let budget = self.study.prepared.config.train.env_steps;
        u64::try_from(
            u128::from(env_steps.min(budget)) * u128::from(self.study.prepared.config.eval.curve_points)
                / u128::from(budget),
        )
        .expect("at most curve_points")
    }

    fn add_to_curve(&mut self, bar: &TrialProgress) -> Result<()> {
        bar.say("measuring");
        let users = self.seeds.curve_users(self.study.prepared.config.eval.curve_users);
        let found = self.measure(Items::Train, &users)?;
        let point = CurvePoint { env_steps: self.at.env_steps, episode_return: found.episode_return };
        self.at.curve.push(point);
        self.record(Phase::Evaluation, None, values(&found))
    }

    fn measure(&mut self, items: Items, users: &[u64]) -> Result<Measurement> {
        let (world, stop) = (&self.study.prepared.world, &self.study.interrupt.hard);
        let batch = self.study.prepared.config.eval.num_envs;
        let texts = if items == Items::Train { Vec::new() } else { world.pool(items)? };
        let snapshot = self.agent.learner().snapshot(&texts)?;
        measure_agent(world, items, self.judge.as_mut(), &snapshot, users, batch, stop)
    }

    fn finish(mut self, trial: &TrialId, bar: &TrialProgress) -> Result<TrialRecord> {
        bar.say("measuring");
        let users = self.seeds.test_users(self.study.prepared.config.eval.users);
        let mut measurements = BTreeMap::new();
        for items in self.study.prepared.world.measurements() {
            let found = self.measure(items, &users)?;
            self.record(Phase::Evaluation, Some(&format!("final/{}", items.name())), values(&found))?;
            measurements.insert(items, found);
        }
        self.log.sync()?;
        let (env_steps, wall_secs) = (self.at.env_steps, self.at.train_secs);
        let learner = self.agent.learner();
        Ok(TrialRecord {
            arm: trial.arm.to_string(),
            seed: trial.seed,
            curve: self.at.curve,
            measurements,
            ledger: Ledger { env_steps, wall_secs, ..learner.ledger() },
            trainable_parameters: learner.trainable_parameters(),
        })
    }

    fn record(&mut self, phase: Phase, split: Option<&str>, values: BTreeMap<String, f64>) -> Result<()> {
        let wall_secs = self.at.wall_secs + self.resumed.elapsed().as_secs_f64();
        self.log.record(&MetricRecord {
            phase,
            split: split.map(str::to_owned),
            env_steps: self.at.env_steps,
            updates: self.agent.learner().ledger().updates,
            wall_secs,
            values,
        })
    }

    /// Everything that a continuation depends on, on the disk.
    fn write_checkpoint(&mut self) -> Result<()> {
        let mut state = StateDict::default();
        self.runner.save(&mut state, "runner/")?;
        self.agent.learner().save(&mut state, "agent/")?;
        // The logs first: a checkpoint never counts lines that are not on the disk.
        let log = self.log.sync()?;
        let wall_secs = self.at.wall_secs + self.resumed.elapsed().as_secs_f64();
        state.put("trial", &Position { log, wall_secs, ..self.at.clone() })?;
        self.checkpoints.save(self.at.env_steps, &state)?;
        self.written = Instant::now();
        Ok(())
    }
}

fn values(found: &Measurement) -> BTreeMap<String, f64> {
    let mut values = found.metrics.clone();
    values.insert("episode_return".into(), found.episode_return);
    values
}

#[cfg(test)]
mod tests;
