//! Laws of the runner: same bits for any number of threads, exact continuation, errors that surface.

use super::testing::{ShopActor, snapshot};
use super::{Round, Runner, RunnerConfig};
use crate::agent::{Actor, Decision, Mode, Snapshot, Stop};
use crate::env::testing::{Counter, Shop};
use crate::env::{CandidateObs, Env, Slate, Status, TimeLimit};
use crate::persist::StateDict;
use crate::rng::{Seed, StreamRng};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};

type ShopRound = Round<CandidateObs, Slate>;

/// Seven slots in shards of two: the last shard is smaller.
fn config(actors: usize) -> RunnerConfig {
    RunnerConfig { num_envs: 7, shard_size: 2, steps_per_round: 11, actors }
}

fn shop_runner(actors: usize, seed: u64) -> Runner<Shop> {
    let actor = || Ok(Box::new(ShopActor::default()) as Box<dyn Actor<CandidateObs, Slate>>);
    Runner::new(|_| Ok(Shop::new()), actor, &config(actors), Seed::root(seed), &Stop::new()).unwrap()
}

fn rounds(runner: &mut Runner<Shop>, versions: std::ops::Range<u64>) -> Vec<ShopRound> {
    versions.map(|version| runner.collect(&snapshot(version)).unwrap()).collect()
}

fn bytes(rounds: &[ShopRound]) -> String {
    let records: Vec<String> = rounds.iter().map(|r| serde_json::to_string(&r.1).unwrap()).collect();
    format!("{:?} {records:?}", rounds.iter().map(|r| &r.0).collect::<Vec<_>>())
}

#[test]
fn any_number_of_actor_threads_gives_the_same_bytes() {
    let sync = rounds(&mut shop_runner(0, 5), 1..5);
    assert!(sync.iter().map(|r| r.1.len()).sum::<usize>() > 20, "the test needs episode ends");
    for actors in [1, 2, 4] {
        assert_eq!(bytes(&rounds(&mut shop_runner(actors, 5), 1..5)), bytes(&sync), "{actors} threads");
    }
    // Negative controls: another seed, and other parameters, give other bytes.
    assert_ne!(bytes(&rounds(&mut shop_runner(2, 6), 1..5)), bytes(&sync));
    assert_ne!(bytes(&rounds(&mut shop_runner(2, 5), 2..6)), bytes(&sync));
}

#[test]
fn a_round_is_complete_ordered_and_consistent() {
    let mut runner = shop_runner(2, 5);
    let mut returns = BTreeMap::<usize, (f64, u64)>::new();
    for (round, (rollout, records)) in rounds(&mut runner, 1..6).into_iter().enumerate() {
        assert_eq!((rollout.round, rollout.version), (round as u64, round as u64 + 1));
        assert_eq!(rollout.env_steps(), config(0).env_steps_per_round());
        assert_eq!(rollout.segments.iter().map(|s| s.env).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
        assert!(records.is_sorted_by_key(|r| (r.slot_steps, r.env)));
        let mut records = records.into_iter().map(|r| ((r.env, r.slot_steps), r)).collect::<BTreeMap<_, _>>();
        for segment in &rollout.segments {
            for (t, step) in segment.steps.iter().enumerate() {
                let sums = returns.entry(segment.env).or_default();
                *sums = (sums.0 + step.reward, sums.1 + 1);
                let next = segment.steps.get(t + 1);
                if step.status == Status::Running {
                    assert!(next.is_none_or(|n| n.obs == step.next_obs));
                    continue;
                }
                // A final observation shows what became of the last slate; a first one cannot.
                assert!(step.next_obs.feedback.is_some() && next.is_none_or(|n| n.obs.feedback.is_none()));
                let record = records.remove(&(segment.env, (round * 11 + t + 1) as u64)).unwrap();
                assert_eq!((record.episode_return, record.length, record.status), (sums.0, sums.1, step.status));
                *sums = (0.0, 0);
            }
        }
        assert!(records.is_empty());
    }
}

#[test]
fn continuing_from_a_saved_state_gives_the_same_bytes_with_other_threads() {
    let mut runner = shop_runner(2, 5);
    rounds(&mut runner, 1..3);
    let mut state = StateDict::default();
    runner.save(&mut state, "run/").unwrap();
    assert!(state.values.keys().all(|k| k.starts_with("run/")));
    // Through text, as in another process.
    let text = serde_json::to_string(&state.values).unwrap();
    let state = StateDict { values: serde_json::from_str(&text).unwrap(), ..StateDict::default() };
    let uninterrupted = bytes(&rounds(&mut runner, 3..6));
    for actors in [0, 1, 4] {
        let mut again = shop_runner(actors, 5);
        again.load(&state, "run/").unwrap();
        assert_eq!(again.rounds(), 2);
        assert_eq!(bytes(&rounds(&mut again, 3..6)), uninterrupted, "{actors} threads");
    }
    // Negative control: without the state the same rounds differ.
    assert_ne!(bytes(&rounds(&mut shop_runner(0, 5), 3..6)), uninterrupted);
}

#[test]
fn a_state_of_another_run_is_refused_and_changes_nothing() {
    let mut runner = shop_runner(0, 5);
    let mut state = StateDict::default();
    shop_runner(0, 6).save(&mut state, "").unwrap();
    assert!(matches!(runner.load(&state, ""), Err(Error::State(m)) if m.contains("seed")));
    assert!(matches!(runner.load(&StateDict::default(), ""), Err(Error::State(m)) if m.contains("missing")));
    assert_eq!(bytes(&rounds(&mut runner, 1..3)), bytes(&rounds(&mut shop_runner(0, 5), 1..3)));
}

/// A counter actor that does something odd when slot noise and count say so.
struct Odd(fn(&[Arc<Vec<f32>>]) -> Result<()>);

impl Actor<Vec<f32>, u32> for Odd {
    fn load(&mut self, _: &Arc<Snapshot>) -> Result<()> {
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<Vec<f32>>], _: &mut [StreamRng], _: Mode) -> Result<Vec<Decision<u32>>> {
        (self.0)(obs)?;
        Ok(obs.iter().map(|_| Decision { action: 1, log_prob: 0.0 }).collect())
    }
}

fn counter_runner(actors: usize, odd: fn(&[Arc<Vec<f32>>]) -> Result<()>) -> Runner<TimeLimit<Counter>> {
    // Slot 2 alone counts up to 4 before it is reset; the others end at 2.
    let env = |slot| Ok(TimeLimit::new(Counter::new(if slot == 2 { 9 } else { 2 }), 4)?);
    let actor = move || Ok(Box::new(Odd(odd)) as Box<dyn Actor<Vec<f32>, u32>>);
    let config = RunnerConfig { num_envs: 4, shard_size: 1, steps_per_round: 6, actors };
    Runner::new(env, actor, &config, Seed::root(1), &Stop::new()).unwrap()
}

#[test]
fn truncation_keeps_the_final_observation_apart_from_termination() {
    let mut runner = counter_runner(2, |_| Ok(()));
    let (rollout, records) = runner.collect(&snapshot(1)).unwrap();
    let truncated = &rollout.segments[2].steps[3];
    assert_eq!((truncated.status, truncated.next_obs[0]), (Status::Truncated, 4.0));
    assert_eq!(rollout.segments[2].steps[4].obs[0], 0.0);
    // Negative control: the same length in another slot ends by itself.
    let terminated = &rollout.segments[1].steps[3];
    assert_eq!((terminated.status, terminated.next_obs[0]), (Status::Terminated, 2.0));
    let of_two: Vec<Status> = records.iter().filter(|r| r.env == 2).map(|r| r.status).collect();
    assert_eq!(of_two, [Status::Truncated]);
    assert_eq!(records.iter().filter(|r| r.status == Status::Terminated).count(), 9);
}

fn fails_at_three(obs: &[Arc<Vec<f32>>]) -> Result<()> {
    if obs[0][0] == 3.0 { Err(Error::NonFinite { name: "q".into(), update: 7, detail: "x".into() }) } else { Ok(()) }
}

fn panics_at_three(obs: &[Arc<Vec<f32>>]) -> Result<()> {
    assert!(obs[0][0] != 3.0, "score of candidate {} is gone", 17);
    Ok(())
}

#[test]
fn an_error_of_an_actor_thread_surfaces_with_its_message() {
    for actors in [1, 2, 4] {
        let mut runner = counter_runner(actors, fails_at_three);
        let mut state = StateDict::default();
        runner.save(&mut state, "").unwrap();
        let error = runner.collect(&snapshot(1)).unwrap_err();
        assert!(matches!(&error, Error::Actor { message, .. } if message == "non-finite value in q at update 7: x"));
        // The round is lost, and the runner says so instead of going on with half of it.
        assert!(runner.collect(&snapshot(1)).unwrap_err().to_string().contains("load a saved state first"));
        assert!(runner.save(&mut StateDict::default(), "").is_err());
        runner.load(&state, "").unwrap();
        assert!(matches!(runner.collect(&snapshot(1)), Err(Error::Actor { .. })));
    }
    // Without threads it is the error itself.
    assert!(matches!(counter_runner(0, fails_at_three).collect(&snapshot(1)), Err(Error::NonFinite { .. })));
}

#[test]
fn a_panic_of_an_actor_thread_surfaces_with_its_message() {
    for actors in [1, 3] {
        let mut runner = counter_runner(actors, panics_at_three);
        let mut state = StateDict::default();
        runner.save(&mut state, "").unwrap();
        let error = runner.collect(&snapshot(1)).unwrap_err();
        let Error::Actor { message, .. } = &error else { panic!("{error}") };
        // The message, the place and the calls that led there.
        assert!(message.starts_with("panicked: score of candidate 17 is gone at "), "{message}");
        assert!(message.contains("panics_at_three"), "{message}");
        assert!(runner.load(&state, "").unwrap_err().to_string().contains("build a new one"));
    }
}

#[test]
fn a_reward_that_is_not_finite_stops_the_round() {
    struct Broken(Counter);
    impl Env for Broken {
        type Obs = Vec<f32>;
        type Action = u32;
        fn spec(&self) -> &crate::env::EnvSpec {
            self.0.spec()
        }
        fn reset(&mut self, seed: Option<u64>) -> Result<Vec<f32>, crate::env::EnvError> {
            self.0.reset(seed)
        }
        fn step(&mut self, action: &u32) -> Result<crate::env::Step<Vec<f32>>, crate::env::EnvError> {
            let step = self.0.step(action)?;
            Ok(crate::env::Step { reward: if step.obs[0] == 3.0 { f64::NAN } else { step.reward }, ..step })
        }
        fn save_state(&self) -> Result<crate::env::EnvState, crate::env::EnvError> {
            self.0.save_state()
        }
        fn restore_state(&mut self, state: &crate::env::EnvState) -> Result<(), crate::env::EnvError> {
            self.0.restore_state(state)
        }
    }
    let config = RunnerConfig { num_envs: 2, shard_size: 2, steps_per_round: 6, actors: 0 };
    let actor = || Ok(Box::new(Odd(|_| Ok(()))) as Box<dyn Actor<Vec<f32>, u32>>);
    let env = |_| Ok(Broken(Counter::new(9)));
    let mut runner = Runner::new(env, actor, &config, Seed::root(1), &Stop::new()).unwrap();
    let error = runner.collect(&snapshot(4)).unwrap_err().to_string();
    assert_eq!(error, "non-finite value in reward at update 4: NaN in env slot 0 at its env step 3");
}

/// Requests a stop at the first decision, then counts how many more it is asked for.
struct Stopper(Stop, Arc<std::sync::atomic::AtomicUsize>);

impl Actor<Vec<f32>, u32> for Stopper {
    fn load(&mut self, _: &Arc<Snapshot>) -> Result<()> {
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<Vec<f32>>], _: &mut [StreamRng], _: Mode) -> Result<Vec<Decision<u32>>> {
        self.0.request();
        self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(obs.iter().map(|_| Decision { action: 0, log_prob: 0.0 }).collect())
    }
}

#[test]
fn a_request_to_stop_ends_a_round_between_two_steps() {
    for actors in [0, 1, 2] {
        let (stop, asked) = (Stop::new(), Arc::default());
        let actor = || Ok(Box::new(Stopper(stop.clone(), Arc::clone(&asked))) as Box<dyn Actor<Vec<f32>, u32>>);
        let config = RunnerConfig { num_envs: 2, shard_size: 1, steps_per_round: 100_000, actors };
        let mut runner = Runner::new(|_| Ok(Counter::new(9)), actor, &config, Seed::root(1), &stop).unwrap();
        let mut state = StateDict::default();
        runner.save(&mut state, "").unwrap();
        assert!(matches!(runner.collect(&snapshot(1)), Err(Error::Interrupted)));
        assert!(asked.load(std::sync::atomic::Ordering::SeqCst) <= 2, "one decision per shard at most");
        // Asked before a round begins, nothing has moved and the state can be saved.
        runner.load(&state, "").unwrap();
        assert!(matches!(runner.collect(&snapshot(1)), Err(Error::Interrupted)));
        let mut after = StateDict::default();
        runner.save(&mut after, "").unwrap();
        assert_eq!(after, state);
    }
}

/// Decides only once as many threads as the barrier holds are deciding.
struct Meet(Arc<Barrier>);

impl Actor<Vec<f32>, u32> for Meet {
    fn load(&mut self, _: &Arc<Snapshot>) -> Result<()> {
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<Vec<f32>>], _: &mut [StreamRng], _: Mode) -> Result<Vec<Decision<u32>>> {
        self.0.wait();
        Ok(obs.iter().map(|_| Decision { action: 1, log_prob: 0.0 }).collect())
    }
}

#[test]
fn actor_threads_really_work_side_by_side() {
    // With fewer than three threads at work at once, nobody would get past the barrier.
    let barrier = Arc::new(Barrier::new(3));
    let actor = || Ok(Box::new(Meet(Arc::clone(&barrier))) as Box<dyn Actor<Vec<f32>, u32>>);
    let config = RunnerConfig { num_envs: 3, shard_size: 1, steps_per_round: 50, actors: 3 };
    let mut runner = Runner::new(|_| Ok(Counter::new(9)), actor, &config, Seed::root(1), &Stop::new()).unwrap();
    assert_eq!(runner.collect(&snapshot(1)).unwrap().0.env_steps(), 150);
}

#[test]
fn env_slots_that_differ_are_refused() {
    let actor = || Ok(Box::new(Odd(|_| Ok(()))) as Box<dyn Actor<Vec<f32>, u32>>);
    let config = RunnerConfig { num_envs: 2, shard_size: 1, steps_per_round: 1, actors: 0 };
    let env = |slot| Ok(TimeLimit::new(Counter::new(9), 5 + slot as u64)?);
    let error = Runner::new(env, actor, &config, Seed::root(1), &Stop::new()).err().unwrap();
    assert!(error.to_string().contains("same spec"));
}
