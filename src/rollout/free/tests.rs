//! Laws of free-running: nothing lost, nothing repeated, never too old, and whatever fails surfaces.

use super::super::testing::{ShopActor, snapshot};
use super::super::{EpisodeRecord, Runner};
use super::*;
use crate::agent::{Actor, Decision, Mode, Snapshot, Stop, Transition};
use crate::env::testing::{Counter, Shop};
use crate::env::{CandidateObs, Env, Slate, Status};
use crate::persist::StateDict;
use crate::rng::{Seed, StreamRng};
use crate::rollout::RunnerConfig;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

const ROUNDS: u64 = 12;

fn config(actors: usize) -> RunnerConfig {
    RunnerConfig { num_envs: 7, shard_size: 2, steps_per_round: 11, actors }
}

fn shop_actor() -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
    Ok(Box::new(ShopActor::default()))
}

fn free(actors: usize, max_lag: u64) -> FreeRunner<Shop> {
    let free = FreeConfig { max_lag, rounds: ROUNDS };
    FreeRunner::new(|_| Ok(Shop::new()), shop_actor, &config(actors), free, Seed::root(5), &Stop::new()).unwrap()
}

fn collect<E: Env + 'static>(
    runner: &mut FreeRunner<E>,
    rounds: std::ops::Range<u64>,
) -> Vec<FreeRound<E::Obs, E::Action>> {
    rounds.map(|round| runner.collect(&snapshot(round + 1)).unwrap()).collect()
}

/// All transitions and episodes by slot, in time order.
type Slots = BTreeMap<usize, (Vec<Transition<CandidateObs, Slate>>, Vec<EpisodeRecord>)>;

fn by_slot(rounds: Vec<FreeRound<CandidateObs, Slate>>) -> Slots {
    let mut slots = Slots::new();
    for round in rounds {
        round.rollout.segments.into_iter().for_each(|s| slots.entry(s.env).or_default().0.extend(s.steps));
        round.records.into_iter().for_each(|r| slots.entry(r.env).or_default().1.push(r));
    }
    slots
}

/// Every step follows from the one before, and every episode is the sum of its steps.
fn assert_without_gaps(slots: &Slots) {
    assert_eq!(slots.len(), 7);
    for (steps, records) in slots.values() {
        let mut records = records.iter();
        let (mut total, mut length) = (0.0, 0);
        for (step, next) in steps.iter().zip(steps.iter().skip(1).map(Some).chain([None])) {
            (total, length) = (total + step.reward, length + 1);
            if step.status == Status::Running {
                assert!(next.is_none_or(|next| next.obs == step.next_obs), "a gap");
                continue;
            }
            let record = records.next().expect("a record for every end");
            assert_eq!((record.episode_return, record.length, record.status), (total, length, step.status));
            (total, length) = (0.0, 0);
        }
        assert!(records.next().is_none());
    }
}

#[test]
fn without_any_lag_it_is_the_sync_runner_to_the_bit() {
    let mut sync = Runner::new(|_| Ok(Shop::new()), shop_actor, &config(0), Seed::root(5), &Stop::new()).unwrap();
    for actors in [1, 2, 4] {
        let mut runner = free(actors, 0);
        let mut sync_again =
            Runner::new(|_| Ok(Shop::new()), shop_actor, &config(0), Seed::root(5), &Stop::new()).unwrap();
        for round in collect(&mut runner, 0..5) {
            let (rollout, records) = sync_again.collect(&snapshot(round.rollout.version)).unwrap();
            assert_eq!((&round.rollout, &round.records), (&rollout, &records));
            assert_eq!((round.lags.max(), round.lags.total()), (0, 77));
        }
    }
    // Negative control: with other parameters it is another run.
    assert_ne!(collect(&mut free(2, 0), 0..1)[0].rollout, sync.collect(&snapshot(9)).unwrap().0);
}

#[test]
fn nothing_is_lost_and_nothing_is_older_than_allowed() {
    for (actors, max_lag) in [(1, 1), (2, 1), (4, 3)] {
        let rounds = collect(&mut free(actors, max_lag), 0..ROUNDS);
        for (number, round) in (0..).zip(&rounds) {
            assert_eq!(round.rollout.round, number);
            assert_eq!(round.rollout.segments.iter().map(|s| s.env).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
            assert!(round.lags.max() <= max_lag && round.lags.total() == 77, "{:?}", round.lags);
            assert_eq!(round.rollout.version, round.origins.iter().map(|o| o.version).min().unwrap());
            for origin in &round.origins {
                // Generation g was published as version g + 1.
                assert_eq!(
                    (origin.version, &origin.checksum),
                    (number - origin.lag + 1, &format!("sum-{}", origin.version))
                );
            }
        }
        let slots = by_slot(rounds);
        assert!(slots.values().all(|(steps, _)| steps.len() == 11 * ROUNDS as usize));
        assert_without_gaps(&slots);
    }
}

#[test]
fn a_missing_round_would_be_noticed() {
    let mut rounds = collect(&mut free(2, 1), 0..ROUNDS);
    rounds.remove(4);
    let slots = by_slot(rounds);
    assert!(std::panic::catch_unwind(|| assert_without_gaps(&slots)).is_err());
}

#[test]
fn actors_go_on_while_the_learner_learns_as_far_as_the_lag_allows() {
    for (max_lag, ahead) in [(0, 0), (1, 1), (3, 3)] {
        let mut runner = free(2, max_lag);
        collect(&mut runner, 0..1);
        // No parameters are published from here on: what the actors play now they play beside the learner.
        runner.settle().unwrap();
        assert_eq!(runner.buffered(), ahead, "lag limit {max_lag}");
    }
    // At the end of the budget nobody plays what nobody would learn from.
    let mut runner = free(2, 3);
    collect(&mut runner, 0..ROUNDS - 1);
    runner.settle().unwrap();
    assert_eq!(runner.buffered(), 1);
    collect(&mut runner, ROUNDS - 1..ROUNDS);
    let error = runner.collect(&snapshot(99)).unwrap_err().to_string();
    assert!(error.contains("has played all its rounds"), "{error}");
}

#[test]
fn a_settled_runner_continues_elsewhere_without_a_gap() {
    let mut first = free(2, 2);
    let mut rounds = collect(&mut first, 0..4);
    assert!(first.save(&mut StateDict::default(), "").unwrap_err().to_string().contains("settled"));
    first.settle().unwrap();
    let buffered = first.buffered() as u64;
    assert_eq!(buffered, 2);
    rounds.extend(collect(&mut first, 4..4 + buffered));
    let mut state = StateDict::default();
    first.save(&mut state, "run/").unwrap();
    drop(first);
    // Another process, with another number of threads and another lag limit.
    let mut second = free(4, 1);
    second.load(&state, "run/").unwrap();
    assert_eq!(second.rounds(), 6);
    rounds.extend(collect(&mut second, 6..ROUNDS));
    assert_without_gaps(&by_slot(rounds));
    // A runner that has begun, or one of another seed, does not take it.
    assert!(second.load(&state, "run/").unwrap_err().to_string().contains("not begun"));
    let other = FreeConfig { max_lag: 1, rounds: ROUNDS };
    let mut other =
        FreeRunner::new(|_| Ok(Shop::new()), shop_actor, &config(1), other, Seed::root(6), &Stop::new()).unwrap();
    assert!(other.load(&state, "run/").unwrap_err().to_string().contains("seed"));
}

/// Settling and going on in the same process, over and over.
#[test]
fn settling_after_every_round_changes_nothing_about_what_is_handed_over() {
    let mut runner = free(3, 1);
    let mut rounds = Vec::new();
    while runner.rounds() < ROUNDS {
        let next = runner.rounds();
        rounds.extend(collect(&mut runner, next..next + 1));
        runner.settle().unwrap();
    }
    assert_without_gaps(&by_slot(rounds));
}

/// Fails or panics when its counter has counted to three in slot 2.
struct Odd(bool);

impl Actor<Vec<f32>, u32> for Odd {
    fn load(&mut self, _: &Arc<Snapshot>) -> Result<()> {
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<Vec<f32>>], _: &mut [StreamRng], _: Mode) -> Result<Vec<Decision<u32>>> {
        if obs[0][0] == 3.0 {
            assert!(!self.0, "score of candidate {} is gone", 17);
            return Err(Error::NonFinite { name: "q".into(), update: 7, detail: "x".into() });
        }
        Ok(obs.iter().map(|_| Decision { action: 1, log_prob: 0.0 }).collect())
    }
}

fn odd_runner(panics: bool) -> FreeRunner<Counter> {
    let config = RunnerConfig { num_envs: 4, shard_size: 1, steps_per_round: 2, actors: 3 };
    let actor = move || Ok(Box::new(Odd(panics)) as Box<dyn Actor<Vec<f32>, u32>>);
    let free = FreeConfig { max_lag: 1, rounds: 1000 };
    let env = |slot| Ok(Counter::new(if slot == 2 { 9 } else { 2 }));
    // Specs of counters do not tell their goals, so these are alike to the runner.
    FreeRunner::new(env, actor, &config, free, Seed::root(1), &Stop::new()).unwrap()
}

#[test]
fn an_actor_that_panics_is_reported_with_its_backtrace_and_nobody_hangs() {
    let mut runner = odd_runner(true);
    let error = (0..10).find_map(|version| runner.collect(&snapshot(version)).err()).unwrap().to_string();
    assert!(error.starts_with("actor thread 2: panicked: score of candidate 17 is gone at "), "{error}");
    assert!(error.contains("act at ") && error.contains("tests.rs"), "{error}");
    assert!(runner.collect(&snapshot(11)).unwrap_err().to_string().contains("has failed"));
    assert!(runner.save(&mut StateDict::default(), "").is_err());
}

#[test]
fn an_actor_that_fails_is_reported_with_its_message() {
    let mut runner = odd_runner(false);
    let error = (0..10).find_map(|version| runner.collect(&snapshot(version)).err()).unwrap();
    assert_eq!(error.to_string(), "actor thread 2: non-finite value in q at update 7: x");
}

#[test]
fn a_request_to_stop_ends_it() {
    let stop = Stop::new();
    let free = FreeConfig { max_lag: 1, rounds: ROUNDS };
    let mut runner = FreeRunner::new(|_| Ok(Shop::new()), shop_actor, &config(2), free, Seed::root(5), &stop).unwrap();
    runner.collect(&snapshot(1)).unwrap();
    stop.request();
    assert!(matches!(runner.collect(&snapshot(2)), Err(Error::Interrupted)));
}

#[test]
fn impossible_settings_are_named() {
    let free = FreeConfig { max_lag: 1, rounds: ROUNDS };
    let new = |config: &RunnerConfig| {
        FreeRunner::new(|_| Ok(Shop::new()), shop_actor, config, free, Seed::root(5), &Stop::new())
    };
    assert!(new(&config(0)).err().unwrap().to_string().starts_with("actors = 0"));
    assert!(new(&config(5)).err().unwrap().to_string().starts_with("actors = 5"));
}
