//! What is learnt on tiny processes is what value iteration finds.

use super::super::{EpsilonGreedy, Linear, TabularAlgorithm, TabularConfig};
use super::{Trial, all_forms, online};
use retune::env::{Env, EnvError, EnvSpec, EnvState, Status, Step, TimeLimit};
use retune::rollout::RunnerConfig;
use retune_envs::finite::{Finite, Mdp};

const GAMMA: f64 = 0.8;

fn off_policy(algorithm: TabularAlgorithm) -> bool {
    use TabularAlgorithm::{DoubleQ, QLambda, QLearning, TreeBackup};
    matches!(algorithm, QLearning | DoubleQ | TreeBackup | QLambda)
}

/// Largest difference of the learnt values to those of `exact`.
fn error(config: &TabularConfig, mdp: &Mdp, rounds: usize, exact: impl Fn(&[Vec<f64>]) -> Vec<Vec<f64>>) -> f64 {
    let make = || Finite::new(mdp.clone());
    let slots = RunnerConfig { num_envs: 2, shard_size: 1, steps_per_round: 1, actors: 0 };
    let trial = Trial::new(config, make, &slots, 3).rounds(rounds);
    let table = trial.agent.tabular().acting_values();
    let learnt: Vec<Vec<f64>> = (0..mdp.num_states()).map(|s| table.row(s as u32).to_vec()).collect();
    let exact = exact(&learnt);
    learnt.iter().flatten().zip(exact.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn off_policy_values_are_those_of_the_best_policy() {
    let mdp = Mdp::chain(4);
    for form in all_forms().into_iter().filter(|c| off_policy(c.algorithm)) {
        let config = TabularConfig {
            gamma: GAMMA,
            epsilon: Linear::constant(0.5),
            learning_rate: Linear::constant(0.3),
            ..form.clone()
        };
        let best = |_: &[Vec<f64>]| mdp.optimal_q(GAMMA).unwrap();
        let found = error(&config, &mdp, 4000, best);
        assert!(found < 1e-6, "{found} with {form:?}");
        // Negative control: with another discount the values are others.
        let other = TabularConfig { gamma: 0.75, ..config };
        assert!(error(&other, &mdp, 4000, best) > 0.01, "{form:?}");
    }
}

#[test]
fn on_policy_values_are_those_of_the_exploring_policy() {
    let mdp = Mdp::chain(4);
    let epsilon = 0.4;
    for form in all_forms().into_iter().filter(|c| !off_policy(c.algorithm)) {
        let config = TabularConfig {
            gamma: GAMMA,
            epsilon: Linear::constant(epsilon),
            learning_rate: Linear { start: 0.3, end: 0.002, env_steps: 40_000 },
            ..form.clone()
        };
        let policy = EpsilonGreedy { epsilon };
        let of_policy = |learnt: &[Vec<f64>]| {
            let rows = learnt.iter().map(|q| (0..q.len()).map(|a| policy.probability(q, a as u32)).collect());
            mdp.q_of(&rows.collect::<Vec<_>>(), GAMMA).unwrap()
        };
        let found = error(&config, &mdp, 30_000, of_policy);
        assert!(found < 0.02, "{found} with {form:?}");
        // Negative control: they are not those of the best policy.
        let best = error(&config, &mdp, 30_000, |_| mdp.optimal_q(GAMMA).unwrap());
        assert!(best > 0.05, "{best} with {form:?}");
    }
}

/// Takes the time limit for an end, which is the mistake the next test is about.
struct Confused(TimeLimit<Finite>);

impl Env for Confused {
    type Obs = u32;
    type Action = u32;

    fn spec(&self) -> &EnvSpec {
        self.0.spec()
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<u32, EnvError> {
        self.0.reset(seed)
    }

    fn step(&mut self, action: &u32) -> Result<Step<u32>, EnvError> {
        let step = self.0.step(action)?;
        let status = if step.status == Status::Truncated { Status::Terminated } else { step.status };
        Ok(Step { status, ..step })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        self.0.save_state()
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.0.restore_state(state)
    }
}

#[test]
fn a_time_limit_is_no_end() {
    let limited = || TimeLimit::from_spec(Finite::new(Mdp::endless(5))).unwrap();
    for form in all_forms() {
        // Without exploration every algorithm evaluates the action that pays 1 for ever.
        let config = TabularConfig {
            gamma: GAMMA,
            epsilon: Linear::constant(0.0),
            learning_rate: Linear::constant(0.2),
            initial_q: 1.0,
            ..form.clone()
        };
        let exact = 1.0 / (1.0 - GAMMA);
        let found = Trial::new(&config, limited, &online(), 1).rounds(2000).agent.tabular().acting_values().get(0, 0);
        assert!((found - exact).abs() < 1e-6, "{found} with {form:?}");
        let confused = || Confused(limited());
        let found = Trial::new(&config, confused, &online(), 1).rounds(2000).agent.tabular().acting_values().get(0, 0);
        assert!(found < exact - 0.5, "{found} with {form:?}");
    }
}

#[test]
fn visits_make_a_value_the_mean_of_its_rewards() {
    let mdp = Mdp::two_armed_bandit();
    let config = TabularConfig {
        visit_exponent: 1.0,
        learning_rate: Linear::constant(1.0),
        epsilon: Linear::constant(1.0),
        ..TabularConfig::default()
    };
    let found = error(&config, &mdp, 20_000, |_| mdp.optimal_q(GAMMA).unwrap());
    // Five standard errors of a mean of 20,000 rewards, half of 40,000 steps.
    assert!(found < 5.0 * (0.16f64 / 20_000.0).sqrt(), "{found}");
}
