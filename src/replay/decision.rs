//! A memory of single decisions: n-step transitions, drawn uniformly or by priority.

#[cfg(test)]
mod tests;

use super::batch::{CURRENT, NEXT, ObsBatch, ObsColumns};
use super::column::{AnyColumn, Column};
use super::priorities::{Priorities, PriorityConfig};
use super::window::{Pending, Window};
use super::{Sampling, each_step};
use crate::agent::{Rollout, Transition};
use crate::env::{ActionSpec, CandidateObs, EnvSpec, ObsSpec, Slate, Status};
use crate::persist::StateDict;
use crate::rng::StreamRng;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a [`DecisionReplay`] is built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionReplayConfig {
    /// Most transitions held; at least 1. All memory is set aside at once.
    pub capacity: usize,
    /// Env slots whose rollouts are pushed; at least 1.
    pub num_envs: usize,
    /// Steps that rewards are summed over; 1 to `capacity`.
    pub n_step: usize,
    /// Discount per env step, in [0, 1].
    pub gamma: f64,
    /// Whether batches need the action that follows (SARSA).
    pub needs_next_action: bool,
    /// Draws by priority; `None` draws uniformly, with replacement.
    pub prioritized: Option<PriorityConfig>,
}

impl DecisionReplayConfig {
    fn validate(&self) -> Result<()> {
        for (key, value) in [("capacity", self.capacity), ("num_envs", self.num_envs), ("n_step", self.n_step)] {
            if value == 0 {
                return Err(Error::config(key, value, "expected at least 1"));
            }
        }
        if self.n_step > self.capacity {
            let expected = format!("expected at most the capacity of the memory, {}", self.capacity);
            return Err(Error::config("n_step", self.n_step, expected));
        }
        if !(0.0..=1.0).contains(&self.gamma) {
            return Err(Error::config("gamma", self.gamma, "expected between 0 and 1"));
        }
        self.prioritized.map_or(Ok(()), |p| p.validate("prioritized"))
    }
}

/// Transitions side by side: `B` of them, from the step where the action was taken to the one that ends the n-step sum.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DecisionBatch {
    /// `B`.
    pub size: usize,
    /// Where each lies in the memory, `[B]`.
    pub positions: Vec<usize>,
    /// Importance weights, `[B]`; all 1 where draws are uniform.
    pub weights: Vec<f32>,
    /// Before the action.
    pub obs: ObsBatch,
    /// Index of the candidate that was taken, `[B]`.
    pub action: Vec<u32>,
    /// `Σ_{k<m} γ^k r_{t+k}` over the `m ≤ n` steps up to the end of the episode, `[B]`.
    pub reward: Vec<f32>,
    /// Factor of the value of `next_obs`: `γ^m`, and 0 where the episode terminated, `[B]`.
    pub discount: Vec<f32>,
    /// After the last of the `m` steps; the final observation where the episode is over.
    pub next_obs: ObsBatch,
    /// Candidate taken at `next_obs`, `[B]`; 0 where the episode terminated. Empty unless asked for.
    pub next_action: Vec<u32>,
}

/// The last `capacity` transitions of an environment whose action is one candidate, in flat columns allocated once.
///
/// n-step sums are made as experience comes in, across rounds, per env slot (Sutton and Barto, section 7.1): a
/// transition enters the memory once its `n` rewards are known or its episode is over, whichever is first. At the end
/// of an episode the last steps enter with fewer rewards; only termination removes their bootstrap. So every row
/// stands for itself, and no draw can cross an episode.
///
/// With [`DecisionReplayConfig::needs_next_action`] a transition also waits for the action that follows. A truncated
/// episode has none, since nothing was chosen at its final observation: its last steps are left out and counted in
/// [`DecisionReplay::left_out`].
#[derive(Clone, Debug)]
pub struct DecisionReplay {
    header: Header,
    rows: Rows,
    priorities: Option<Priorities>,
}

/// Everything but rows and priorities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    config: DecisionReplayConfig,
    len: usize,
    /// Row that the next transition goes to.
    next: usize,
    /// Incomplete steps, `[num_envs]`. Place `p` of slot `e` is row `capacity + e · n_step + p`.
    windows: Vec<Window>,
    /// Round that continues the windows.
    next_round: u64,
    left_out: u64,
}

#[derive(Clone, Debug)]
struct Rows {
    obs: ObsColumns,
    next_obs: ObsColumns,
    action: Column<u32>,
    next_action: Column<u32>,
    reward: Column<f32>,
    discount: Column<f32>,
}

impl DecisionReplay {
    /// An empty memory for the transitions of `spec`.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range, the environment does not have candidate sets and slates of one,
    /// or the capacity is more than memory can hold.
    pub fn new(spec: &EnvSpec, config: &DecisionReplayConfig) -> Result<Self> {
        config.validate()?;
        let (ObsSpec::Candidates(candidates), ActionSpec::Slate { size: 1 }) = (&spec.obs, &spec.action) else {
            return Err(Error::config(
                "env",
                &spec.id,
                "expected an environment with candidate sets and slates of one",
            ));
        };
        let too_many = || Error::config("capacity", config.capacity, "too large to count");
        let waiting = config.num_envs.checked_mul(config.n_step).ok_or_else(too_many)?;
        let total = config.capacity.checked_add(waiting).ok_or_else(too_many)?;
        let rows = Rows {
            obs: ObsColumns::new(candidates, &CURRENT, total)?,
            next_obs: ObsColumns::new(candidates, &NEXT, total)?,
            action: Column::new("action", total, 1)?,
            next_action: Column::new("next_action", total, usize::from(config.needs_next_action))?,
            reward: Column::new("reward", total, 1)?,
            discount: Column::new("discount", total, 1)?,
        };
        let windows = vec![Window::default(); config.num_envs];
        let header = Header { config: config.clone(), len: 0, next: 0, windows, next_round: 0, left_out: 0 };
        let priorities = config.prioritized.map(|p| Priorities::new(p, config.capacity));
        Ok(Self { header, rows, priorities })
    }

    /// Takes in a round. If it does not follow the round pushed last, incomplete steps are forgotten: what comes now is
    /// not what followed them.
    ///
    /// # Errors
    /// [`Error::State`] if a transition does not have the shapes of the spec, or an env slot is out of range. The
    /// transitions before that one are then in the memory.
    pub fn push(&mut self, rollout: &Rollout<CandidateObs, Slate>) -> Result<()> {
        if rollout.round != self.header.next_round {
            self.header.windows.iter_mut().for_each(Window::clear);
        }
        self.header.next_round = rollout.round + 1;
        let num_envs = self.header.config.num_envs;
        each_step(rollout, num_envs, |env, step| self.push_step(env, step))
    }

    /// Transitions that can be drawn.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.len == 0
    }

    /// Steps that were not taken in because no action followed the end of their episode.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.header.left_out
    }

    /// Bytes set aside, priorities included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let columns: usize = self.rows.columns().iter().map(|c| c.bytes()).sum();
        columns + self.priorities.as_ref().map_or(0, Priorities::bytes)
    }

    /// A batch of `count` transitions; `beta` is the exponent of importance weights, without effect where draws are
    /// uniform.
    ///
    /// # Errors
    /// [`Error::State`] if the memory is empty.
    pub fn sample(&self, count: usize, beta: f64, rng: &mut StreamRng) -> Result<DecisionBatch> {
        let (positions, weights) = match &self.priorities {
            None => (Sampling::WithReplacement.draw(self.len(), count, rng)?, vec![1.0; count]),
            Some(priorities) => {
                let positions = priorities.sample(count, rng)?;
                let weights = priorities.weights(&positions, self.len(), beta);
                (positions, weights)
            }
        };
        Ok(self.rows.gather(positions, weights))
    }

    /// Tells what the TD errors of drawn transitions were. Of a position drawn twice the last one counts. Does nothing
    /// where draws are uniform.
    ///
    /// # Errors
    /// [`Error::State`] if an error is not finite.
    pub fn update_priorities(&mut self, positions: &[usize], td_errors: &[f32]) -> Result<()> {
        let Some(priorities) = &mut self.priorities else { return Ok(()) };
        positions.iter().zip(td_errors).try_for_each(|(&i, &error)| priorities.update(i, f64::from(error)))
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
        self.priorities.as_ref().map_or(Ok(()), |p| p.save(self.len(), state, &format!("{prefix}replay.")))
    }

    /// Takes the content back from `state`: what is drawn from now on has the same bits.
    ///
    /// # Errors
    /// [`Error::State`] if it was saved with other settings or shapes, or is not whole; nothing has changed then.
    pub fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let header: Header = state.get(&format!("{prefix}replay"))?;
        header.require_consistent(&self.header.config)?;
        let rows = header.rows_in_use();
        let prefix = format!("{prefix}replay.");
        let priorities = self.priorities.as_ref().map(|p| p.restored(header.len, state, &prefix)).transpose()?;
        for column in self.rows.columns() {
            column.check(rows.len(), state, &prefix)?;
        }
        for column in self.rows.columns_mut() {
            column.load(&rows, state, &prefix)?;
        }
        (self.header, self.priorities) = (header, priorities);
        Ok(())
    }

    fn push_step(&mut self, env: usize, step: &Transition<CandidateObs, Slate>) -> Result<()> {
        let n = self.header.config.n_step;
        let [action] = step.action.0[..] else {
            return Err(Error::State(format!("a slate of {} candidates, expected 1", step.action.0.len())));
        };
        if self.header.config.needs_next_action
            && let Some(waiting) = self.header.windows[env].pop_waiting(n)
        {
            let row = self.header.waiting_row(env, waiting.place);
            self.rows.next_action.set_one(row, action);
            self.commit(row);
        }
        let place = self.header.windows[env].push(step.reward, self.header.config.gamma, n);
        let row = self.header.waiting_row(env, place);
        // First of all that can fail: a step that does not fit must not wait for rewards.
        if let Err(error) = self.rows.obs.write(row, &step.obs) {
            self.header.windows[env].clear();
            return Err(error);
        }
        self.rows.action.set_one(row, action);
        if n > 1 {
            // What is not known yet has a fixed form: what lay in this place before must not show in a saved memory.
            self.describe(env, Pending { place, reward_sum: 0.0, discount: 0.0, rewards: 0 }, step)?;
        }
        self.finish(env, step)
    }

    /// Moves what is complete after this step into the memory, or lets it wait for the next action.
    fn finish(&mut self, env: usize, step: &Transition<CandidateObs, Slate>) -> Result<()> {
        let DecisionReplayConfig { n_step, needs_next_action, .. } = self.header.config;
        if needs_next_action && step.status == Status::Running {
            // Complete, but what is done next is not known: everything else about it is.
            if let Some(first) = self.header.windows[env].complete(n_step) {
                self.describe(env, first, step)?;
            }
            return Ok(());
        }
        while let Some(first) = self.header.windows[env].pop_complete(step.status, n_step) {
            if needs_next_action && step.status == Status::Truncated {
                self.header.left_out += 1;
                continue;
            }
            let row = self.describe(env, first, step)?;
            self.commit(row);
        }
        Ok(())
    }

    /// Writes everything but observation and action of a step that `last` completes; returns its row.
    fn describe(&mut self, env: usize, pending: Pending, last: &Transition<CandidateObs, Slate>) -> Result<usize> {
        let row = self.header.waiting_row(env, pending.place);
        let terminated = last.status == Status::Terminated;
        self.rows.next_obs.write(row, &last.next_obs)?;
        self.rows.reward.set_one(row, pending.reward_sum as f32);
        self.rows.discount.set_one(row, if terminated { 0.0 } else { pending.discount as f32 });
        self.rows.next_action.row_mut(row).fill(0);
        Ok(row)
    }

    /// Copies a waiting row into the memory.
    fn commit(&mut self, waiting: usize) {
        let row = self.header.next;
        self.rows.columns_mut().into_iter().for_each(|column| column.copy_row(waiting, row));
        if let Some(priorities) = &mut self.priorities {
            priorities.insert(row);
        }
        self.header.advance();
    }
}

impl Header {
    fn waiting_row(&self, env: usize, place: usize) -> usize {
        self.config.capacity + env * self.config.n_step + place
    }

    fn advance(&mut self) {
        self.next = (self.next + 1) % self.config.capacity;
        self.len = (self.len + 1).min(self.config.capacity);
    }

    /// Rows of the memory, then those of incomplete steps by slot.
    fn rows_in_use(&self) -> Vec<usize> {
        let waiting = self.windows.iter().enumerate();
        let waiting = waiting.flat_map(|(env, w)| w.places().map(move |place| self.waiting_row(env, place)));
        (0..self.len).chain(waiting).collect()
    }

    fn require_consistent(&self, config: &DecisionReplayConfig) -> Result<()> {
        if self.config != *config {
            return Err(Error::State(format!("replay was saved with {:?}, this memory has {config:?}", self.config)));
        }
        let filling = self.len < config.capacity && self.next == self.len;
        let full = self.len == config.capacity && self.next < config.capacity;
        let windows =
            self.windows.len() == config.num_envs && self.windows.iter().all(|w| w.is_consistent(config.n_step));
        if (filling || full) && windows {
            return Ok(());
        }
        let (len, next) = (self.len, self.next);
        Err(Error::State(format!("replay of {len} transitions that goes on at {next} is not whole")))
    }
}

impl Rows {
    fn gather(&self, positions: Vec<usize>, weights: Vec<f32>) -> DecisionBatch {
        DecisionBatch {
            size: positions.len(),
            obs: self.obs.gather(&positions),
            action: self.action.gather(&positions),
            reward: self.reward.gather(&positions),
            discount: self.discount.gather(&positions),
            next_obs: self.next_obs.gather(&positions),
            next_action: self.next_action.gather(&positions),
            positions,
            weights,
        }
    }

    fn columns(&self) -> Vec<&dyn AnyColumn> {
        let own: [&dyn AnyColumn; 4] = [&self.action, &self.next_action, &self.reward, &self.discount];
        own.into_iter().chain(self.obs.columns()).chain(self.next_obs.columns()).collect()
    }

    fn columns_mut(&mut self) -> Vec<&mut dyn AnyColumn> {
        let own: [&mut dyn AnyColumn; 4] =
            [&mut self.action, &mut self.next_action, &mut self.reward, &mut self.discount];
        own.into_iter().chain(self.obs.columns_mut()).chain(self.next_obs.columns_mut()).collect()
    }
}
