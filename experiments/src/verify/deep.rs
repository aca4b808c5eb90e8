//! What the deep value agents learn on tiny processes, with one-hot states and a small network.
//!
//! The processes are certain wherever a tight tolerance needs it, so that what is left is the optimizer's error.

use super::subjects::NumberedEnv;
use super::{Found, Listed, Subjects};
use anyhow::Result;
use retune::nn::mlp::Activation;
use retune_agents::dqn::{Bootstrap, Distribution, DqnConfig, Exploration};
use retune_agents::losses::TdLoss;
use retune_agents::net::NetConfig;
use retune_agents::q_learning::TargetNetwork;
use retune_envs::finite::{Finite, Mdp, Outcome};
use retune_envs::probe::aliased;

const GAMMA: f64 = 0.8;
/// Values of these processes are of order 1; a discount that is a tenth off moves them by more than twice this.
const TOLERANCE: f64 = 0.05;
const ENV_STEPS: u64 = 6_400;
const BEST: &str = "value iteration: chain";
const TIME_LIMIT: &str = "closed form: time limit, 1/(1 - gamma)";
const ALIASED: &str = "closed form: aliased state";

pub const CHECKS: &[Listed] = &[
    ("DQN", BEST, |s| best(s, &base())),
    ("double DQN", BEST, |s| best(s, &DqnConfig { double_q: true, ..base() })),
    ("dueling DQN", BEST, |s| best(s, &DqnConfig { dueling: true, ..base() })),
    ("C51", BEST, |s| best(s, &DqnConfig { distribution: categorical(1.0), ..base() })),
    ("QR-DQN", BEST, |s| best(s, &DqnConfig { distribution: QUANTILES, ..base() })),
    ("DQN, 3 steps, random behaviour", "policy evaluation: two random steps, then the best", |s| n_step(s, 3)),
    ("deep SARSA", "policy evaluation: chain and cliff", |s| random(s, Bootstrap::Taken)),
    ("deep expected SARSA", "policy evaluation: chain and cliff", |s| random(s, Bootstrap::Expected)),
    ("deep expected SARSA, own policy", "policy evaluation: epsilon-greedy", exploring),
    ("DQN across a time limit", TIME_LIMIT, |s| time_limit(s, &base())),
    ("DQN, 3 steps, across a time limit", TIME_LIMIT, |s| time_limit(s, &DqnConfig { n_step: 3, ..base() })),
    ("C51 across a time limit", TIME_LIMIT, |s| time_limit(s, &DqnConfig { distribution: categorical(6.0), ..base() })),
    ("QR-DQN across a time limit", TIME_LIMIT, |s| time_limit(s, &DqnConfig { distribution: QUANTILES, ..base() })),
    ("deep expected SARSA across a time limit", TIME_LIMIT, |s| {
        time_limit(s, &DqnConfig { bootstrap: Bootstrap::Expected, ..base() })
    }),
    ("DQN, one value for a state in disguise", ALIASED, |s| disguise(s, 1)),
    ("DQN, 2 steps, a state in disguise", ALIASED, |s| disguise(s, 2)),
];

const QUANTILES: Distribution = Distribution::Quantile { num_quantiles: 5, kappa: 0.1 };

fn categorical(v_max: f64) -> Distribution {
    Distribution::Categorical { v_min: 0.0, v_max, num_atoms: 21 }
}

fn exploration(epsilon: f64) -> Exploration {
    Exploration { initial_eps: epsilon, final_eps: epsilon, fraction: 1.0 }
}

/// Acts at random; a small network whose learning rate falls to a hundredth.
fn base() -> DqnConfig {
    let plain = DqnConfig::default();
    let mut net = NetConfig { hidden: vec![16], activation: Activation::Relu, ..plain.net.clone() };
    net.optimizer.learning_rate = 1e-2;
    DqnConfig {
        gamma: GAMMA,
        learning_starts: 64,
        batch_size: 32,
        buffer_size: 6_400,
        train_freq: 8,
        gradient_steps: 4,
        target_network: TargetNetwork::Hard { updates: 20 },
        exploration: exploration(1.0),
        loss: TdLoss::Squared,
        learning_rate_end: 0.01,
        net,
        ..plain
    }
}

fn boxed(mdp: &Mdp) -> NumberedEnv {
    Box::new(Finite::new(mdp.clone()))
}

/// A row of three states along a cliff: action 0 waits, 1 goes on, 2 falls. Every step costs 0.1 and a fall 1; the end
/// of the row and a fall both terminate.
fn cliff() -> Mdp {
    let state = |s: usize| {
        let on = if s == 2 { Outcome::end(0.5, s) } else { Outcome::certain(-0.1, s + 1) };
        vec![vec![Outcome::certain(-0.1, s)], vec![on], vec![Outcome::end(-1.0, s)]]
    };
    let about = "A row of states along a cliff.";
    Mdp::new("verify/cliff", about, vec![0.5, 0.25, 0.25], (0..3).map(state).collect()).expect("certain steps")
}

/// The actions are random, and the values are those of the best policy all the same.
fn best(subjects: &Subjects, config: &DqnConfig) -> Result<Found> {
    let mdp = Mdp::chain(3);
    let mut found = Found::within(TOLERANCE);
    let values = (subjects.train_values)(config, &|| boxed(&mdp), mdp.num_states(), ENV_STEPS)?;
    found.compare_all(&values, &mdp.optimal_q(GAMMA)?.concat())?;
    Ok(found)
}

/// Sums of n rewards are those of the random actions that were taken; only what follows them is the best. So the fixed
/// point is that of one step of the action, n − 1 of the behaviour and the best value then.
fn n_step(subjects: &Subjects, n: usize) -> Result<Found> {
    let mdp = Mdp::chain(3);
    let backup = |values: &[f64]| -> Vec<[f64; 2]> {
        let one = |s: usize, a: usize| -> f64 {
            let outcomes = mdp.outcomes(s, a).iter();
            outcomes.map(|o| o.probability * (o.reward + if o.terminated { 0.0 } else { GAMMA * values[o.next] })).sum()
        };
        (0..mdp.num_states()).map(|s| [one(s, 0), one(s, 1)]).collect()
    };
    let mut q = vec![[0.0f64; 2]; mdp.num_states()];
    for _ in 0..200 {
        let mut values: Vec<f64> = q.iter().map(|q| q[0].max(q[1])).collect();
        for _ in 1..n {
            values = backup(&values).iter().map(|q| 0.5 * (q[0] + q[1])).collect();
        }
        q = backup(&values);
    }
    let mut found = Found::within(TOLERANCE);
    let config = DqnConfig { n_step: n, ..base() };
    let values = (subjects.train_values)(&config, &|| boxed(&mdp), mdp.num_states(), 2 * ENV_STEPS)?;
    found.compare_all(&values, q.as_flattened())?;
    Ok(found)
}

/// Values of the random behaviour.
fn random(subjects: &Subjects, bootstrap: Bootstrap) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for mdp in [Mdp::chain(3), cliff()] {
        let config = DqnConfig { bootstrap, ..base() };
        let values = (subjects.train_values)(&config, &|| boxed(&mdp), mdp.num_states(), ENV_STEPS)?;
        let actions = mdp.num_actions();
        let uniform = vec![vec![1.0 / actions as f64; actions]; mdp.num_states()];
        found.compare_all(&values, &mdp.q_of(&uniform, GAMMA)?.concat())?;
    }
    Ok(found)
}

/// Values of the policy that explores around them.
fn exploring(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    let epsilon = 0.6;
    for mdp in [Mdp::chain(3), cliff()] {
        let config = DqnConfig { bootstrap: Bootstrap::Expected, exploration: exploration(epsilon), ..base() };
        let values = (subjects.train_values)(&config, &|| boxed(&mdp), mdp.num_states(), ENV_STEPS)?;
        let actions = mdp.num_actions();
        let row = |q: &[f64]| -> Vec<f64> {
            let best = (0..actions).fold(0, |best, a| if q[a] > q[best] { a } else { best });
            let greedy = |a: usize| if a == best { 1.0 - epsilon } else { 0.0 };
            (0..actions).map(|a| greedy(a) + epsilon / actions as f64).collect()
        };
        let policy: Vec<Vec<f64>> = values.chunks(actions).map(row).collect();
        found.compare_all(&values, &mdp.q_of(&policy, GAMMA)?.concat())?;
    }
    Ok(found)
}

/// Episodes of five steps that a limit cuts: the value is that of going on for ever.
fn time_limit(subjects: &Subjects, config: &DqnConfig) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    // One action, so that what n-step sums add up is what the best policy earns.
    let stay = vec![vec![vec![Outcome::certain(1.0, 0)]]];
    let paying = Mdp::new("verify/endless", "Pays for ever.", vec![1.0], stay).map(|mdp| mdp.with_time_limit(5))?;
    let values = (subjects.train_values)(config, &|| boxed(&paying), 1, ENV_STEPS)?;
    found.compare_all(&values, &[1.0 / (1.0 - GAMMA)])?;
    Ok(found)
}

/// See [`aliased`].
fn disguise(subjects: &Subjects, n_step: usize) -> Result<Found> {
    let mut found = Found::within(0.03);
    let config = DqnConfig { n_step, ..base() };
    let values = (subjects.train_values)(&config, &|| Box::new(aliased()), 1, ENV_STEPS)?;
    // The first step bootstraps from the state itself, or with two steps meets the end; the second always does.
    found.compare_all(&values, &[if n_step == 1 { 1.0 / (2.0 - GAMMA) } else { 0.5 * (1.0 + GAMMA) }])?;
    Ok(found)
}
