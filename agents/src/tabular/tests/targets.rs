//! Single updates against second, slower implementations, over random episodes.

use super::super::TraceKind;
use super::super::backup::{Ahead, sum_target, tree_target};
use super::super::memory::{Memory, Move};
use super::super::policy::EpsilonGreedy;
use super::super::table::QTable;
use super::super::traces::TraceUpdate;
use proptest::prelude::*;
use retune::env::Status;

const STATES: usize = 4;
const ACTIONS: usize = 3;

/// A path through a few states, its rewards, and how it ends.
fn episodes() -> impl Strategy<Value = (Vec<Move>, QTable)> {
    let pair = (0..STATES as u32, 0..ACTIONS as u32, -2.0..2.0f64);
    let ends = prop::sample::select(vec![Status::Running, Status::Terminated, Status::Truncated]);
    let table = prop::collection::vec(-1.0..1.0f64, STATES * ACTIONS);
    (prop::collection::vec(pair, 1..8), 0..STATES as u32, ends, table).prop_map(|(pairs, last, end, values)| {
        let mut steps: Vec<Move> = pairs
            .iter()
            .map(|&(state, action, reward)| Move {
                state,
                action,
                reward,
                status: Status::Running,
                next_state: last,
                legal: Vec::new(),
                next_legal: Vec::new(),
            })
            .collect();
        for i in 1..steps.len() {
            steps[i - 1].next_state = steps[i].state;
        }
        steps.last_mut().unwrap().status = end;
        let mut q = QTable::new((STATES, ACTIONS), 0.0);
        values.iter().enumerate().for_each(|(cell, &v)| q.add(cell, v));
        (steps, q)
    })
}

/// The tree-backup return by its definition: an expectation over the tree, walked from the root.
fn tree_from_root(steps: &[Move], policy: EpsilonGreedy, q: &QTable, gamma: f64) -> f64 {
    let (step, rest) = steps.split_first().unwrap();
    if step.status == Status::Terminated {
        return step.reward;
    }
    let row = q.row(step.next_state);
    let branch = |a: u32| match rest.first() {
        Some(taken) if taken.action == a => tree_from_root(rest, policy, q, gamma),
        _ => row[a as usize],
    };
    step.reward + gamma * (0..ACTIONS as u32).map(|a| policy.probability(row, a) * branch(a)).sum::<f64>()
}

proptest! {
    #[test]
    fn sums_of_rewards((steps, q) in episodes(), gamma in 0.0..=1.0f64, epsilon in 0.0..=1.0f64, next in 0u32..3) {
        let policy = EpsilonGreedy { epsilon };
        let last = steps.last().unwrap();
        let rewards: f64 = steps.iter().enumerate().map(|(i, s)| gamma.powi(i as i32) * s.reward).sum();
        let after = gamma.powi(steps.len() as i32);
        let row = q.row(last.next_state);
        let mean = row.iter().enumerate().map(|(a, v)| policy.probability(row, a as u32) * v).sum::<f64>();
        let (sarsa, expected) = match last.status {
            Status::Terminated => (0.0, 0.0),
            Status::Truncated => (mean, mean),
            Status::Running => (row[next as usize], mean),
        };
        let found = sum_target(&steps, Ahead::Action(next), policy, &q, gamma);
        prop_assert!((found - rewards - after * sarsa).abs() < 1e-12);
        let found = sum_target(&steps, Ahead::Policy, policy, &q, gamma);
        prop_assert!((found - rewards - after * expected).abs() < 1e-12);
    }

    #[test]
    fn trees((steps, q) in episodes(), gamma in 0.0..=1.0f64, epsilon in 0.0..=1.0f64) {
        let policy = EpsilonGreedy { epsilon };
        let found = tree_target(&steps, policy, &q, gamma);
        prop_assert!((found - tree_from_root(&steps, policy, &q, gamma)).abs() < 1e-12);
    }

    /// True online SARSA(λ) equals the online λ-return algorithm at every step (van Seijen et al. 2016, theorem 1).
    #[test]
    fn dutch_traces_are_the_online_lambda_return(
        (steps, q0) in episodes(),
        gamma in 0.0..=1.0f64,
        lambda in 0.0..=1.0f64,
        alpha in 0.05..0.9f64,
    ) {
        let found = traced(&steps, &q0, gamma, lambda, alpha, TraceKind::Dutch);
        let expected = online_lambda_returns(&steps, &q0, gamma, lambda, alpha);
        for (f, e) in found.values().iter().zip(expected.values()) {
            prop_assert!((f - e).abs() < 1e-9, "{found:?} {expected:?}");
        }
    }
}

/// SARSA's bootstrap after step `t`: the action of the next step, else the first action.
fn bootstrap(steps: &[Move], t: usize, q: &QTable) -> f64 {
    let step = &steps[t];
    if step.status == Status::Terminated {
        return 0.0;
    }
    q.get(step.next_state, steps.get(t + 1).map_or(0, |next| next.action))
}

fn traced(steps: &[Move], q0: &QTable, gamma: f64, lambda: f64, alpha: f64, kind: TraceKind) -> QTable {
    let (mut q, mut memory) = (q0.clone(), Memory::default());
    for (t, step) in steps.iter().enumerate() {
        let value = bootstrap(steps, t, &q);
        let (cell, target) = (q.cell(step.state, step.action), step.reward + gamma * value);
        TraceUpdate { cell, target, value, alpha, decay: gamma * lambda, kind }.apply(&mut q, &mut memory);
    }
    q
}

/// For every horizon all updates are made again from the start, with λ-returns cut at the horizon.
fn online_lambda_returns(steps: &[Move], q0: &QTable, gamma: f64, lambda: f64, alpha: f64) -> QTable {
    let mut values = Vec::new();
    let mut q = q0.clone();
    for horizon in 1..=steps.len() {
        // What step `horizon − 1` bootstraps from: the values that were current when it was made.
        values.push(bootstrap(steps, horizon - 1, &q));
        q = q0.clone();
        for t in 0..horizon {
            let n_step = |n: usize| {
                let rewards = (0..n).map(|i| gamma.powi(i as i32) * steps[t + i].reward).sum::<f64>();
                rewards + gamma.powi(n as i32) * values[t + n - 1]
            };
            let longest = horizon - t;
            let mixed: f64 = (1..longest).map(|n| (1.0 - lambda) * lambda.powi(n as i32 - 1) * n_step(n)).sum();
            let target = mixed + lambda.powi(longest as i32 - 1) * n_step(longest);
            let cell = q.cell(steps[t].state, steps[t].action);
            q.add(cell, alpha * (target - q.values()[cell]));
        }
    }
    q
}

/// Negative control of the theorem: it does not hold for the other traces.
#[test]
fn other_traces_are_not_the_online_lambda_return() {
    let again = |state, next_state| Move {
        state,
        action: 0,
        reward: 1.0,
        status: Status::Running,
        next_state,
        legal: Vec::new(),
        next_legal: Vec::new(),
    };
    let steps = [again(0, 0), again(0, 0), again(0, 1)];
    let q0 = QTable::new((STATES, ACTIONS), 0.0);
    let expected = online_lambda_returns(&steps, &q0, 0.9, 0.8, 0.5);
    let distance = |kind| (traced(&steps, &q0, 0.9, 0.8, 0.5, kind).get(0, 0) - expected.get(0, 0)).abs();
    assert!(distance(TraceKind::Dutch) < 1e-12);
    assert!(distance(TraceKind::Accumulating) > 0.1 && distance(TraceKind::Replacing) > 0.1);
}

/// By hand: two visits to one pair and one to another, γλ = 0.5, α = 0.1.
#[test]
fn replacing_and_accumulating_traces_by_hand() {
    let mut q = QTable::new((2, 1), 0.0);
    let mut memory = Memory::default();
    let mut step = |cell, target, kind, memory: &mut Memory| {
        TraceUpdate { cell, target, value: 0.0, alpha: 0.1, decay: 0.5, kind }.apply(&mut q, memory)
    };
    assert_eq!(step(0, 1.0, TraceKind::Accumulating, &mut memory), 1.0);
    assert_eq!(memory.traces, [(0, 0.5)]);
    // The value of cell 0 is 0.1 now; its trace grows to 1.5 and is worth 0.1 · 0.9 · 1.5.
    assert!((step(0, 1.0, TraceKind::Accumulating, &mut memory) - 0.9).abs() < 1e-12);
    assert!((step(1, 1.0, TraceKind::Replacing, &mut memory) - 1.0).abs() < 1e-12);
    assert_eq!(memory.traces, [(0, 0.375), (1, 0.5)]);
    assert!((q.get(0, 0) - (0.1 + 0.135 + 0.1 * 0.75)).abs() < 1e-12);
    assert!((q.get(1, 0) - 0.1).abs() < 1e-12);
}
