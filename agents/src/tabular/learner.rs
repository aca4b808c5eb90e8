//! The learner: which update is due when.

use super::actor::{EPSILON, Q};
use super::backup::{Ahead, sum_target, tree_target};
use super::config::{TabularAlgorithm, TabularConfig};
use super::memory::{Memory, Move};
use super::policy::{EpsilonGreedy, argmax, max};
use super::table::QTable;
use super::traces::TraceUpdate;
use candle_core::{Device, Tensor};
use retune::agent::{Learner, Ledger, Metrics, Rollout, Snapshot, Stop};
use retune::env::{ActionSpec, EnvSpec, ObsSpec, Status, TextId};
use retune::nn::checksum;
use retune::persist::StateDict;
use retune::rng::{Seed, StreamRng};
use retune::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Learns a table from transitions. See the module for the metrics.
pub struct TabularLearner {
    config: TabularConfig,
    table: QTable,
    /// The second table of double Q-learning.
    other: Option<QTable>,
    /// Times each pair was updated, row by row; empty where the step size does not depend on it.
    visits: Vec<u32>,
    /// By env slot.
    memories: BTreeMap<usize, Memory>,
    /// Decides which of two tables is updated.
    coin: StreamRng,
    ledger: Ledger,
    /// Version and checksum of the last published table.
    published: (u64, String),
    round: RoundTotals,
}

/// What is added up over one round.
#[derive(Default)]
struct RoundTotals {
    epsilon: f64,
    learning_rate: f64,
    td_error: f64,
    updates: u64,
}

/// The saved form, apart from the tables and the visits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    config: TabularConfig,
    shape: (usize, usize),
    memories: BTreeMap<usize, Memory>,
    coin: StreamRng,
    ledger: Ledger,
    published: (u64, String),
}

impl TabularLearner {
    pub(super) fn new(config: &TabularConfig, spec: &EnvSpec, seed: &Seed) -> Result<Self> {
        Self::with_shape(config, shape(spec)?, seed)
    }

    /// For `shape` states by actions, both at least 1.
    pub(super) fn with_shape(config: &TabularConfig, shape: (usize, usize), seed: &Seed) -> Result<Self> {
        config.validate()?;
        let table = QTable::new(shape, config.initial_q);
        let other = (config.algorithm == TabularAlgorithm::DoubleQ).then(|| table.clone());
        let visits = if config.visit_exponent > 0.0 { vec![0; shape.0 * shape.1] } else { Vec::new() };
        Ok(Self {
            config: config.clone(),
            table,
            other,
            visits,
            memories: BTreeMap::new(),
            coin: seed.child("coin").rng(),
            ledger: Ledger::default(),
            published: (0, String::new()),
            round: RoundTotals::default(),
        })
    }

    /// The values learnt; with double Q-learning those of the first table.
    #[must_use]
    pub fn table(&self) -> &QTable {
        &self.table
    }

    /// The values that actors act on; with double Q-learning the mean of both tables.
    #[must_use]
    pub fn acting_values(&self) -> QTable {
        self.other.as_ref().map_or_else(|| self.table.clone(), |other| self.table.mean(other))
    }

    /// The exploring policy of the round.
    fn policy(&self) -> EpsilonGreedy {
        EpsilonGreedy { epsilon: self.round.epsilon }
    }

    /// Takes in one step of an env slot.
    fn observe(&mut self, slot: usize, step: Move) -> Result<()> {
        let mut memory = self.memories.remove(&slot).unwrap_or_default();
        match self.config.algorithm {
            TabularAlgorithm::QLearning => self.update(std::slice::from_ref(&step), Ahead::Policy),
            TabularAlgorithm::DoubleQ => self.double_update(&step),
            TabularAlgorithm::Sarsa => self.sarsa(&mut memory, step.clone()),
            TabularAlgorithm::ExpectedSarsa | TabularAlgorithm::TreeBackup => self.queue(&mut memory, step.clone()),
            TabularAlgorithm::SarsaLambda | TabularAlgorithm::QLambda => self.traced(&mut memory, step.clone()),
        }
        if step.status.is_over() {
            memory = Memory::default();
        }
        self.memories.insert(slot, memory);
        self.require_finite(&step)
    }

    /// The action of this step completes the oldest waiting target; an end completes all of them.
    fn sarsa(&mut self, memory: &mut Memory, step: Move) {
        if memory.waiting.len() == self.config.n_steps {
            self.update(memory.waiting.make_contiguous(), Ahead::Action(step.action));
            memory.waiting.pop_front();
        }
        let is_over = step.status.is_over();
        memory.waiting.push_back(step);
        if is_over {
            self.flush(memory);
        }
    }

    /// n steps complete the oldest target, and an end all of them.
    fn queue(&mut self, memory: &mut Memory, step: Move) {
        let is_over = step.status.is_over();
        memory.waiting.push_back(step);
        if is_over {
            self.flush(memory);
        } else if memory.waiting.len() == self.config.n_steps {
            self.update(memory.waiting.make_contiguous(), Ahead::Policy);
            memory.waiting.pop_front();
        }
    }

    fn flush(&mut self, memory: &mut Memory) {
        while !memory.waiting.is_empty() {
            self.update(memory.waiting.make_contiguous(), Ahead::Policy);
            memory.waiting.pop_front();
        }
    }

    /// Updates the pair of the first of `steps`.
    fn update(&mut self, steps: &[Move], ahead: Ahead) {
        let gamma = self.config.gamma;
        let target = match self.config.algorithm {
            TabularAlgorithm::TreeBackup => tree_target(steps, EpsilonGreedy::GREEDY, &self.table, gamma),
            TabularAlgorithm::QLearning => sum_target(steps, ahead, EpsilonGreedy::GREEDY, &self.table, gamma),
            _ => sum_target(steps, ahead, self.policy(), &self.table, gamma),
        };
        if let Some(first) = steps.first() {
            let (cell, alpha) = self.visit(first);
            let error = target - self.table.values()[cell];
            self.table.add(cell, alpha * error);
            self.count(error);
        }
    }

    /// van Hasselt (2010), algorithm 1: the table to be updated names the best action, the other one evaluates it.
    fn double_update(&mut self, step: &Move) {
        let (cell, alpha) = self.visit(step);
        let Some(other) = &mut self.other else { return };
        let (chosen, judge) = if self.coin.below(2) == 0 { (&mut self.table, other) } else { (other, &mut self.table) };
        let best = argmax(&chosen.legal_row(step.next_state, &step.next_legal));
        let value = if step.status == Status::Terminated { 0.0 } else { judge.get(step.next_state, best) };
        let error = step.reward + self.config.gamma * value - chosen.values()[cell];
        chosen.add(cell, alpha * error);
        self.count(error);
    }

    /// The action of this step tells what the waiting one leads to, and whether the trace goes on.
    fn traced(&mut self, memory: &mut Memory, step: Move) {
        if let Some(waiting) = memory.waiting.pop_front() {
            self.trace_update(memory, &waiting, Some(step.action));
        }
        if step.status.is_over() {
            self.trace_update(memory, &step, None);
        } else {
            memory.waiting.push_back(step);
        }
    }

    fn trace_update(&mut self, memory: &mut Memory, step: &Move, next_action: Option<u32>) {
        let TabularConfig { gamma, lambda, trace: kind, .. } = self.config;
        let row = self.table.legal_row(step.next_state, &step.next_legal);
        let off_policy = self.config.algorithm == TabularAlgorithm::QLambda;
        let (value, goes_on) = match next_action {
            _ if step.status == Status::Terminated => (0.0, false),
            Some(action) if off_policy => (max(&row), self.table.is_greedy(step.next_state, &step.next_legal, action)),
            Some(action) => (row[action as usize], true),
            None if off_policy => (max(&row), false),
            None => (self.policy().value(&row), false),
        };
        let (cell, alpha) = self.visit(step);
        let decay = if goes_on { gamma * lambda } else { 0.0 };
        let target = step.reward + gamma * value;
        let error = TraceUpdate { cell, target, value, alpha, decay, kind }.apply(&mut self.table, memory);
        self.count(error);
    }

    /// The cell of a pair and the step size of its next update.
    fn visit(&mut self, step: &Move) -> (usize, f64) {
        let cell = self.table.cell(step.state, step.action);
        let Some(visits) = self.visits.get_mut(cell) else { return (cell, self.round.learning_rate) };
        *visits = visits.saturating_add(1);
        (cell, self.round.learning_rate / f64::from(*visits).powf(self.config.visit_exponent))
    }

    fn count(&mut self, error: f64) {
        self.round.td_error += error.abs();
        self.round.updates += 1;
        self.ledger.updates += 1;
    }

    /// Learns from the moves of a round, each with its env slot, in the order of the slots.
    pub(super) fn take_in(&mut self, env_steps: u64, moves: impl Iterator<Item = (usize, Move)>) -> Result<Metrics> {
        self.round = RoundTotals {
            epsilon: self.config.epsilon.at(self.ledger.env_steps),
            learning_rate: self.config.learning_rate.at(self.ledger.env_steps),
            ..RoundTotals::default()
        };
        self.ledger.env_steps += env_steps;
        for (slot, step) in moves {
            self.require_known(&step)?;
            self.observe(slot, step)?;
        }
        let mean = self.round.td_error / self.round.updates.max(1) as f64;
        Ok(Metrics::from([
            ("td_error".to_owned(), mean),
            ("epsilon".to_owned(), self.round.epsilon),
            ("learning_rate".to_owned(), self.round.learning_rate),
            ("updates".to_owned(), self.ledger.updates as f64),
        ]))
    }

    fn require_finite(&self, step: &Move) -> Result<()> {
        // Every value that is not finite makes the error of the update that made it so not finite.
        if self.round.td_error.is_finite() {
            return Ok(());
        }
        Err(Error::NonFinite { name: "q".to_owned(), update: self.ledger.updates, detail: format!("after {step:?}") })
    }

    fn require_known(&self, step: &Move) -> Result<()> {
        let (states, actions) = self.table.shape();
        let known = |state: u32| (state as usize) < states;
        let fits = |legal: &[bool]| legal.is_empty() || (legal.len() == actions && legal.contains(&true));
        let masks = fits(&step.legal) && fits(&step.next_legal);
        if known(step.state) && known(step.next_state) && (step.action as usize) < actions && masks {
            return Ok(());
        }
        Err(Error::State(format!("{step:?} in a table of {states} states and {actions} actions")))
    }
}

fn shape(spec: &EnvSpec) -> Result<(usize, usize)> {
    match (&spec.obs, &spec.action) {
        (ObsSpec::Discrete { n }, ActionSpec::Discrete { n: actions }) => Ok((*n, *actions)),
        _ => Err(Error::config("env", &spec.id, "expected numbered states and actions for a tabular agent")),
    }
}

impl Learner<u32, u32> for TabularLearner {
    fn snapshot(&mut self, _texts: &[TextId]) -> Result<Arc<Snapshot>> {
        let epsilon = self.config.epsilon.at(self.ledger.env_steps) as f32;
        let params = BTreeMap::from([
            (Q.to_owned(), self.acting_values().published()?),
            (EPSILON.to_owned(), Tensor::new(epsilon, &Device::Cpu)?),
        ]);
        let checksum = checksum(params.iter().map(|(n, t)| (n.as_str(), t)))?;
        if checksum != self.published.1 {
            self.published = (self.published.0 + 1, checksum.clone());
        }
        Ok(Arc::new(Snapshot { version: self.published.0, checksum, params, features: None }))
    }

    fn learn(&mut self, rollout: Rollout<u32, u32>, stop: &Stop) -> Result<Metrics> {
        stop.check()?;
        let moves = rollout.segments.iter().flat_map(|s| s.steps.iter().map(|step| (s.env, Move::from(step))));
        self.take_in(rollout.env_steps() as u64, moves)
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }

    fn trainable_parameters(&self) -> usize {
        self.table.values().len() * if self.other.is_some() { 2 } else { 1 }
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.table.save(state, format!("{prefix}q"))?;
        if let Some(other) = &self.other {
            other.save(state, format!("{prefix}q_other"))?;
        }
        state.put_u32s(format!("{prefix}visits"), &self.visits);
        let saved = Saved {
            config: self.config.clone(),
            shape: self.table.shape(),
            memories: self.memories.clone(),
            coin: self.coin.clone(),
            ledger: self.ledger,
            published: self.published.clone(),
        };
        state.put(format!("{prefix}tabular"), &saved)
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let saved: Saved = state.get(&format!("{prefix}tabular"))?;
        let shape = self.table.shape();
        if saved.config != self.config || saved.shape != shape {
            return Err(Error::State(format!(
                "the state belongs to a tabular agent with {:?} and {:?} (states, actions), this one has {:?} and {shape:?}",
                saved.config, saved.shape, self.config
            )));
        }
        let table = self.table.restored(state, &format!("{prefix}q"))?;
        let other = self.other.as_ref().map(|other| other.restored(state, &format!("{prefix}q_other"))).transpose()?;
        let visits = state.u32s(&format!("{prefix}visits"))?;
        if visits.len() != self.visits.len() {
            let (found, expected) = (visits.len(), self.visits.len());
            return Err(Error::State(format!("{prefix}visits has {found} entries, expected {expected}")));
        }
        (self.table, self.other, self.visits) = (table, other, visits);
        (self.memories, self.coin, self.ledger, self.published) =
            (saved.memories, saved.coin, saved.ledger, saved.published);
        Ok(())
    }
}
