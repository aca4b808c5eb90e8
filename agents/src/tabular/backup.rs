//! Targets of the updates that look n steps ahead and change one pair at a time.

use super::memory::Move;
use super::policy::EpsilonGreedy;
use super::table::QTable;
use retune::env::Status;

/// What follows after the last reward of a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ahead {
    /// The action that was really taken in the next state.
    Action(u32),
    /// The expectation under the policy.
    Policy,
}

/// `Σ γ^i r_i + γ^n V`, where V is 0 at a termination, else the value of the next state as `ahead` says.
///
/// At a truncation there is no next action, so SARSA takes the expectation over the policy that would have drawn it:
/// the same number on average.
pub fn sum_target(steps: &[Move], ahead: Ahead, policy: EpsilonGreedy, q: &QTable, gamma: f64) -> f64 {
    let value = steps.last().map_or(0.0, |last| bootstrap(last, ahead, policy, q));
    steps.iter().rev().fold(value, |sum, step| step.reward + gamma * sum)
}

fn bootstrap(last: &Move, ahead: Ahead, policy: EpsilonGreedy, q: &QTable) -> f64 {
    match (last.status, ahead) {
        (Status::Terminated, _) => 0.0,
        (Status::Running, Ahead::Action(action)) => q.get(last.next_state, action),
        (Status::Running | Status::Truncated, _) => policy.value(&q.legal_row(last.next_state, &last.next_legal)),
    }
}

/// The tree-backup return (Sutton and Barto 2018, equation 7.16): at every state on the way the actions that were not
/// taken contribute their values, the one that was taken what came of it.
pub fn tree_target(steps: &[Move], policy: EpsilonGreedy, q: &QTable, gamma: f64) -> f64 {
    let value = steps.last().map_or(0.0, |last| bootstrap(last, Ahead::Policy, policy, q));
    let mut target = steps.last().map_or(0.0, |last| last.reward + gamma * value);
    for pair in steps.windows(2).rev() {
        let (step, taken) = (&pair[0], &pair[1]);
        let row = q.legal_row(taken.state, &taken.legal);
        let probability = policy.probability(&row, taken.action);
        let others = policy.value(&row) - probability * row[taken.action as usize];
        target = step.reward + gamma * (others + probability * target);
    }
    target
}
