//! One trial: train an agent on a budget, watch it learn, measure what it learnt.

mod record;
#[cfg(test)]
mod tests;

pub use record::{CurvePoint, TrialRecord};

use super::{Measurement, Plan, Study, TrialId, TrialSeeds};
use crate::progress::TrialProgress;
use retune::agent::{Actor, Agent, Ledger, Metrics, Snapshot, Stop};
use retune::env::{Env, TextId};
use retune::persist::{CheckpointDir, StateDict};
use retune::rollout::{EpisodeRecord, Runner, RunnerConfig};
use retune::track::{LogPosition, MetricRecord, Phase, TrialLog};
use retune::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Checkpoints kept: one more than needed, in case the newest is damaged.
const KEPT: usize = 2;

/// What a trial is trained and measured on.
pub trait Task {
    /// The environment.
    type Env: Env + 'static;

    /// A fresh environment for training.
    ///
    /// # Errors
    /// If it cannot be built.
    fn env(&self) -> Result<Self::Env>;

    /// The texts that a measurement can show beyond those of training; empty if there are none.
    ///
    /// # Errors
    /// If there is no such split.
    fn texts(&self, split: &str) -> Result<Vec<TextId>>;

    /// Lets the agent behind `snapshot` act in the given episodes of a split. Leaves no trace in training.
    ///
    /// # Errors
    /// As [`retune::rollout::evaluate`].
    fn measure(
        &self,
        split: &str,
        actor: &mut TaskActor<Self>,
        snapshot: &Arc<Snapshot>,
        episodes: &[u64],
        stop: &Stop,
    ) -> Result<Measurement>;
}

/// An agent for a task.
pub type TaskAgent<T> = dyn Agent<<<T as Task>::Env as Env>::Obs, <<T as Task>::Env as Env>::Action>;

/// An actor for a task.
pub type TaskActor<T> = dyn Actor<<<T as Task>::Env as Env>::Obs, <<T as Task>::Env as Env>::Action>;

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
pub struct Training<'a, T: Task> {
    study: &'a Study,
    plan: &'a Plan,
    task: T,
    seeds: TrialSeeds,
    agent: Box<TaskAgent<T>>,
    /// Measures; never collects.
    judge: Box<TaskActor<T>>,
    runner: Runner<T::Env>,
    log: TrialLog,
    at: Position,
    checkpoints: CheckpointDir,
    written: Instant,
    resumed: Instant,
}

impl<'a, T: Task> Training<'a, T> {
    /// Begins a trial, or goes on from its checkpoint if it has one.
    ///
    /// # Errors
    /// If a part cannot be built, or the checkpoint does not belong to it.
    pub fn begin(study: &'a Study, trial: &TrialId, task: T, mut agent: Box<TaskAgent<T>>) -> Result<Self> {
        let plan = study.prepared.plan();
        let seeds = TrialSeeds::new(plan.seed, trial.seed);
        let runner_config = RunnerConfig {
            num_envs: plan.train.num_envs,
            shard_size: plan.train.shard_size,
            steps_per_round: plan.train.steps_per_round,
            actors: plan.actors,
        };
        let stop = &study.interrupt.hard;
        let mut runner = Runner::new(|_| task.env(), || agent.make_actor(), &runner_config, seeds.train(), stop)?;
        let arm = trial.arm.folder();
        let (folder, kind) = (study.run.checkpoint(&arm, trial.seed)?, format!("{} trial", study.prepared.info().name));
        let (log, at) = if let Some(found) = CheckpointDir::open(&folder, &kind, KEPT)?.load_latest()? {
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
        let checkpoints = CheckpointDir::open(&folder, &kind, KEPT)?;
        let judge = agent.make_actor()?;
        let now = Instant::now();
        Ok(Self { study, plan, task, seeds, agent, judge, runner, log, at, checkpoints, written: now, resumed: now })
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
        while self.at.env_steps < self.plan.train.env_steps {
            if self.study.interrupt.soft.is_requested() {
                self.write_checkpoint()?;
                return Err(Error::Interrupted);
            }
            self.round(bar)?;
            if self.written.elapsed() >= Duration::from_secs_f64(self.plan.train.checkpoint_secs) {
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
        let budget = self.plan.train.env_steps;
        let share = u128::from(env_steps.min(budget)) * u128::from(self.plan.eval.curve_points) / u128::from(budget);
        u64::try_from(share).expect("at most curve_points")
    }

    /// The split that training is watched on: the first.
    fn main_split(&self) -> &'static str {
        self.study.prepared.splits().first().map_or("", |split| split.name)
    }

    fn add_to_curve(&mut self, bar: &TrialProgress) -> Result<()> {
        bar.say("measuring");
        let episodes = self.seeds.curve(self.plan.eval.curve_episodes);
        let found = self.measure(self.main_split(), &episodes)?;
        let point = CurvePoint { env_steps: self.at.env_steps, episode_return: found.episode_return };
        self.at.curve.push(point);
        self.record(Phase::Evaluation, None, found.values())
    }

    fn measure(&mut self, split: &str, episodes: &[u64]) -> Result<Measurement> {
        let snapshot = self.agent.learner().snapshot(&self.task.texts(split)?)?;
        self.task.measure(split, self.judge.as_mut(), &snapshot, episodes, &self.study.interrupt.hard)
    }

    fn finish(mut self, trial: &TrialId, bar: &TrialProgress) -> Result<TrialRecord> {
        bar.say("measuring");
        let episodes = self.seeds.test(self.plan.eval.episodes);
        let mut measurements = BTreeMap::new();
        for split in self.study.prepared.splits() {
            let found = self.measure(split.name, &episodes)?;
            self.record(Phase::Evaluation, Some(&format!("final/{}", split.name)), found.values())?;
            measurements.insert(split.name.to_owned(), found);
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
