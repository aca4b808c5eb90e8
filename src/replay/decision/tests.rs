//! Laws of the memory of single decisions, over random traces.

use super::{DecisionBatch, DecisionReplay, DecisionReplayConfig, PriorityConfig};
use crate::agent::{Rollout, Segment, Transition};
use crate::env::{ActionSpec, CandidateObs, CandidateSpec, EnvSpec, ObsSpec, Slate, Status, TextTable};
use crate::persist::StateDict;
use crate::rng::{Seed, StreamRng};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const ENVS: usize = 2;
const GAMMA: f64 = 0.9;

fn spec(slate_size: usize) -> EnvSpec {
    EnvSpec {
        id: "marks".into(),
        description: "Observations that tests recognise.".into(),
        obs: ObsSpec::Candidates(CandidateSpec {
            num_candidates: 3,
            state_dim: 1,
            candidate_dim: 0,
            has_text: false,
            history_len: 0,
            history_dim: 0,
            answers: 0..0,
            pool: Vec::new(),
        }),
        action: ActionSpec::Slate { size: slate_size },
        reward_unit: "points",
        reward_range: (0.0, 1e6),
        time_limit: None,
        texts: TextTable::default(),
    }
}

fn config(capacity: usize, n_step: usize, needs_next_action: bool) -> DecisionReplayConfig {
    DecisionReplayConfig { capacity, num_envs: ENVS, n_step, gamma: GAMMA, needs_next_action, prioritized: None }
}

fn memory(config: &DecisionReplayConfig) -> DecisionReplay {
    DecisionReplay::new(&spec(1), config).unwrap()
}

fn obs(mark: f32) -> Arc<CandidateObs> {
    Arc::new(CandidateObs {
        state: vec![mark],
        mask: vec![true, (mark as u32).is_multiple_of(2), true],
        ..CandidateObs::default()
    })
}

/// Rounds that follow one another as a runner's do. Every observation has a mark of its own.
fn trace(rounds: u64, steps: usize, rng: &mut StreamRng) -> Vec<Rollout<CandidateObs, Slate>> {
    let mut mark = 0.0;
    let mut fresh = || {
        mark += 1.0;
        obs(mark)
    };
    let mut shown: Vec<Arc<CandidateObs>> = (0..ENVS).map(|_| fresh()).collect();
    let mut step = |env: usize, rng: &mut StreamRng| {
        let status =
            [Status::Running, Status::Running, Status::Running, Status::Terminated, Status::Truncated][rng.below(5)];
        let (obs, next_obs) = (shown[env].clone(), fresh());
        shown[env] = if status == Status::Running { next_obs.clone() } else { fresh() };
        let action = Slate(vec![[0, 2][rng.below(2)]]);
        Transition { reward: rng.below(100) as f64 / 8.0, obs, action, log_prob: 0.0, status, next_obs }
    };
    let mut round = |round| Rollout {
        round,
        version: round,
        segments: (0..ENVS).map(|env| Segment { env, steps: (0..steps).map(|_| step(env, rng)).collect() }).collect(),
    };
    (0..rounds).map(&mut round).collect()
}

/// What the memory must say of the step with this mark.
#[derive(Clone, Debug, PartialEq)]
struct Expected {
    action: u32,
    reward: f64,
    discount: f64,
    next_mark: f32,
    next_action: u32,
}

/// The dumb form: for each step of each slot, look ahead. A step is left out if what it needs never comes.
fn expected(rounds: &[Rollout<CandidateObs, Slate>], n: usize, needs_next_action: bool) -> BTreeMap<u32, Expected> {
    let mut all = BTreeMap::new();
    for env in 0..ENVS {
        let steps: Vec<_> = rounds.iter().flat_map(|r| &r.segments[env].steps).collect();
        for t in 0..steps.len() {
            let (mut reward, mut discount, mut last) = (0.0, 1.0, None);
            for (m, step) in steps[t..].iter().enumerate() {
                reward += discount * step.reward;
                discount *= GAMMA;
                if step.status.is_over() || m + 1 == n {
                    last = Some((t + m, *step));
                    break;
                }
            }
            let Some((at, last)) = last else { continue };
            let next_action = match last.status {
                Status::Terminated => Some(0),
                Status::Truncated => None,
                Status::Running => steps.get(at + 1).map(|s| s.action.0[0]),
            };
            if needs_next_action && next_action.is_none() {
                continue;
            }
            let discount = if last.status == Status::Terminated { 0.0 } else { discount };
            let next_mark = last.next_obs.state[0];
            let next_action = next_action.unwrap_or(0);
            let action = steps[t].action.0[0];
            all.insert(steps[t].obs.state[0] as u32, Expected { action, reward, discount, next_mark, next_action });
        }
    }
    all
}

fn assert_row(batch: &DecisionBatch, b: usize, expected: &Expected, needs_next_action: bool) {
    let mark = batch.obs.state[b];
    assert_eq!(batch.obs.mask[b * 3..][..3], [1, u8::from((mark as u32).is_multiple_of(2)), 1]);
    assert_eq!(batch.action[b], expected.action);
    assert!((f64::from(batch.reward[b]) - expected.reward).abs() < 1e-4, "{mark}: {expected:?}");
    assert!((f64::from(batch.discount[b]) - expected.discount).abs() < 1e-6, "{mark}: {expected:?}");
    assert_eq!(batch.next_obs.state[b], expected.next_mark);
    if needs_next_action {
        assert_eq!(batch.next_action[b], expected.next_action);
    }
}

/// All rows, by position.
fn all(memory: &DecisionReplay) -> DecisionBatch {
    memory.rows.gather((0..memory.len()).collect(), vec![1.0; memory.len()])
}

proptest! {
    #[test]
    fn every_step_is_there_with_its_sum_and_its_end(
        seed in 0u64..500,
        rounds in 1u64..6,
        steps in 1usize..7,
        n in 1usize..5,
        needs_next_action: bool,
    ) {
        let trace = trace(rounds, steps, &mut Seed::root(seed).rng());
        let mut memory = memory(&config(1000, n, needs_next_action));
        trace.iter().for_each(|r| memory.push(r).unwrap());
        let expected = expected(&trace, n, needs_next_action);
        let batch = all(&memory);
        let marks: BTreeSet<u32> = batch.obs.state.iter().map(|&m| m as u32).collect();
        prop_assert_eq!(marks.len(), batch.size);
        prop_assert_eq!(&marks, &expected.keys().copied().collect());
        for b in 0..batch.size {
            assert_row(&batch, b, &expected[&(batch.obs.state[b] as u32)], needs_next_action);
        }
    }

    #[test]
    fn memory_stays_what_was_set_aside_and_keeps_the_newest(capacity in 5usize..20, n in 1usize..5) {
        let trace = trace(8, 10, &mut Seed::root(1).rng());
        let mut memory = memory(&config(capacity, n, false));
        let bytes = memory.bytes();
        trace.iter().for_each(|r| memory.push(r).unwrap());
        prop_assert_eq!((memory.bytes(), memory.len()), (bytes, capacity));
        // The newest of a slot is the last that is complete.
        let newest = *expected(&trace, n, false).keys().max().unwrap();
        prop_assert!(all(&memory).obs.state.contains(&(newest as f32)));
    }

    #[test]
    fn a_saved_memory_goes_on_with_the_same_bits(
        seed in 0u64..100,
        n in 1usize..4,
        needs_next_action: bool,
        prioritized: bool,
        cut in 1usize..7,
    ) {
        let trace = trace(8, 5, &mut Seed::root(seed).rng());
        let prioritized = prioritized.then(PriorityConfig::default);
        let config = DecisionReplayConfig { prioritized, ..config(24, n, needs_next_action) };
        let mut whole = memory(&config);
        trace[..cut].iter().for_each(|r| whole.push(r).unwrap());
        if !whole.is_empty() {
            whole.update_priorities(&[0, whole.len() - 1], &[3.0, -0.5]).unwrap();
        }
        let mut state = StateDict::default();
        whole.save(&mut state, "m.").unwrap();
        let mut again = memory(&config);
        again.load(&state, "m.").unwrap();
        for round in &trace[cut..] {
            whole.push(round).unwrap();
            again.push(round).unwrap();
        }
        prop_assert_eq!(all(&whole), all(&again));
        if !whole.is_empty() {
            let (mut a, mut b) = (Seed::root(seed).rng(), Seed::root(seed).rng());
            prop_assert_eq!(whole.sample(16, 0.5, &mut a).unwrap(), again.sample(16, 0.5, &mut b).unwrap());
        }
        let (mut a, mut b) = (StateDict::default(), StateDict::default());
        whole.save(&mut a, "").unwrap();
        again.save(&mut b, "").unwrap();
        prop_assert_eq!(a, b);
    }
}

#[test]
fn a_bootstrap_across_the_end_of_an_episode_would_be_noticed() {
    // The control of the law above: sums that look past ends differ from the memory's.
    let mut trace = trace(3, 10, &mut Seed::root(4).rng());
    let right = expected(&trace, 3, false);
    for step in trace.iter_mut().flat_map(|r| &mut r.segments).flat_map(|s| &mut s.steps) {
        step.status = if step.status == Status::Truncated { Status::Terminated } else { step.status };
    }
    assert_ne!(expected(&trace, 3, false), right);
}

#[test]
fn after_a_gap_between_rounds_incomplete_steps_are_forgotten() {
    let running = |mark: f32| Transition {
        obs: obs(mark),
        action: Slate(vec![0]),
        log_prob: 0.0,
        reward: 1.0,
        status: Status::Running,
        next_obs: obs(mark + 1.0),
    };
    let round = |round, marks: &[f32]| Rollout {
        round,
        version: 0,
        segments: vec![Segment { env: 0, steps: marks.iter().map(|&m| running(m)).collect() }],
    };
    let mut memory = memory(&config(10, 2, false));
    memory.push(&round(0, &[1.0, 2.0])).unwrap();
    memory.push(&round(2, &[10.0, 11.0])).unwrap();
    assert_eq!(all(&memory).obs.state, [1.0, 10.0]);
}

#[test]
fn truncated_episodes_lose_their_last_steps_only_where_a_next_action_is_needed() {
    let step = |mark: f32, status| Transition {
        obs: obs(mark),
        action: Slate(vec![2]),
        log_prob: 0.0,
        reward: 1.0,
        status,
        next_obs: obs(mark + 1.0),
    };
    let steps = vec![step(1.0, Status::Running), step(2.0, Status::Truncated)];
    let round = Rollout { round: 0, version: 0, segments: vec![Segment { env: 1, steps }] };
    for (needs, len, left_out) in [(false, 2, 0), (true, 1, 1)] {
        let mut memory = memory(&config(10, 1, needs));
        memory.push(&round).unwrap();
        assert_eq!((memory.len(), memory.left_out()), (len, left_out));
        assert!(all(&memory).discount.iter().all(|&d| d == GAMMA as f32));
    }
}

#[test]
fn bad_settings_and_transitions_are_named() {
    let named = |config: DecisionReplayConfig, start: &str| {
        let error = DecisionReplay::new(&spec(1), &config).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    };
    named(DecisionReplayConfig { capacity: 0, ..config(1, 1, false) }, "capacity = 0");
    named(DecisionReplayConfig { n_step: 0, ..config(1, 1, false) }, "n_step = 0");
    named(config(2, 3, false), "n_step = 3: expected at most the capacity of the memory, 2");
    named(DecisionReplayConfig { gamma: 1.1, ..config(2, 1, false) }, "gamma = 1.1");
    let error = DecisionReplay::new(&spec(2), &config(1, 1, false)).unwrap_err().to_string();
    assert!(error.contains("slates of one"), "{error}");

    let mut memory = memory(&config(4, 1, false));
    assert!(memory.sample(1, 0.0, &mut Seed::root(1).rng()).is_err());
    let mut trace = trace(1, 1, &mut Seed::root(2).rng());
    trace[0].segments[1].steps[0].action = Slate(vec![0, 1]);
    let error = memory.push(&trace[0]).unwrap_err().to_string();
    assert!(error.contains("round 0, env slot 1, step 0: cannot restore: a slate of 2 candidates"), "{error}");
    trace[0].segments[1].env = 7;
    assert!(memory.push(&trace[0]).unwrap_err().to_string().contains("env slot 7"));

    let mut state = StateDict::default();
    memory.save(&mut state, "").unwrap();
    let mut other = self::memory(&config(5, 1, false));
    assert!(other.load(&state, "").unwrap_err().to_string().contains("saved with"));
}
