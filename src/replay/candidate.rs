//! A memory of candidate-set transitions.

use super::batch::{CURRENT, CandidateBatch, NEXT, ObsColumns};
use super::column::{AnyColumn, Column};
use super::{Sampling, each_step};
use crate::agent::{Rollout, Transition};
use crate::env::{ActionSpec, CandidateObs, EnvSpec, ObsSpec, Slate, Status};
use crate::persist::StateDict;
use crate::rng::StreamRng;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a [`CandidateReplay`] is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandidateReplayConfig {
    /// Most transitions held; at least 1. All memory is set aside at once.
    pub capacity: usize,
    /// Env slots whose rollouts are pushed; at least 1.
    pub num_envs: usize,
    /// Whether batches need the slate of the following step (SARSA).
    pub needs_next_action: bool,
}

/// The last `capacity` transitions of a candidate-set environment, in flat columns.
///
/// With [`CandidateReplayConfig::needs_next_action`] a transition enters the memory only once the slate of the
/// following step in its env slot is known; until then it waits in a row of its own, also across rounds. A terminated
/// step needs no such slate. A truncated step has none, since nothing was chosen at its final observation: it is left
/// out and counted in [`CandidateReplay::left_out`]. So every row of the memory may be sampled at any time.
#[derive(Clone, Debug)]
pub struct CandidateReplay {
    header: Header,
    slate_size: usize,
    rows: Rows,
}

/// Everything but the rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    config: CandidateReplayConfig,
    len: usize,
    /// Row that the next transition goes to.
    next: usize,
    /// Whether the waiting row of an env slot (`capacity + slot`) is in use, `[num_envs]`.
    waiting: Vec<bool>,
    /// Round that continues the waiting transitions.
    next_round: u64,
    left_out: u64,
}

impl CandidateReplay {
    /// An empty memory for the transitions of `spec`.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range, the environment does not have candidate sets and slates, or the
    /// capacity is more than memory can hold.
    pub fn new(spec: &EnvSpec, config: &CandidateReplayConfig) -> Result<Self> {
        for (key, value) in [("capacity", config.capacity), ("num_envs", config.num_envs)] {
            if value == 0 {
                return Err(Error::config(key, value, "expected at least 1"));
            }
        }
        let (ObsSpec::Candidates(candidates), ActionSpec::Slate { size }) = (&spec.obs, &spec.action) else {
            return Err(Error::config("env", &spec.id, "expected an environment with candidate sets and slates"));
        };
        let total = config.capacity.checked_add(config.num_envs);
        let total = total.ok_or_else(|| Error::config("capacity", config.capacity, "too large to count"))?;
        let rows = Rows {
            obs: ObsColumns::new(candidates, &CURRENT, total)?,
            next_obs: ObsColumns::new(candidates, &NEXT, total)?,
            slate: Column::new("slate", total, *size)?,
            next_slate: Column::new("next_slate", total, if config.needs_next_action { *size } else { 0 })?,
            log_prob: Column::new("log_prob", total, 1)?,
            chosen: Column::new("chosen", total, 1)?,
            item_reward: Column::new("item_reward", total, 1)?,
            quality: Column::new("quality", total, 1)?,
            quality_known: Column::new("quality_known", total, 1)?,
            reward: Column::new("reward", total, 1)?,
            status: Column::new("status", total, 1)?,
        };
        let waiting = vec![false; config.num_envs];
        let header = Header { config: config.clone(), len: 0, next: 0, waiting, next_round: 0, left_out: 0 };
        Ok(Self { header, slate_size: *size, rows })
    }

    /// Takes in a round. If it does not follow the round pushed last, transitions that still wait for their next slate
    /// are forgotten: what comes now is not what followed them.
    ///
    /// # Errors
    /// [`Error::State`] if a transition does not have the shapes of the spec, or an env slot is out of range. The
    /// transitions before that one are then in the memory.
    pub fn push(&mut self, rollout: &Rollout<CandidateObs, Slate>) -> Result<()> {
        if rollout.round != self.header.next_round {
            self.header.waiting.fill(false);
        }
        self.header.next_round = rollout.round + 1;
        let num_envs = self.header.config.num_envs;
        each_step(rollout, num_envs, |env, step| self.push_step(env, step))
    }

    /// Transitions that can be sampled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.len == 0
    }

    /// Most transitions it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.header.config.capacity
    }

    /// Truncated transitions that were not taken in because they have no next slate.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.header.left_out
    }

    /// Bytes set aside for transitions.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.columns().iter().map(|c| c.bytes()).sum()
    }

    /// A batch of `count` transitions drawn uniformly.
    ///
    /// # Errors
    /// If the memory is empty, or holds fewer than `count` without replacement.
    pub fn sample(&self, count: usize, sampling: Sampling, rng: &mut StreamRng) -> Result<CandidateBatch> {
        self.gather(&sampling.draw(self.header.len, count, rng)?)
    }

    /// The transitions at these positions, each below [`CandidateReplay::len`]. Positions keep their transition until
    /// the memory is full; then the oldest is overwritten first.
    ///
    /// # Errors
    /// [`Error::State`] if a position is out of range.
    pub fn gather(&self, positions: &[usize]) -> Result<CandidateBatch> {
        if let Some(bad) = positions.iter().find(|&&p| p >= self.header.len) {
            return Err(Error::State(format!("position {bad} in a memory of {} transitions", self.header.len)));
        }
        self.rows.gather(positions)
    }

    /// Puts the exact content into `state`, under names that begin with `prefix`. Only rows in use are written.
    ///
    /// # Errors
    /// If the header cannot be expressed.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        state.put(format!("{prefix}replay"), &self.header)?;
        let rows = self.header.rows_in_use();
        for column in self.rows.columns() {
            column.save(&rows, state, &format!("{prefix}replay."));
        }
        Ok(())
    }

    /// Takes the content back from `state`: what is sampled from now on has the same bits.
    ///
    /// # Errors
    /// [`Error::State`] if it was saved with other settings or shapes, or is not whole; nothing has changed then.
    pub fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let header: Header = state.get(&format!("{prefix}replay"))?;
        header.require_consistent(&self.header.config)?;
        let rows = header.rows_in_use();
        let prefix = format!("{prefix}replay.");
        for column in self.rows.columns() {
            column.check(rows.len(), state, &prefix)?;
        }
        for code in state.u8s(&format!("{prefix}status"))? {
            status_of(code)?;
        }
        for column in self.rows.columns_mut() {
            column.load(&rows, state, &prefix)?;
        }
        self.header = header;
        Ok(())
    }

    fn push_step(&mut self, env: usize, step: &Transition<CandidateObs, Slate>) -> Result<()> {
        let waiting = self.header.config.capacity + env;
        if !self.header.config.needs_next_action {
            // By way of the waiting row, so that a transition that does not fit leaves the oldest one whole.
            self.rows.write(waiting, step, self.slate_size)?;
            self.commit(waiting);
            return Ok(());
        }
        if std::mem::take(&mut self.header.waiting[env]) {
            self.rows.next_slate.set(waiting, &step.action.0)?;
            self.commit(waiting);
        }
        match step.status {
            Status::Truncated => self.header.left_out += 1,
            Status::Running => {
                self.rows.write(waiting, step, self.slate_size)?;
                self.header.waiting[env] = true;
            }
            Status::Terminated => {
                self.rows.write(waiting, step, self.slate_size)?;
                self.rows.next_slate.row_mut(waiting).fill(0);
                self.commit(waiting);
            }
        }
        Ok(())
    }

    /// Moves a waiting row into the memory.
    fn commit(&mut self, waiting: usize) {
        let row = self.header.next;
        self.rows.columns_mut().into_iter().for_each(|column| column.copy_row(waiting, row));
        self.header.advance();
    }
}

impl Header {
    fn advance(&mut self) {
        self.len = (self.len + 1).min(self.config.capacity);
        self.next = (self.next + 1) % self.config.capacity;
    }

    /// Filled rows, then the waiting ones.
    fn rows_in_use(&self) -> Vec<usize> {
        let waiting = self.waiting.iter().enumerate().filter(|(_, used)| **used);
        (0..self.len).chain(waiting.map(|(slot, _)| self.config.capacity + slot)).collect()
    }

    fn require_consistent(&self, config: &CandidateReplayConfig) -> Result<()> {
        if self.config != *config {
            return Err(Error::State(format!("the memory was saved with {:?}, this one has {config:?}", self.config)));
        }
        let filling = self.len < config.capacity && self.next == self.len;
        let full = self.len == config.capacity && self.next < config.capacity;
        if (filling || full) && self.waiting.len() == config.num_envs {
            return Ok(());
        }
        Err(Error::State(format!("the saved memory contradicts itself: {self:?}")))
    }
}

/// The transitions, and behind them one waiting row per env slot.
#[derive(Clone, Debug)]
struct Rows {
    obs: ObsColumns,
    next_obs: ObsColumns,
    slate: Column<u32>,
    next_slate: Column<u32>,
    log_prob: Column<f32>,
    chosen: Column<u32>,
    item_reward: Column<f32>,
    quality: Column<f32>,
    quality_known: Column<f32>,
    reward: Column<f32>,
    status: Column<u8>,
}

impl Rows {
    fn write(&mut self, row: usize, step: &Transition<CandidateObs, Slate>, slate_size: usize) -> Result<()> {
        let (chosen, item_reward, quality) = outcome(step, slate_size)?;
        self.slate.set(row, &step.action.0)?;
        self.obs.write(row, &step.obs)?;
        self.next_obs.write(row, &step.next_obs)?;
        self.log_prob.set_one(row, step.log_prob);
        self.chosen.set_one(row, chosen);
        self.item_reward.set_one(row, item_reward);
        self.quality.set_one(row, quality.unwrap_or(0.0));
        self.quality_known.set_one(row, if quality.is_some() { 1.0 } else { 0.0 });
        self.reward.set_one(row, step.reward as f32);
        self.status.set_one(row, code_of(step.status));
        Ok(())
    }

    fn gather(&self, rows: &[usize]) -> Result<CandidateBatch> {
        Ok(CandidateBatch {
            size: rows.len(),
            obs: self.obs.gather(rows),
            slate: self.slate.gather(rows),
            log_prob: self.log_prob.gather(rows),
            chosen: self.chosen.gather(rows),
            item_reward: self.item_reward.gather(rows),
            quality: self.quality.gather(rows),
            quality_known: self.quality_known.gather(rows),
            reward: self.reward.gather(rows),
            status: rows.iter().map(|&row| status_of(self.status.row(row)[0])).collect::<Result<_>>()?,
            next_obs: self.next_obs.gather(rows),
            next_slate: self.next_slate.gather(rows),
        })
    }

    fn columns(&self) -> Vec<&dyn AnyColumn> {
        let own: [&dyn AnyColumn; 9] = [
            &self.slate,
            &self.next_slate,
            &self.log_prob,
            &self.chosen,
            &self.item_reward,
            &self.quality,
            &self.quality_known,
            &self.reward,
            &self.status,
        ];
        own.into_iter().chain(self.obs.columns()).chain(self.next_obs.columns()).collect()
    }

    fn columns_mut(&mut self) -> Vec<&mut dyn AnyColumn> {
        let own: [&mut dyn AnyColumn; 9] = [
            &mut self.slate,
            &mut self.next_slate,
            &mut self.log_prob,
            &mut self.chosen,
            &mut self.item_reward,
            &mut self.quality,
            &mut self.quality_known,
            &mut self.reward,
            &mut self.status,
        ];
        own.into_iter().chain(self.obs.columns_mut()).chain(self.next_obs.columns_mut()).collect()
    }
}

/// Consumed position, its part of the reward, and the quality it revealed. A slate of one without feedback counts as
/// consumed: there was nothing to choose from.
fn outcome(step: &Transition<CandidateObs, Slate>, slate_size: usize) -> Result<(u32, f32, Option<f32>)> {
    let Some(feedback) = &step.next_obs.feedback else {
        if slate_size == 1 {
            return Ok((0, step.reward as f32, None));
        }
        let message = format!("no feedback on a slate of {slate_size}: what was consumed is not known");
        return Err(Error::State(message));
    };
    if feedback.outcomes.len() != slate_size {
        let found = feedback.outcomes.len();
        return Err(Error::State(format!("feedback on {found} slate positions, expected {slate_size}")));
    }
    Ok(match feedback.chosen() {
        Some(position) => {
            let outcome = feedback.outcomes[position];
            (position as u32, outcome.reward, outcome.quality)
        }
        None => (slate_size as u32, 0.0, None),
    })
}

fn code_of(status: Status) -> u8 {
    match status {
        Status::Running => 0,
        Status::Terminated => 1,
        Status::Truncated => 2,
    }
}

fn status_of(code: u8) -> Result<Status> {
    match code {
        0 => Ok(Status::Running),
        1 => Ok(Status::Terminated),
        2 => Ok(Status::Truncated),
        _ => Err(Error::State(format!("status code {code}, expected 0, 1 or 2"))),
    }
}
