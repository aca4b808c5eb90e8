//! Tasks that isolate one part of a learner each, for agents that see candidates.

use crate::AsCandidates;
use crate::finite::{Finite, Mdp, Outcome};
use retune::env::EnvError;

/// States of [`Probe::Batching`].
const VALUES: usize = 8;

/// A task that only one more part of a learner is needed for than for the one before it: the first that fails names
/// the part that is broken. After the probe environments of A. Jones (2021), "Debugging reinforcement learning systems".
///
/// All are small enough for seconds; [`Probe::mdp`] knows the exact values. [`super::TextProbe`] is the one after these,
/// for text encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// One action, one step, reward 1. A value that does not become 1: the value loss or its optimizer.
    ValueLoss,
    /// One action, eight states, one step; state i of n pays `2i / (n − 1) − 1`. Values that are right on average and
    /// wrong for each: rows of a batch are mixed up, or the observation does not reach the network.
    Batching,
    /// One action, two states in a row, reward 1 at the second. The value of the first must be γ: the discount, the
    /// bootstrap, or the end of the episode.
    Discounting,
    /// Two actions, one step, rewards 0 and 1. The first must not be taken: the policy gradient, or the choice of the
    /// best value.
    PolicyGradient,
    /// Two states and two actions, one step; the action of the state's number pays 1, the other −1. All of the above for
    /// the observation: advantages that belong to other rows than their actions.
    BatchedPolicy,
    /// Two states and two actions; both actions of the first pay nothing, but only the second leads on to where the
    /// second action pays 1 once more. Credit for a reward that comes later.
    DelayedReward,
}

impl Probe {
    /// All of them, in the order in which they should be tried.
    pub const ALL: [Self; 6] = [
        Self::ValueLoss,
        Self::Batching,
        Self::Discounting,
        Self::PolicyGradient,
        Self::BatchedPolicy,
        Self::DelayedReward,
    ];

    /// The process, with its exact values.
    #[must_use]
    pub fn mdp(self) -> Mdp {
        let first = vec![1.0, 0.0];
        match self {
            Self::ValueLoss => task("value_loss", vec![1.0], vec![vec![vec![Outcome::end(1.0, 0)]]]),
            Self::Batching => {
                let pays = |i: usize| 2.0 * i as f64 / (VALUES - 1) as f64 - 1.0;
                let state = |i: usize| vec![vec![Outcome::end(pays(i), i)]];
                task("batching", vec![1.0 / VALUES as f64; VALUES], (0..VALUES).map(state).collect())
            }
            Self::Discounting => {
                task("discounting", first, vec![vec![vec![Outcome::certain(0.0, 1)]], vec![vec![Outcome::end(1.0, 1)]]])
            }
            Self::PolicyGradient => {
                task("policy_gradient", vec![1.0], vec![vec![vec![Outcome::end(0.0, 0)], vec![Outcome::end(1.0, 0)]]])
            }
            Self::BatchedPolicy => {
                let pays = |matches: bool, s: usize| vec![Outcome::end(if matches { 1.0 } else { -1.0 }, s)];
                let state = |s: usize| vec![pays(s == 0, s), pays(s == 1, s)];
                task("batched_policy", vec![0.5; 2], (0..2).map(state).collect())
            }
            Self::DelayedReward => {
                let stop = |reward: f64, s: usize| vec![Outcome::end(reward, s)];
                let outcomes =
                    vec![vec![stop(0.0, 0), vec![Outcome::certain(0.0, 1)]], vec![stop(0.0, 1), stop(1.0, 1)]];
                task("delayed_reward", first, outcomes)
            }
        }
    }

    /// The task with one-hot states and actions as candidates without features.
    ///
    /// # Errors
    /// None for these tasks; the type leaves room.
    pub fn env(self) -> Result<AsCandidates<Finite>, EnvError> {
        AsCandidates::new(Finite::new(self.mdp()))
    }

    /// Expected return of the best policy, undiscounted.
    #[must_use]
    pub fn best_return(self) -> f64 {
        self.mdp().best_return_within(2)
    }

    /// Expected return of uniformly random actions, undiscounted.
    #[must_use]
    pub fn random_return(self) -> f64 {
        let mdp = self.mdp();
        let uniform = vec![vec![1.0 / mdp.num_actions() as f64; mdp.num_actions()]; mdp.num_states()];
        mdp.return_within(&uniform, 2)
    }
}

fn task(name: &str, start: Vec<f64>, outcomes: Vec<Vec<Vec<Outcome>>>) -> Mdp {
    let description = "Isolates one part of a learner.";
    Mdp::new(format!("probe/{name}"), description, start, outcomes).expect("the probes of this file are distributions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use retune::env::{Env, Slate, Status};

    #[test]
    fn values_are_what_the_descriptions_say() {
        let q = |probe: Probe| probe.mdp().optimal_q(0.9).unwrap().concat();
        assert_eq!(q(Probe::ValueLoss), [1.0]);
        let batching = q(Probe::Batching);
        assert_eq!((batching[0], batching[7], batching.iter().sum::<f64>().abs() < 1e-12), (-1.0, 1.0, true));
        assert_eq!(q(Probe::Discounting), [0.9, 1.0]);
        assert_eq!(q(Probe::PolicyGradient), [0.0, 1.0]);
        assert_eq!(q(Probe::BatchedPolicy), [1.0, -1.0, -1.0, 1.0]);
        assert_eq!(q(Probe::DelayedReward), [0.0, 0.9, 0.0, 1.0]);
        let returns: Vec<(f64, f64)> = Probe::ALL.iter().map(|p| (p.best_return(), p.random_return())).collect();
        let choice = &returns[3..];
        assert_eq!(choice, [(1.0, 0.5), (1.0, 0.0), (1.0, 0.25)]);
        // Without a choice nothing can be gained; what is learnt shows in the values alone.
        assert!(returns[..3].iter().all(|(best, random)| (best - random).abs() < 1e-12));
    }

    #[test]
    fn episodes_are_as_long_as_they_should_be() {
        let mut env = Probe::DelayedReward.env().unwrap();
        env.reset(Some(1)).unwrap();
        assert_eq!(env.step(&Slate(vec![1])).unwrap().status, Status::Running);
        let last = env.step(&Slate(vec![1])).unwrap();
        assert_eq!((last.reward, last.status), (1.0, Status::Terminated));
        env.reset(None).unwrap();
        assert_eq!(env.step(&Slate(vec![0])).unwrap().status, Status::Terminated);
    }
}
