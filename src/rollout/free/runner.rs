//! The runner whose actor threads do not wait for the learner.

use super::super::config::RunnerConfig;
use super::super::patience::Patience;
use super::super::record::EpisodeRecord;
use super::super::runner::{common_spec, make_shards};
use super::super::shard::{Shard, ShardRound, ShardState};
use super::lag::LagHistogram;
use super::worker::{Delivery, Order, Worker};
use crate::agent::{Actor, Rollout, Snapshot, Stop};
use crate::env::{Env, EnvSpec};
use crate::persist::StateDict;
use crate::rng::Seed;
use crate::{Error, Result};
use crossbeam::channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What free-running adds to the settings of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeConfig {
    /// Most rounds of learning by which the parameters that acted may be behind when the learner takes a transition
    /// in. An actor that would exceed it waits: nothing is dropped. 0 makes actors and learner take turns.
    pub max_lag: u64,
    /// Rounds there are in all; actors play no further, so that nothing is left over at the end.
    pub rounds: u64,
}

/// Which parameters acted in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Env slot of the segment.
    pub env: usize,
    /// Version of the parameters behind every transition of it.
    pub version: u64,
    /// Their checksum.
    pub checksum: String,
    /// Rounds of learning that they lacked when the segment was handed over.
    pub lag: u64,
}

/// One round of every env slot, with the parameters that played it.
#[derive(Debug)]
pub struct FreeRound<O, A> {
    /// Transitions in slot order. Its version is the oldest that acted.
    pub rollout: Rollout<O, A>,
    /// One for each segment, in the same order.
    pub origins: Vec<Origin>,
    /// Episodes that ended, as in [`super::super::Round`].
    pub records: Vec<EpisodeRecord>,
    /// Policy lag of the transitions of this round.
    pub lags: LagHistogram,
    /// Shards that had to wait for newer parameters before they could play it.
    pub refused: usize,
}

/// Plays rounds of experience in threads that go on while the learner learns.
///
/// ```text
///                      Order::{Params { generation, Arc<Snapshot> }, Halt}
///   FreeRunner::collect ───────── bounded channel per thread ─────────▶ actor threads, each with its own shards
///            ▲                                                                     │
///            └───────────────────── one bounded channel ───────────────────────────┘
///                  Delivery::{Round { generation, ShardRound }, Home { shards }, Failed}
/// ```
///
/// Every thread plays its shards round after round with the newest parameters it has heard of, as far as the lag limit
/// allows. [`FreeRunner::collect`] publishes parameters and returns the next round once every shard has delivered it,
/// so a slot's transitions stay in order and without gaps, and each is handed over exactly once. Which parameters
/// played a round depends on timing; everything else is as in [`super::super::Runner`].
///
/// A transition is at most [`FreeConfig::max_lag`] rounds of learning behind, because round `r` is not begun with
/// parameters older than those after round `r − max_lag`. So at most `max_lag + 1` rounds are waiting at any time, and
/// that is also the room in the channel. Shutdown is dropping the runner: the channels close, the threads end after
/// the round they are playing and are joined. Nobody polls; waiting is blocking on a channel.
pub struct FreeRunner<E: Env> {
    config: RunnerConfig,
    free: FreeConfig,
    spec: EnvSpec,
    seed: Seed,
    stop: Stop,
    /// Rounds handed over so far, which is also the generation of the next parameters.
    round: u64,
    /// Shards at home, in shard order; empty while threads are out.
    shards: Vec<Shard<E>>,
    threads: Option<Threads<E>>,
    /// Rounds delivered and not yet handed over, `[num_shards]` of rounds in order, by round.
    waiting: BTreeMap<u64, Vec<Option<Delivered<E>>>>,
    /// Version and checksum of the generations that may still act.
    published: BTreeMap<u64, (u64, String)>,
    patience: Patience,
    broken: bool,
}

struct Delivered<E: Env> {
    generation: u64,
    waited: bool,
    played: ShardRound<E::Obs, E::Action>,
}

struct Threads<E: Env> {
    /// One per thread.
    orders: Vec<Sender<Order>>,
    deliveries: Option<Receiver<Delivery<E>>>,
    handles: Vec<JoinHandle<()>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FreeState {
    env: String,
    num_envs: usize,
    shard_size: usize,
    steps_per_round: usize,
    seed: Seed,
    round: u64,
}

impl<E: Env + 'static> FreeRunner<E> {
    /// Builds all environments and one actor per shard. The threads, `config.actors` of them, start with the first
    /// round.
    ///
    /// # Errors
    /// If a setting is out of range (`actors` must be at least 1), or an environment or an actor cannot be made.
    pub fn new(
        make_env: impl FnMut(usize) -> Result<E>,
        make_actor: impl FnMut() -> Result<Box<dyn Actor<E::Obs, E::Action>>>,
        config: &RunnerConfig,
        free: FreeConfig,
        seed: Seed,
        stop: &Stop,
    ) -> Result<Self> {
        config.validate()?;
        if config.actors == 0 {
            return Err(Error::config("actors", 0, "expected at least 1: free-running needs actor threads"));
        }
        let shards = make_shards(make_env, make_actor, config, seed)?;
        let spec = common_spec(&shards)?;
        Ok(Self {
            config: config.clone(),
            free,
            spec,
            seed,
            stop: stop.clone(),
            round: 0,
            shards,
            threads: None,
            waiting: BTreeMap::new(),
            published: BTreeMap::new(),
            patience: Patience::default(),
            broken: false,
        })
    }

    /// What all env slots have in common.
    #[must_use]
    pub fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// Rounds handed over so far.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.round
    }

    /// Publishes `snapshot` and returns the next round as soon as every shard has played it.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after a request to stop; [`Error::Actor`] with what an actor thread failed of, a panic
    /// with its backtrace; [`Error::State`] past the last round. After an error the runner is of no further use.
    pub fn collect(&mut self, snapshot: &Arc<Snapshot>) -> Result<FreeRound<E::Obs, E::Action>> {
        if self.broken || self.round >= self.free.rounds {
            let what = if self.broken { "has failed" } else { "has played all its rounds" };
            return Err(Error::State(format!("a free-running runner {what} (round {})", self.round)));
        }
        self.broken = true;
        self.stop.check()?;
        self.publish(snapshot)?;
        while !self.is_complete(self.round) {
            let delivery = self.next_delivery()?;
            self.take(delivery)?;
        }
        let round = self.hand_over()?;
        self.broken = false;
        Ok(round)
    }

    /// Rounds that are complete and can be had from [`FreeRunner::collect`] without any thread.
    #[must_use]
    pub fn buffered(&self) -> usize {
        (self.round..).take_while(|&round| self.is_complete(round)).count()
    }

    /// Lets the threads finish what the parameters so far allow, brings the shards home and ends the threads. What was
    /// played stays to be collected: the runner can be saved once [`FreeRunner::buffered`] is 0. Collecting beyond that
    /// starts new threads.
    ///
    /// # Errors
    /// As [`FreeRunner::collect`].
    pub fn settle(&mut self) -> Result<()> {
        let Some(threads) = &self.threads else { return Ok(()) };
        // No thread can have begun a round beyond this with the parameters published so far, and every thread may
        // play all the rounds before it.
        let newest = self.published.keys().next_back().copied().unwrap_or(self.round);
        let halt = Order::Halt { round: newest + self.free.max_lag + 1 };
        for orders in &threads.orders {
            // A thread that has played everything, or has failed, is gone; its last delivery says which.
            orders.send(halt.clone()).unwrap_or_default();
        }
        self.broken = true;
        while self.shards.len() < self.config.num_shards() {
            let delivery = self.next_delivery()?;
            self.take(delivery)?;
        }
        self.threads = None;
        self.shards.sort_by_key(Shard::number);
        self.broken = false;
        Ok(())
    }

    /// Puts the complete state into `state`, under names that begin with `prefix`.
    ///
    /// # Errors
    /// If threads are out or rounds are waiting ([`FreeRunner::settle`] and collect first), or an environment cannot
    /// save itself.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        if self.broken || self.threads.is_some() || !self.waiting.is_empty() {
            return Err(Error::State("a free-running runner can be saved only when it has settled".to_owned()));
        }
        let shards = self.shards.iter().map(Shard::save).collect::<Result<Vec<ShardState>>>()?;
        state.put(format!("{prefix}free_runner"), &self.header())?;
        state.put(format!("{prefix}shards"), &shards)
    }

    /// Continues from a saved state: no transition is lost or repeated. The number of threads and the lag limit may
    /// differ, everything else must agree.
    ///
    /// # Errors
    /// [`Error::State`] if the state belongs to another environment, seed or setting, or this runner has begun.
    pub fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        if self.threads.is_some() || self.broken || !self.waiting.is_empty() {
            return Err(Error::State("a state can be loaded only into a runner that has not begun".to_owned()));
        }
        let header: FreeState = state.get(&format!("{prefix}free_runner"))?;
        let expected = FreeState { round: header.round, ..self.header() };
        if header != expected {
            return Err(Error::State(format!("the state was saved with {header:?}, this runner has {expected:?}")));
        }
        let shards: Vec<ShardState> = state.get(&format!("{prefix}shards"))?;
        if shards.len() != self.shards.len() {
            let (found, expected) = (shards.len(), self.shards.len());
            return Err(Error::State(format!("the state has {found} shards, this runner {expected}")));
        }
        self.broken = true;
        for (shard, saved) in self.shards.iter_mut().zip(&shards) {
            shard.restore(saved)?;
        }
        self.round = header.round;
        self.broken = false;
        Ok(())
    }

    fn header(&self) -> FreeState {
        FreeState {
            env: self.spec.id.clone(),
            num_envs: self.config.num_envs,
            shard_size: self.config.shard_size,
            steps_per_round: self.config.steps_per_round,
            seed: self.seed,
            round: self.round,
        }
    }

    /// Tells every thread of new parameters; starts the threads where none are out and there is something to play.
    fn publish(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        self.published.insert(self.round, (snapshot.version, snapshot.checksum.clone()));
        let oldest = self.round.saturating_sub(self.free.max_lag);
        self.published.retain(|&generation, _| generation >= oldest);
        if self.threads.is_none() && !self.is_complete(self.round) {
            self.start()?;
        }
        for orders in self.threads.iter().flat_map(|t| &t.orders) {
            let order = Order::Params { generation: self.round, snapshot: Arc::clone(snapshot) };
            // A thread that has played everything is gone, one that failed has said so.
            orders.send(order).unwrap_or_default();
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let rounds_waiting = usize::try_from(self.free.max_lag).unwrap_or(usize::MAX).saturating_add(1);
        let actors = self.config.actors;
        // One message per shard and round, and the last word of every thread.
        let room = self.config.num_shards().saturating_mul(rounds_waiting).saturating_add(actors);
        let (outbox, deliveries) = bounded(room);
        let mut threads = Threads { orders: Vec::new(), deliveries: Some(deliveries), handles: Vec::new() };
        let mut shares: Vec<Vec<Shard<E>>> = (0..actors).map(|_| Vec::new()).collect();
        for (index, shard) in std::mem::take(&mut self.shards).into_iter().enumerate() {
            shares[index % actors].push(shard);
        }
        for (thread, shards) in shares.into_iter().enumerate() {
            // A thread is never more than this many parameters behind, so telling it of new ones never blocks.
            let (orders, inbox) = bounded(rounds_waiting.saturating_add(2));
            let worker = Worker {
                thread,
                shards,
                steps: self.config.steps_per_round,
                round: self.round,
                rounds: self.free.rounds,
                max_lag: self.free.max_lag,
                stop: self.stop.clone(),
                orders: inbox,
                deliveries: outbox.clone(),
            };
            let handle = std::thread::Builder::new()
                .name(format!("actor-{thread}"))
                .spawn(move || worker.run())
                .map_err(|e| Error::Actor { actor: thread, message: format!("cannot start: {e}") })?;
            threads.orders.push(orders);
            threads.handles.push(handle);
        }
        self.threads = Some(threads);
        Ok(())
    }

    fn next_delivery(&self) -> Result<Delivery<E>> {
        let gone = || Error::Actor { actor: 0, message: "all actor threads have ended".to_owned() };
        let deliveries = self.threads.as_ref().and_then(|t| t.deliveries.as_ref()).ok_or_else(gone)?;
        let missing = || {
            let row = self.waiting.get(&self.round);
            (0..self.config.num_shards()).filter(|&shard| row.is_none_or(|row| row[shard].is_none())).collect()
        };
        self.patience.receive(deliveries, missing).map_err(|_| gone())
    }

    fn take(&mut self, delivery: Delivery<E>) -> Result<()> {
        match delivery {
            Delivery::Round { shard, round, generation, waited, played } => {
                self.require_published(shard, generation, &played)?;
                let shards = self.config.num_shards();
                let row = self.waiting.entry(round).or_insert_with(|| (0..shards).map(|_| None).collect());
                row[shard] = Some(Delivered { generation, waited, played });
                Ok(())
            }
            Delivery::Home { shards } => {
                self.shards.extend(shards);
                Ok(())
            }
            Delivery::Failed { thread, error } => Err(match error {
                Error::Interrupted => Error::Interrupted,
                Error::Actor { message, .. } => Error::Actor { actor: thread, message },
                other => Error::Actor { actor: thread, message: other.to_string() },
            }),
        }
    }

    /// That a shard acted with the parameters that were published under this generation.
    fn require_published(&self, shard: usize, generation: u64, played: &ShardRound<E::Obs, E::Action>) -> Result<()> {
        match self.published.get(&generation) {
            Some((version, checksum)) if (*version, checksum) == (played.version, &played.checksum) => Ok(()),
            known => Err(Error::State(format!(
                "shard {shard} acted with parameters version {} ({}), published as generation {generation} was {known:?}",
                played.version, played.checksum
            ))),
        }
    }

    fn is_complete(&self, round: u64) -> bool {
        self.waiting.get(&round).is_some_and(|row| row.iter().all(Option::is_some))
    }

    /// The next round in slot order, with what is known of it.
    fn hand_over(&mut self) -> Result<FreeRound<E::Obs, E::Action>> {
        let row = self.waiting.remove(&self.round).unwrap_or_default();
        let rollout = Rollout { round: self.round, version: u64::MAX, segments: Vec::new() };
        let mut round =
            FreeRound { rollout, origins: Vec::new(), records: Vec::new(), lags: LagHistogram::default(), refused: 0 };
        for Delivered { generation, waited, played } in row.into_iter().flatten() {
            let lag = self.round - generation;
            if lag > self.free.max_lag {
                return Err(Error::State(format!("policy lag {lag} is beyond max_lag = {}", self.free.max_lag)));
            }
            round.refused += usize::from(waited);
            round.rollout.version = round.rollout.version.min(played.version);
            for segment in played.segments {
                round.lags.add(lag, segment.steps.len() as u64);
                let (version, checksum) = (played.version, played.checksum.clone());
                round.origins.push(Origin { env: segment.env, version, checksum, lag });
                round.rollout.segments.push(segment);
            }
            round.records.extend(played.records);
        }
        round.records.sort_by_key(|r| r.slot_steps);
        self.round += 1;
        Ok(round)
    }
}

impl<E: Env> Drop for Threads<E> {
    fn drop(&mut self) {
        // Whoever waits for orders or for room in the channel finds it closed.
        self.deliveries = None;
        self.orders.clear();
        for handle in self.handles.drain(..) {
            let name = handle.thread().name().unwrap_or("actor").to_owned();
            // Panics of actors and environments are caught and delivered; this would be one of the loop itself.
            if handle.join().is_err() {
                tracing::error!("{name} ended with a panic outside of any round");
            }
        }
    }
}
