//! The threads of a free-running runner.

use super::super::panics::catch_panic;
use super::super::shard::{Shard, ShardRound};
use crate::agent::{Snapshot, Stop};
use crate::env::Env;
use crate::{Error, Result};
use crossbeam::channel::{Receiver, Sender, TryRecvError};
use std::sync::Arc;

/// What the runner tells an actor thread. Closing the channel ends the thread after the round it is playing.
#[derive(Clone)]
pub(super) enum Order {
    /// Act with these parameters from the next round on. Generation `g` are the parameters after `g` rounds of
    /// learning.
    Params { generation: u64, snapshot: Arc<Snapshot> },
    /// Play the rounds before this one, then bring the shards home.
    Halt { round: u64 },
}

/// What an actor thread tells the runner.
pub(super) enum Delivery<E: Env> {
    /// One round of one shard.
    Round { shard: usize, round: u64, generation: u64, waited: bool, played: ShardRound<E::Obs, E::Action> },
    /// The thread has ended; its shards are between two rounds.
    Home { shards: Vec<Shard<E>> },
    /// A shard could not finish; the thread has ended.
    Failed { thread: usize, error: Error },
}

/// An actor thread: its shards, and what it may do.
pub(super) struct Worker<E: Env> {
    pub thread: usize,
    pub shards: Vec<Shard<E>>,
    /// Env steps of every slot in one round.
    pub steps: usize,
    /// The round it begins with.
    pub round: u64,
    /// Rounds there are in all.
    pub rounds: u64,
    /// A round may be begun with parameters at most this many generations older than the newest that the learner can
    /// have published by the time it takes the round in.
    pub max_lag: u64,
    pub stop: Stop,
    pub orders: Receiver<Order>,
    pub deliveries: Sender<Delivery<E>>,
}

/// What a worker knows of the runner's wishes.
struct Wishes {
    /// Newest parameters.
    params: Option<(u64, Arc<Snapshot>)>,
    /// The round to stop before.
    halt: u64,
}

/// Whether a round may be played.
enum Permission {
    /// With these parameters; whether that took waiting.
    Play { generation: u64, snapshot: Arc<Snapshot>, waited: bool },
    /// No: it lies beyond the round to stop before. Every shard has played as many rounds then, because a round that
    /// is begun is never beyond.
    Halt,
    /// The runner is gone.
    Gone,
}

impl<E: Env> Worker<E> {
    /// Plays until there is nothing left to do, the runner is gone, or something fails.
    pub fn run(mut self) {
        let thread = self.thread;
        let deliveries = self.deliveries.clone();
        let last = match catch_panic(|| self.play()) {
            Ok(Ok(true)) => Delivery::Home { shards: self.shards },
            // The runner is gone; nobody listens.
            Ok(Ok(false)) => return,
            Ok(Err(error)) => Delivery::Failed { thread, error },
            Err(message) => Delivery::Failed { thread, error: Error::Actor { actor: thread, message } },
        };
        // If the runner has gone in the meantime, nobody needs to know.
        deliveries.send(last).unwrap_or_default();
    }

    /// All rounds of all shards; whether the runner still wants the shards back.
    fn play(&mut self) -> Result<bool> {
        let mut wishes = Wishes { params: None, halt: self.rounds };
        while self.round < wishes.halt {
            for index in 0..self.shards.len() {
                let (generation, snapshot, waited) = match self.permission(&mut wishes) {
                    Permission::Play { generation, snapshot, waited } => (generation, snapshot, waited),
                    Permission::Halt => return Ok(true),
                    Permission::Gone => return Ok(false),
                };
                let shard = &mut self.shards[index];
                let played = shard.collect(&snapshot, self.steps, &self.stop)?;
                let delivery = Delivery::Round { shard: shard.number(), round: self.round, generation, waited, played };
                // Waits while the channel is full: a learner that cannot keep up slows the actors down.
                if self.deliveries.send(delivery).is_err() {
                    return Ok(false);
                }
            }
            self.round += 1;
            if !self.hear(&mut wishes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until the round may be played, or is not to be played any more.
    fn permission(&self, wishes: &mut Wishes) -> Permission {
        let mut waited = false;
        loop {
            if !self.hear(wishes) {
                return Permission::Gone;
            }
            if self.round >= wishes.halt {
                return Permission::Halt;
            }
            if let Some((generation, snapshot)) = &wishes.params
                && self.round <= generation + self.max_lag
            {
                return Permission::Play { generation: *generation, snapshot: Arc::clone(snapshot), waited };
            }
            waited = true;
            match self.orders.recv() {
                Ok(order) => wishes.take(order, self.rounds),
                Err(_) => return Permission::Gone,
            }
        }
    }

    /// Takes in the orders that are there; whether the runner is still there.
    fn hear(&self, wishes: &mut Wishes) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(order) => wishes.take(order, self.rounds),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }
}

impl Wishes {
    fn take(&mut self, order: Order, rounds: u64) {
        match order {
            Order::Params { generation, snapshot } => self.params = Some((generation, snapshot)),
            Order::Halt { round } => self.halt = round.min(rounds),
        }
    }
}
