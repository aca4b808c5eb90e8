//! Trials over a pool of worker threads.
//!
//! ```text
//! run_trials ── TrialId ──▶ worker 1..jobs ── TrialOutcome ──▶ slots in the order of the trials
//! ```
//!
//! A trial's result depends on its arm and seed alone, never on the worker that ran it or on what ran before.

use crate::arms::Arm;
use anyhow::{Context, Result};
use retune::Error;
use retune::agent::Stop;
use retune::rollout::catch_panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stack of a worker. The walk over a tensor graph is recursive; the graphs of a deep encoder over a long minibatch
/// need more than the default two megabytes.
const STACK_BYTES: usize = 64 << 20;

/// One arm with one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialId {
    /// What is trained.
    pub arm: Arm,
    /// Number of the seed, from 0.
    pub seed: u64,
}

impl TrialId {
    /// All trials of a study, seed by seed: an interrupted study has all arms on its first seeds.
    #[must_use]
    pub fn all(arms: &[Arm], seeds: u64) -> Vec<Self> {
        (0..seeds).flat_map(|seed| arms.iter().map(move |&arm| Self { arm, seed })).collect()
    }
}

impl std::fmt::Display for TrialId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} seed {}", self.arm, self.seed)
    }
}

/// How a trial ended.
#[derive(Debug)]
pub enum TrialOutcome<T> {
    /// With a result.
    Done(T),
    /// With an error or a panic, which it does not share with the others.
    Failed(String),
    /// Not at all: somebody asked to stop before it could end, or before it began.
    Interrupted,
}

/// Runs `work` on every trial, `jobs` at a time, and returns the outcomes in the order of `trials`.
///
/// # Errors
/// If a worker thread cannot be started.
pub fn run_trials<T: Send>(
    trials: &[TrialId],
    jobs: usize,
    stop: &Stop,
    work: impl Fn(&TrialId) -> retune::Result<T> + Sync,
) -> Result<Vec<TrialOutcome<T>>> {
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<TrialOutcome<T>>> = trials.iter().map(|_| Mutex::new(TrialOutcome::Interrupted)).collect();
    let worker = || {
        while !stop.is_requested() {
            let index = next.fetch_add(1, Ordering::SeqCst);
            let Some(trial) = trials.get(index) else { break };
            let outcome = run_one(trial, &work);
            *slots[index].lock().expect("a slot is locked only to store an outcome") = outcome;
        }
    };
    std::thread::scope(|scope| -> Result<()> {
        for number in 0..jobs.clamp(1, trials.len().max(1)) {
            std::thread::Builder::new()
                .name(format!("trial-{number}"))
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, worker)
                .context("cannot start a worker thread")?;
        }
        Ok(())
    })?;
    Ok(slots.into_iter().map(|slot| slot.into_inner().expect("the workers have ended")).collect())
}

fn run_one<T>(trial: &TrialId, work: &impl Fn(&TrialId) -> retune::Result<T>) -> TrialOutcome<T> {
    match catch_panic(|| work(trial)) {
        Ok(Ok(result)) => TrialOutcome::Done(result),
        Ok(Err(Error::Interrupted)) => TrialOutcome::Interrupted,
        Ok(Err(error)) => TrialOutcome::Failed(error.to_string()),
        Err(panic) => TrialOutcome::Failed(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arms::Algorithm;
    use std::sync::Barrier;

    fn trials() -> Vec<TrialId> {
        let arms = [Algorithm::reference("random", "r"), Algorithm::rl("sarsa", "s")].map(Arm::plain);
        TrialId::all(&arms, 2)
    }

    #[test]
    fn outcomes_come_in_the_order_of_the_trials_and_a_failure_stays_alone() {
        for jobs in [1, 4] {
            let outcomes = run_trials(&trials(), jobs, &Stop::new(), |t| match (t.arm.algorithm.name, t.seed) {
                ("sarsa", 0) => Err(Error::State("broken".into())),
                ("sarsa", _) => panic!("very broken"),
                (_, seed) => Ok(seed),
            })
            .expect("runs");
            assert!(matches!(outcomes[0], TrialOutcome::Done(0)), "{outcomes:?}");
            assert!(matches!(&outcomes[1], TrialOutcome::Failed(e) if e.contains("broken")));
            assert!(matches!(outcomes[2], TrialOutcome::Done(1)));
            assert!(matches!(&outcomes[3], TrialOutcome::Failed(e) if e.starts_with("panicked: very broken at ")));
        }
    }

    #[test]
    fn jobs_run_side_by_side() {
        // Each of the four trials waits for the three others, which can only end if four workers run.
        let barrier = Barrier::new(4);
        let outcomes = run_trials(&trials(), 4, &Stop::new(), |_| {
            barrier.wait();
            Ok(())
        });
        assert_eq!(outcomes.expect("runs").len(), 4);
    }

    #[test]
    fn nothing_begins_after_a_request_to_stop() {
        let stop = Stop::new();
        let outcomes = run_trials(&trials(), 1, &stop, |trial| {
            stop.request();
            Ok(trial.seed)
        })
        .expect("runs");
        assert!(matches!(outcomes[0], TrialOutcome::Done(0)));
        assert!(outcomes[1..].iter().all(|o| matches!(o, TrialOutcome::Interrupted)));
    }
}
