//! Small finite Markov decision processes and their exact solution.

use crate::rec_sim::shared::config_error;
use retune::env::EnvError;

/// One thing that an action can lead to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Its probability.
    pub probability: f64,
    /// Reward that comes with it.
    pub reward: f64,
    /// The next state; `None` if the episode terminates.
    pub next: Option<usize>,
}

/// A finite Markov decision process that begins in state 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Mdp {
    name: &'static str,
    description: &'static str,
    time_limit: Option<u64>,
    /// `[num_states][num_actions]`, each a distribution over outcomes.
    outcomes: Vec<Vec<Vec<Outcome>>>,
}

impl Mdp {
    /// One state and two arms that pay 1 with probability 0.2 and 0.8; every episode is one step.
    #[must_use]
    pub fn two_armed_bandit() -> Self {
        let arm = |p: f64| {
            let pays = |probability, reward| Outcome { probability, reward, next: None };
            vec![pays(p, 1.0), pays(1.0 - p, 0.0)]
        };
        Self {
            name: "probe/two_armed_bandit",
            description: "Two arms; the second pays more often.",
            time_limit: None,
            outcomes: vec![vec![arm(0.2), arm(0.8)]],
        }
    }

    /// `n` states in a row (at least 1): action 1 goes right, action 0 goes left (and stays at the left end). Going
    /// right from the last state terminates with reward 1; every other reward is 0.
    ///
    /// Closed form: the best value of state s is γ^(n − 1 − s).
    #[must_use]
    pub fn chain(n: usize) -> Self {
        let certain = |reward, next| vec![Outcome { probability: 1.0, reward, next }];
        let state = |s: usize| {
            let right = if s + 1 < n.max(1) { certain(0.0, Some(s + 1)) } else { certain(1.0, None) };
            vec![certain(0.0, Some(s.saturating_sub(1))), right]
        };
        Self {
            name: "probe/chain",
            description: "Walk to the right end of a row of states.",
            time_limit: None,
            outcomes: (0..n.max(1)).map(state).collect(),
        }
    }

    /// One state that never ends: action 0 pays 1, action 1 pays 0, and the spec asks for a time limit.
    ///
    /// Closed form: the best value is 1/(1 − γ). Whoever takes the truncation for an end learns less, for the last step
    /// before the limit only 1.
    #[must_use]
    pub fn endless(time_limit: u64) -> Self {
        let stay = |reward| vec![Outcome { probability: 1.0, reward, next: Some(0) }];
        Self {
            name: "probe/endless",
            description: "A state that pays for ever; only a time limit cuts it.",
            time_limit: Some(time_limit),
            outcomes: vec![vec![stay(1.0), stay(0.0)]],
        }
    }

    /// Stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// One sentence for people.
    #[must_use]
    pub fn description(&self) -> &'static str {
        self.description
    }

    /// Env steps after which a wrapper is to truncate.
    #[must_use]
    pub fn time_limit(&self) -> Option<u64> {
        self.time_limit
    }

    /// Number of states.
    #[must_use]
    pub fn num_states(&self) -> usize {
        self.outcomes.len()
    }

    /// Number of actions in every state.
    #[must_use]
    pub fn num_actions(&self) -> usize {
        self.outcomes[0].len()
    }

    /// What action `action` can lead to in state `state`.
    ///
    /// # Panics
    /// If there is no such state or action.
    #[must_use]
    pub fn outcomes(&self, state: usize, action: usize) -> &[Outcome] {
        &self.outcomes[state][action]
    }

    /// Lowest and highest reward.
    #[must_use]
    pub fn reward_range(&self) -> (f64, f64) {
        let rewards = self.outcomes.iter().flatten().flatten().map(|o| o.reward);
        rewards.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), r| (low.min(r), high.max(r)))
    }

    /// Action values of the best policy, by value iteration to 1e-13: `[num_states][num_actions]`.
    ///
    /// # Errors
    /// [`EnvError::Config`] if `gamma` is not in [0, 1).
    pub fn optimal_q(&self, gamma: f64) -> Result<Vec<Vec<f64>>, EnvError> {
        self.solve(gamma, |_, q| q.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }

    /// Action values of a stochastic policy `[num_states][num_actions]`: first that action, then the policy.
    ///
    /// # Errors
    /// [`EnvError::Config`] if `gamma` is not in [0, 1) or the policy has another shape.
    pub fn q_of(&self, policy: &[Vec<f64>], gamma: f64) -> Result<Vec<Vec<f64>>, EnvError> {
        if policy.len() != self.num_states() || policy.iter().any(|row| row.len() != self.num_actions()) {
            let expected = format!("{} rows of {} probabilities", self.num_states(), self.num_actions());
            return Err(config_error("policy", format!("{} rows", policy.len()), expected));
        }
        self.solve(gamma, |state, q| policy[state].iter().zip(q).map(|(p, q)| p * q).sum())
    }

    /// Iterates `Q(s, a) = E[r + γ V(s′)]` with `V(s) = value(s, Q(s, ·))`.
    fn solve(&self, gamma: f64, value: impl Fn(usize, &[f64]) -> f64) -> Result<Vec<Vec<f64>>, EnvError> {
        if !(0.0..1.0).contains(&gamma) {
            return Err(config_error("gamma", gamma, "at least 0 and below 1"));
        }
        let mut values = vec![0.0; self.num_states()];
        loop {
            let backup = |outcomes: &Vec<Outcome>| {
                let each =
                    outcomes.iter().map(|o| o.probability * (o.reward + gamma * o.next.map_or(0.0, |s| values[s])));
                each.sum()
            };
            let q: Vec<Vec<f64>> = self.outcomes.iter().map(|row| row.iter().map(backup).collect()).collect();
            let next: Vec<f64> = q.iter().enumerate().map(|(s, row)| value(s, row)).collect();
            let moved = next.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // The error left is at most γ/(1 − γ) times the last move; rounding keeps large values from standing still.
            let scale = next.iter().fold(1.0f64, |a, v| a.max(v.abs()));
            values = next;
            if moved * gamma <= 1e-13 * scale * (1.0 - gamma).max(1e-2) {
                return Ok(q);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms_of_the_best_values() {
        let bandit = Mdp::two_armed_bandit().optimal_q(0.9).unwrap();
        assert_eq!(bandit, [[0.2, 0.8]]);
        let n = 5;
        let chain = Mdp::chain(n).optimal_q(0.9).unwrap();
        for (s, q) in chain.iter().enumerate() {
            let best = |s: usize| 0.9f64.powi((n - 1 - s) as i32);
            assert!((q[1] - best(s)).abs() < 1e-12);
            assert!((q[0] - 0.9 * best(s.saturating_sub(1))).abs() < 1e-12);
        }
        let endless = Mdp::endless(10).optimal_q(0.99).unwrap();
        assert!((endless[0][0] - 100.0).abs() < 1e-9 && (endless[0][1] - 99.0).abs() < 1e-9);
    }

    #[test]
    fn values_of_a_policy_follow_the_bellman_equation() {
        let mdp = Mdp::chain(4);
        let policy = vec![vec![0.3, 0.7]; 4];
        let q = mdp.q_of(&policy, 0.8).unwrap();
        let v = |s: usize| 0.3 * q[s][0] + 0.7 * q[s][1];
        for (s, row) in q.iter().enumerate() {
            assert!((row[0] - 0.8 * v(s.saturating_sub(1))).abs() < 1e-12);
            let right = if s == 3 { 1.0 } else { 0.8 * v(s + 1) };
            assert!((row[1] - right).abs() < 1e-12);
        }
        assert!(mdp.q_of(&policy[..3], 0.8).is_err());
        assert!(mdp.optimal_q(1.0).is_err());
    }
}
