//! What the tabular agents learn on tiny processes.

use super::subjects::NumberedEnv;
use super::{Found, Listed, Subjects};
use anyhow::Result;
use retune::env::TimeLimit;
use retune_agents::tabular::{EpsilonGreedy, Linear, TabularAlgorithm, TabularConfig, TraceKind};
use retune_envs::control::cliff_walking;
use retune_envs::finite::{Finite, Mdp};
use retune_envs::probe::aliased;

const GAMMA: f64 = 0.8;
const BEST: &str = "value iteration: chain";
const EXPLORING: &str = "policy evaluation: chain";
const TIME_LIMIT: &str = "closed form: time limit, 1/(1 - gamma)";

pub const CHECKS: &[Listed] = &[
    ("tabular Q-learning", BEST, |s| best(s, &form(TabularAlgorithm::QLearning, 1))),
    ("tabular double Q-learning", BEST, |s| best(s, &form(TabularAlgorithm::DoubleQ, 1))),
    ("tabular tree backup, 3 steps", BEST, |s| best(s, &form(TabularAlgorithm::TreeBackup, 3))),
    ("tabular Q(lambda), replacing", BEST, |s| best(s, &traced(TabularAlgorithm::QLambda, TraceKind::Replacing))),
    ("tabular Q(lambda), accumulating", BEST, |s| best(s, &traced(TabularAlgorithm::QLambda, TraceKind::Accumulating))),
    ("tabular Q(lambda), Dutch", BEST, |s| best(s, &traced(TabularAlgorithm::QLambda, TraceKind::Dutch))),
    ("tabular SARSA", EXPLORING, |s| exploring(s, &form(TabularAlgorithm::Sarsa, 1))),
    ("tabular SARSA, 3 steps", EXPLORING, |s| exploring(s, &form(TabularAlgorithm::Sarsa, 3))),
    ("tabular expected SARSA", EXPLORING, |s| exploring(s, &form(TabularAlgorithm::ExpectedSarsa, 1))),
    ("tabular expected SARSA, 3 steps", EXPLORING, |s| exploring(s, &form(TabularAlgorithm::ExpectedSarsa, 3))),
    ("tabular SARSA(lambda), replacing", EXPLORING, |s| {
        exploring(s, &traced(TabularAlgorithm::SarsaLambda, TraceKind::Replacing))
    }),
    ("tabular SARSA(lambda), accumulating", EXPLORING, |s| {
        exploring(s, &traced(TabularAlgorithm::SarsaLambda, TraceKind::Accumulating))
    }),
    ("tabular SARSA(lambda), Dutch", EXPLORING, |s| {
        exploring(s, &traced(TabularAlgorithm::SarsaLambda, TraceKind::Dutch))
    }),
    ("tabular agents across a time limit", TIME_LIMIT, time_limit),
    ("tabular Q-learning, mean of rewards", "closed form: two-armed bandit", bandit),
    ("tabular Q-learning along a cliff", "closed form: 13 steps", cliff),
    ("tabular SARSA(lambda), state in disguise", "closed form: aliased state", disguise),
];

fn form(algorithm: TabularAlgorithm, n_steps: usize) -> TabularConfig {
    TabularConfig { algorithm, n_steps, gamma: GAMMA, ..TabularConfig::default() }
}

fn traced(algorithm: TabularAlgorithm, trace: TraceKind) -> TabularConfig {
    TabularConfig { trace, ..form(algorithm, 1) }
}

fn boxed(mdp: &Mdp) -> NumberedEnv {
    Box::new(Finite::new(mdp.clone()))
}

/// Half of the actions are random, and the values are those of the best policy all the same.
fn best(subjects: &Subjects, form: &TabularConfig) -> Result<Found> {
    let mdp = Mdp::chain(4);
    let config = TabularConfig { epsilon: Linear::constant(0.5), learning_rate: Linear::constant(0.3), ..form.clone() };
    let mut found = Found::within(1e-6);
    let values = (subjects.train)(&config, &|| boxed(&mdp), 4000)?;
    found.compare_all(&values, &mdp.optimal_q(GAMMA)?.concat())?;
    Ok(found)
}

/// The values are those of the policy that explores, up to what the random actions of a finite run leave.
fn exploring(subjects: &Subjects, form: &TabularConfig) -> Result<Found> {
    let mdp = Mdp::chain(4);
    let epsilon = 0.4;
    let config = TabularConfig {
        epsilon: Linear::constant(epsilon),
        learning_rate: Linear { start: 0.3, end: 0.002, env_steps: 30_000 },
        ..form.clone()
    };
    let mut found = Found::within(0.02);
    let values = (subjects.train)(&config, &|| boxed(&mdp), 20_000)?;
    let policy = EpsilonGreedy { epsilon };
    let probabilities = |q: &[f64]| (0..q.len()).map(|a| policy.probability(q, a as u32)).collect();
    let policy: Vec<Vec<f64>> = values.chunks(2).map(probabilities).collect();
    found.compare_all(&values, &mdp.q_of(&policy, GAMMA)?.concat())?;
    Ok(found)
}

fn time_limit(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(1e-6);
    for algorithm in TabularAlgorithm::ALL {
        let config = TabularConfig {
            epsilon: Linear::constant(0.0),
            learning_rate: Linear::constant(0.2),
            initial_q: 1.0,
            ..form(algorithm, 1)
        };
        let values = (subjects.train)(&config, &|| boxed(&Mdp::endless(5)), 1500)?;
        found.compare(values[0], 1.0 / (1.0 - GAMMA));
    }
    Ok(found)
}

fn bandit(subjects: &Subjects) -> Result<Found> {
    // Five standard errors of a mean of 10,000 rewards.
    let mut found = Found::within(0.02);
    let config = TabularConfig {
        visit_exponent: 1.0,
        learning_rate: Linear::constant(1.0),
        epsilon: Linear::constant(1.0),
        ..form(TabularAlgorithm::QLearning, 1)
    };
    let values = (subjects.train)(&config, &|| boxed(&Mdp::two_armed_bandit()), 10_000)?;
    found.compare_all(&values, &[0.2, 0.8])?;
    Ok(found)
}

fn cliff(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(1e-9);
    let mdp = cliff_walking(false);
    let config = TabularConfig { learning_rate: Linear::constant(1.0), ..form(TabularAlgorithm::QLearning, 1) };
    // A limit, so that no episode of the untrained agent takes for ever.
    let make =
        || -> NumberedEnv { Box::new(TimeLimit::new(Finite::new(mdp.clone()), 200).expect("200 steps are a limit")) };
    let values = (subjects.train)(&config, &make, 10_000)?;
    let start = values[36 * 4..37 * 4].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    found.compare(start, -(1.0 - GAMMA.powi(13)) / (1.0 - GAMMA));
    Ok(found)
}

/// See [`aliased`].
fn disguise(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(5e-3);
    for lambda in [0.0, 0.5, 1.0] {
        let config = TabularConfig {
            lambda,
            learning_rate: Linear { start: 0.2, end: 1e-3, env_steps: 20_000 },
            epsilon: Linear::constant(0.0),
            ..traced(TabularAlgorithm::SarsaLambda, TraceKind::Accumulating)
        };
        let values = (subjects.train)(&config, &|| Box::new(aliased()), 15_000)?;
        found.compare(values[0], (1.0 + GAMMA * lambda) / (2.0 - GAMMA * (1.0 - lambda)));
    }
    Ok(found)
}
