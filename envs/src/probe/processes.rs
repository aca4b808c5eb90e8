//! Tiny processes whose values have a closed form.

use crate::finite::{Mdp, Outcome};

impl Mdp {
    /// One state and two arms that pay 1 with probability 0.2 and 0.8; every episode is one step.
    #[must_use]
    pub fn two_armed_bandit() -> Self {
        let arm =
            |p: f64| vec![Outcome::end(1.0, 0).with_probability(p), Outcome::end(0.0, 0).with_probability(1.0 - p)];
        built("probe/two_armed_bandit", "Two arms; the second pays more often.", vec![vec![arm(0.2), arm(0.8)]])
    }

    /// `n` states in a row (at least 1): action 1 goes right, action 0 goes left (and stays at the left end). Going
    /// right from the last state terminates with reward 1; every other reward is 0.
    ///
    /// Closed form: the best value of state s is γ^(n − 1 − s).
    #[must_use]
    pub fn chain(n: usize) -> Self {
        let state = |s: usize| {
            let right = if s + 1 < n.max(1) { Outcome::certain(0.0, s + 1) } else { Outcome::end(1.0, s) };
            vec![vec![Outcome::certain(0.0, s.saturating_sub(1))], vec![right]]
        };
        built("probe/chain", "Walk to the right end of a row of states.", (0..n.max(1)).map(state).collect())
    }

    /// One state that never ends: action 0 pays 1, action 1 pays 0, and the spec asks for a time limit.
    ///
    /// Closed form: the best value is 1/(1 − γ). Whoever takes the truncation for an end learns less, for the last step
    /// before the limit only 1.
    #[must_use]
    pub fn endless(time_limit: u64) -> Self {
        let stay = |reward| vec![Outcome::certain(reward, 0)];
        let about = "A state that pays for ever; only a time limit cuts it.";
        built("probe/endless", about, vec![vec![stay(1.0), stay(0.0)]]).with_time_limit(time_limit)
    }
}

/// A process that begins in state 0.
fn built(name: &str, description: &str, outcomes: Vec<Vec<Vec<Outcome>>>) -> Mdp {
    let start = (0..outcomes.len()).map(|s| f64::from(u8::from(s == 0))).collect();
    Mdp::new(name, description, start, outcomes).expect("the processes of this file are distributions")
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
