//! The actor threads.

use super::panics::catch_panic;
use super::patience::Patience;
use super::shard::{Shard, ShardRound};
use crate::agent::{Snapshot, Stop};
use crate::env::Env;
use crate::{Error, Result};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::thread::JoinHandle;

/// What an actor thread is asked for.
enum Job<E: Env> {
    /// Play one round in this shard and give it back.
    Collect { shard: Shard<E>, snapshot: Arc<Snapshot>, steps: usize, stop: Stop },
}

/// What an actor thread answers, exactly once per job.
enum Report<E: Env> {
    /// The round, and the shard between two rounds again.
    Collected { shard: Shard<E>, round: ShardRound<E::Obs, E::Action> },
    /// The shard could not finish; it is in the middle of a round.
    Failed { thread: usize, shard: Shard<E>, error: Error },
    /// Code of the actor or of an environment panicked; the shard is lost.
    Panicked { thread: usize, shard: usize, message: String },
}

/// Result of one shard, and the shard itself unless a panic took it.
pub(super) struct Returned<E: Env> {
    pub shard: Option<Shard<E>>,
    pub outcome: Result<ShardRound<E::Obs, E::Action>>,
}

/// Actor threads that play shards.
///
/// Shards travel, threads own nothing between two rounds: whichever thread is free takes the next shard, so a slow
/// shard holds up no other, and saving needs no thread, because all state is at home then.
///
/// ```text
///                    Job::Collect { Shard, Arc<Snapshot> }
///   Pool::collect ───────────── bounded channel ─────────────▶ actor threads 0 … n − 1
///         ▲                                                              │
///         └──────────────────── bounded channel ─────────────────────────┘
///              Report::{Collected { Shard, ShardRound }, Failed, Panicked}
/// ```
///
/// Both channels hold one message per shard, so with the one job and one report per shard and round neither side ever
/// has to wait for room. Dropping the pool drops the job channel, which ends the threads, and joins them.
pub(super) struct Pool<E: Env> {
    /// `None` only while the pool is being dropped.
    jobs: Option<Sender<Job<E>>>,
    reports: Receiver<Report<E>>,
    patience: Patience,
    threads: Vec<JoinHandle<()>>,
}

impl<E: Env + 'static> Pool<E> {
    /// Starts `actors` threads for `num_shards` shards.
    pub fn new(actors: usize, num_shards: usize) -> Result<Self> {
        let (jobs, inbox) = bounded::<Job<E>>(num_shards);
        let (outbox, reports) = bounded::<Report<E>>(num_shards);
        let threads = Vec::with_capacity(actors);
        let mut pool = Self { jobs: Some(jobs), reports, patience: Patience::default(), threads };
        for thread in 0..actors {
            let (inbox, outbox) = (inbox.clone(), outbox.clone());
            let handle = std::thread::Builder::new()
                .name(format!("actor-{thread}"))
                .spawn(move || work(thread, &inbox, &outbox))
                .map_err(|e| Error::Actor { actor: thread, message: format!("cannot start: {e}") })?;
            pool.threads.push(handle);
        }
        Ok(pool)
    }

    /// Plays one round in every shard and returns when all of them are back, in shard order.
    pub fn collect(
        &self,
        shards: Vec<Shard<E>>,
        snapshot: &Arc<Snapshot>,
        steps: usize,
        stop: &Stop,
    ) -> Result<Vec<Returned<E>>> {
        let gone = || Error::Actor { actor: 0, message: "all actor threads have ended".to_owned() };
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        let mut returned: Vec<Option<Returned<E>>> = shards.iter().map(|_| None).collect();
        for shard in shards {
            let job = Job::Collect { shard, snapshot: Arc::clone(snapshot), steps, stop: stop.clone() };
            jobs.send(job).map_err(|_| gone())?;
        }
        for _ in 0..returned.len() {
            let missing = || (0..returned.len()).filter(|&shard| returned[shard].is_none()).collect();
            let report = self.patience.receive(&self.reports, missing).map_err(|_| gone())?;
            let (number, result) = report.into_returned();
            returned[number] = Some(result);
        }
        returned.into_iter().map(|r| r.ok_or_else(gone)).collect()
    }
}

impl<E: Env> Report<E> {
    /// Number of the shard and what became of it.
    fn into_returned(self) -> (usize, Returned<E>) {
        match self {
            Self::Collected { shard, round } => (shard.number(), Returned { shard: Some(shard), outcome: Ok(round) }),
            Self::Failed { thread, shard, error } => {
                let outcome = Err(match error {
                    Error::Interrupted => Error::Interrupted,
                    other => Error::Actor { actor: thread, message: other.to_string() },
                });
                (shard.number(), Returned { shard: Some(shard), outcome })
            }
            Self::Panicked { thread, shard, message } => {
                let error = Error::Actor { actor: thread, message };
                (shard, Returned { shard: None, outcome: Err(error) })
            }
        }
    }
}

impl<E: Env> Drop for Pool<E> {
    fn drop(&mut self) {
        self.jobs = None;
        for handle in self.threads.drain(..) {
            let name = handle.thread().name().unwrap_or("actor").to_owned();
            // Panics of actors and environments are caught and reported; this would be one of the loop itself.
            if handle.join().is_err() {
                tracing::error!("{name} ended with a panic outside of any job");
            }
        }
    }
}

/// Body of an actor thread: until the job channel is closed, or nobody listens any more.
fn work<E: Env>(thread: usize, jobs: &Receiver<Job<E>>, reports: &Sender<Report<E>>) {
    for job in jobs {
        let Job::Collect { shard, snapshot, steps, stop } = job;
        if reports.send(play(thread, shard, &snapshot, steps, &stop)).is_err() {
            return;
        }
    }
}

fn play<E: Env>(thread: usize, mut shard: Shard<E>, snapshot: &Arc<Snapshot>, steps: usize, stop: &Stop) -> Report<E> {
    let number = shard.number();
    // Unwind safety: after a panic nobody sees the shard again; the snapshot is immutable.
    let played = catch_panic(move || {
        let outcome = shard.collect(snapshot, steps, stop);
        (shard, outcome)
    });
    match played {
        Ok((shard, Ok(round))) => Report::Collected { shard, round },
        Ok((shard, Err(error))) => Report::Failed { thread, shard, error },
        Err(message) => Report::Panicked { thread, shard: number, message },
    }
}
