//! One trial: train an agent on a budget, watch it learn, measure what it learnt.

mod collector;
mod pending;
mod record;
#[cfg(test)]
mod tests;

pub use record::{CurvePoint, TrialRecord};

use super::{Collection, Measurement, Plan, Study, TrialId, TrialSeeds};
use crate::progress::TrialProgress;
use collector::{Collected, Collector};
use pending::Pending;
use retune::agent::{Actor, Agent, Ledger, Metrics, Snapshot, Stop};
use retune::env::{Env, TextId};
use retune::persist::{CheckpointDir, StateDict};
use retune::rollout::{EpisodeRecord, LagHistogram};
use retune::track::{LogPosition, MetricRecord, Phase, TrialLog};
use retune::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

    /// The final evaluation, which may look closer than those during training.
    ///
    /// # Errors
    /// As [`Task::measure`].
    fn measure_final(
        &self,
        split: &str,
        actor: &mut TaskActor<Self>,
        snapshot: &Arc<Snapshot>,
        episodes: &[u64],
        stop: &Stop,
    ) -> Result<Measurement> {
        self.measure(split, actor, snapshot, episodes, stop)
    }
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
    /// Best return on the curve after the start, which has a checkpoint of its own.
    best: Option<f64>,
    /// Policy lag so far, where actors run freely.
    lags: LagHistogram,
    /// Metrics not yet recorded, and the env steps at which some were recorded last.
    pending: Pending,
    recorded: u64,
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
    collector: Collector<T::Env>,
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
    pub fn begin(
        study: &'a Study,
        trial: &TrialId,
        task: T,
        mut agent: Box<TaskAgent<T>>,
        collection: Collection,
    ) -> Result<Self> {
        let plan = study.prepared.plan();
        let seeds = TrialSeeds::new(plan.seed, trial.seed);
        let stop = &study.interrupt.hard;
        let mut collector =
            Collector::new(|| task.env(), || agent.make_actor(), plan, collection, seeds.train(), stop)?;
        let arm = trial.arm.folder();
        let (folder, kind) = (study.run.checkpoint(&arm, trial.seed)?, format!("{} trial", study.prepared.info().name));
        let keep = plan.train.keep_checkpoints;
        let (log, at) = if let Some(found) = CheckpointDir::open(&folder, &kind, keep)?.load_latest()? {
            for damaged in &found.damaged {
                tracing::warn!("{trial}: going on from an earlier checkpoint: {}", damaged.message);
            }
            collector.load(&found.state, "runner/")?;
            agent.learner().load(&found.state, "agent/")?;
            let at: Position = found.state.get("trial")?;
            (TrialLog::resume(&study.run, &arm, trial.seed, at.began, at.log)?, at)
        } else {
            study.clear_trial(trial)?;
            let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
            (TrialLog::create(&study.run, &arm, trial.seed, began)?, Position { began, ..Position::default() })
        };
        let checkpoints = CheckpointDir::open(&folder, &kind, keep)?;
        let judge = agent.make_actor()?;
        let now = Instant::now();
        Ok(Self { study, plan, task, seeds, agent, judge, collector, log, at, checkpoints, written: now, resumed: now })
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
                self.write_checkpoint(bar)?;
                return Err(Error::Interrupted);
            }
            self.round(bar)?;
            if self.has_improved() {
                self.write_best(bar)?;
            }
            if self.written.elapsed() >= Duration::from_secs_f64(self.plan.train.checkpoint_secs) {
                self.write_checkpoint(bar)?;
            }
        }
        // So that an interruption of the final evaluation costs that alone.
        self.write_checkpoint(bar)?;
        self.finish(trial, bar)
    }

    fn round(&mut self, bar: &TrialProgress) -> Result<()> {
        let began = Instant::now();
        bar.say("");
        let learner = self.agent.learner();
        // Taken here and not kept from the last evaluation, so that snapshots are numbered alike after a resume.
        let Collected { rollout, episodes, mut metrics, lags } = self.collector.collect(&learner.snapshot(&[])?)?;
        let steps = rollout.env_steps() as u64;
        metrics.extend(learner.learn(rollout, &self.study.interrupt.hard)?);
        let due = self.points_due(self.at.env_steps + steps) > self.points_due(self.at.env_steps);
        self.at.env_steps += steps;
        self.at.lags.merge(&lags);
        self.at.train_secs += began.elapsed().as_secs_f64();
        self.log_round(&episodes, metrics)?;
        bar.set(self.at.env_steps);
        if due { self.add_to_curve(bar) } else { Ok(()) }
    }

    fn log_round(&mut self, episodes: &[EpisodeRecord], metrics: Metrics) -> Result<()> {
        for episode in episodes {
            self.log.episode(episode)?;
        }
        self.at.pending.add(metrics, episodes);
        let done = self.at.env_steps >= self.plan.train.env_steps;
        if !done && self.at.env_steps - self.at.recorded < self.plan.train.log_env_steps {
            return Ok(());
        }
        self.at.recorded = self.at.env_steps;
        let values = self.at.pending.take();
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
            let snapshot = self.agent.learner().snapshot(&self.task.texts(split.name)?)?;
            let stop = &self.study.interrupt.hard;
            let found = self.task.measure_final(split.name, self.judge.as_mut(), &snapshot, &episodes, stop)?;
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
            policy_lag: self.at.lags,
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

    /// Whether the last point of the curve is better than all before it. The point before any training does not
    /// count: there is nothing in it that a seed could not make again.
    fn has_improved(&self) -> bool {
        let trained = self.at.curve.last().filter(|point| point.env_steps > 0);
        self.plan.train.keep_best
            && trained.is_some_and(|last| self.at.best.is_none_or(|best| last.episode_return > best))
    }

    fn write_best(&mut self, bar: &TrialProgress) -> Result<()> {
        self.at.best = self.at.curve.last().map(|point| point.episode_return);
        let state = self.state(bar)?;
        self.checkpoints.save_best(self.at.env_steps, &state)?;
        Ok(())
    }

    fn write_checkpoint(&mut self, bar: &TrialProgress) -> Result<()> {
        let state = self.state(bar)?;
        self.checkpoints.save(self.at.env_steps, &state)?;
        self.written = Instant::now();
        Ok(())
    }

    /// Everything that a continuation depends on.
    fn state(&mut self, bar: &TrialProgress) -> Result<StateDict> {
        // What free-running actors have played beyond the learner is learnt first: nothing is lost.
        self.collector.settle()?;
        while self.collector.buffered() > 0 {
            self.round(bar)?;
        }
        let mut state = StateDict::default();
        self.collector.save(&mut state, "runner/")?;
        self.agent.learner().save(&mut state, "agent/")?;
        // The logs first: a checkpoint never counts lines that are not on the disk.
        let log = self.log.sync()?;
        let wall_secs = self.at.wall_secs + self.resumed.elapsed().as_secs_f64();
        state.put("trial", &Position { log, wall_secs, ..self.at.clone() })?;
        Ok(state)
    }
}
