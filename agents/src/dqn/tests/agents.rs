//! Whole agents on tasks whose values are known.

use super::tasks::{Forever, GAMMA, Walk};
use crate::dqn::{Bootstrap, Distribution, DqnAgent, DqnConfig, Exploration, Prioritized};
use crate::learning::LearningConfig;
use crate::losses::TdLoss;
use crate::net::{NetConfig, Network, Outputs, Weights};
use crate::q_learning::TargetNetwork;
use crate::testing::{go_on, runner, setup, train};
use retune::agent::{Agent, Stop};
use retune::env::{CandidateObs, Env, EnvSpec, ObsSpec, Slate, Status};
use retune::persist::StateDict;
use retune::replay::ObsBatch;
use retune::rng::Seed;
use retune::rollout::RunnerConfig;
use retune::{Error, Result};

const RUNNER: RunnerConfig = RunnerConfig { num_envs: 4, shard_size: 2, steps_per_round: 8, actors: 0 };

fn base() -> DqnConfig {
    let plain = DqnConfig::default();
    let mut net = plain.net.clone();
    net.hidden = vec![16];
    net.optimizer.learning_rate = 5e-3;
    DqnConfig {
        gamma: GAMMA,
        learning_starts: 64,
        batch_size: 16,
        buffer_size: 5_000,
        train_freq: 8,
        gradient_steps: 4,
        target_network: TargetNetwork::Hard { updates: 20 },
        exploration: Exploration { initial_eps: 1.0, final_eps: 1.0, fraction: 1.0 },
        loss: TdLoss::Squared,
        learning_rate_end: 0.05,
        net,
        ..plain
    }
}

fn categorical(v_max: f64) -> Distribution {
    Distribution::Categorical { v_min: 0.0, v_max, num_atoms: 21 }
}

const QUANTILE: Distribution = Distribution::Quantile { num_quantiles: 8, kappa: 0.1 };

/// Every extension by itself, and all together.
fn variants(v_max: f64) -> Vec<(&'static str, DqnConfig)> {
    let noisy = |config: DqnConfig| {
        let net = NetConfig { noisy: true, ..config.net.clone() };
        DqnConfig { net, ..config }
    };
    vec![
        ("plain", base()),
        ("double", DqnConfig { double_q: true, ..base() }),
        ("dueling", DqnConfig { dueling: true, ..base() }),
        ("prioritized", DqnConfig { prioritized: Some(Prioritized::default()), ..base() }),
        ("categorical", DqnConfig { distribution: categorical(v_max), ..base() }),
        ("quantile", DqnConfig { distribution: QUANTILE, ..base() }),
        ("noisy", noisy(base())),
        ("soft", DqnConfig { target_network: TargetNetwork::Soft { tau: 0.05 }, ..base() }),
        ("sarsa", DqnConfig { bootstrap: Bootstrap::Taken, ..base() }),
        ("expected", DqnConfig { bootstrap: Bootstrap::Expected, ..base() }),
        (
            "rainbow",
            noisy(DqnConfig {
                double_q: true,
                dueling: true,
                prioritized: Some(Prioritized::default()),
                distribution: categorical(v_max),
                n_step: 3,
                ..base()
            }),
        ),
    ]
}

fn learning(env_steps: u64) -> LearningConfig {
    LearningConfig { env_steps, num_envs: RUNNER.num_envs, ..LearningConfig::default() }
}

fn agent<E: Env>(config: &DqnConfig, env: &E, env_steps: u64, seed: Seed) -> Result<DqnAgent> {
    DqnAgent::new(&setup(&learning(env_steps), env.spec(), seed), config, "dqn")
}

/// Means of the returns of all candidates of each observation, as the agent sees them without noise.
fn values(agent: &mut DqnAgent, obs: &[CandidateObs], spec: &EnvSpec) -> Vec<f64> {
    let ObsSpec::Candidates(shape) = &spec.obs else { panic!("no candidates") };
    let batch = ObsBatch::of(shape, obs.iter()).unwrap();
    let mut outputs = Outputs::default();
    let returns = agent.returns();
    let net: &mut dyn Network = agent.network_mut();
    net.resample(Weights::Online, None).unwrap();
    net.predict(Weights::Online, &batch, &mut outputs).unwrap();
    outputs.head(0).chunks(returns.width()).map(|row| returns.mean(row)).collect()
}

/// Trains for the whole budget.
fn trained<E>(config: &DqnConfig, make: impl Fn(usize) -> E, env_steps: u64) -> DqnAgent
where
    E: Env<Obs = CandidateObs, Action = Slate> + 'static,
{
    let seed = Seed::root(5);
    let mut agent = agent(config, &make(0), env_steps, seed).unwrap();
    let rounds = env_steps as usize / RUNNER.env_steps_per_round();
    train(&mut agent, make, &RUNNER, seed, rounds);
    agent
}

#[test]
fn values_reach_their_fixed_points() {
    let best = Walk::exact(|q| q[0].max(q[1]));
    let uniform = Walk::exact(|q| 0.5 * (q[0] + q[1]));
    for (name, config) in variants(1.0) {
        if name == "rainbow" {
            // n-step sums of random behaviour are not those of the best policy.
            continue;
        }
        let mut agent = trained(&config, |_| Walk::new(), 6_400);
        let got = values(&mut agent, &Walk::all(), Walk::new().spec());
        let expected = if config.bootstrap == Bootstrap::Greedy { best } else { uniform };
        for (s, expected) in expected.iter().enumerate() {
            for (a, expected) in expected.iter().enumerate() {
                let got = got[s * 3 + a];
                assert!((got - expected).abs() < 0.05, "{name}: Q({s}, {a}) = {got}, expected {expected}");
            }
        }
    }
}

#[test]
fn a_time_limit_does_not_end_the_value() {
    let value = |config: &DqnConfig, cut: Status| {
        let mut agent = trained(config, |_| Forever::new(cut, 1.0), 6_400);
        values(&mut agent, &[Forever::obs()], Forever::new(cut, 1.0).spec())[0]
    };
    for (name, config) in variants(12.0) {
        let config = DqnConfig { net: faster(&config), ..config };
        let got = value(&config, Status::Truncated);
        assert!((got - 10.0).abs() < 0.6, "{name}: {got}, expected 10");
    }
    // The control: cuts that say they terminate. One observation for all steps, so V = 1 + 0.9 · (4/5) V = 3.6.
    let wrong = value(&DqnConfig { net: faster(&base()), ..base() }, Status::Terminated);
    assert!(wrong < 5.0, "{wrong}");
}

fn faster(config: &DqnConfig) -> NetConfig {
    let mut net = config.net.clone();
    net.optimizer.learning_rate = 2e-2;
    net
}

fn state_of(agent: &mut DqnAgent) -> StateDict {
    let mut state = StateDict::default();
    agent.learner().save(&mut state, "learner.").unwrap();
    state
}

#[test]
fn a_restored_agent_goes_on_with_the_same_bits_in_both_runners() {
    for (name, config) in variants(1.0) {
        // Smaller than what comes in, so that the oldest transitions go.
        let n_step = if name == "soft" { 3 } else { config.n_step };
        let config = DqnConfig { n_step, buffer_size: 150, ..config };
        let seed = Seed::root(8);
        let fresh = || agent(&config, &Walk::new(), 1_000, seed).unwrap();
        let mut whole = fresh();
        train(&mut whole, |_| Walk::new(), &RUNNER, seed, 10);

        let mut first = fresh();
        let mut playing = runner(&first, |_| Walk::new(), &RUNNER, seed);
        go_on(&mut first, &mut playing, 5);
        let mut state = state_of(&mut first);
        playing.save(&mut state, "runner.").unwrap();

        let mut second = fresh();
        second.learner().load(&state, "learner.").unwrap();
        let threads = RunnerConfig { actors: 2, ..RUNNER };
        let mut playing = runner(&second, |_| Walk::new(), &threads, seed);
        playing.load(&state, "runner.").unwrap();
        go_on(&mut second, &mut playing, 5);

        assert!(state_of(&mut whole) == state_of(&mut second), "{name}: states differ");
        let (a, b) = (whole.learner().snapshot(&[]).unwrap(), second.learner().snapshot(&[]).unwrap());
        assert_eq!((a.version, &a.checksum), (b.version, &b.checksum), "{name}");
    }
}

#[test]
fn a_state_of_other_settings_is_refused() {
    let seed = Seed::root(8);
    let state = state_of(&mut agent(&base(), &Walk::new(), 1_000, seed).unwrap());
    let mut other = agent(&DqnConfig { gamma: 0.5, ..base() }, &Walk::new(), 1_000, seed).unwrap();
    let before = state_of(&mut other);
    let error = other.learner().load(&state, "learner.").unwrap_err().to_string();
    assert!(error.contains("saved with"), "{error}");
    assert!(before == state_of(&mut other));
}

#[test]
fn a_number_that_is_not_finite_stops_the_learner_in_a_state_that_fails_again() {
    let seed = Seed::root(3);
    let make = |_| Forever::new(Status::Truncated, 1e38);
    let config = DqnConfig { gamma: 1.0, ..base() };
    let mut agent = agent(&config, &make(0), 1_000, seed).unwrap();
    let mut playing = runner(&agent, make, &RUNNER, seed);
    let mut round = |agent: &mut DqnAgent| {
        let snapshot = agent.learner().snapshot(&[]).unwrap();
        let (rollout, _) = playing.collect(&snapshot).unwrap();
        agent.learner().learn(rollout, &Stop::new())
    };
    let first = (0..50).find_map(|_| round(&mut agent).err()).unwrap();
    assert!(matches!(first, Error::NonFinite { .. }), "{first}");
    let state = state_of(&mut agent);
    let mut again = self::agent(&config, &make(0), 1_000, seed).unwrap();
    again.learner().load(&state, "learner.").unwrap();
    let second = again.replay_update().unwrap_err();
    assert_eq!(first.to_string(), second.to_string());
}

#[test]
fn a_budget_that_ends_before_learning_starts_is_refused() {
    let error = agent(&base(), &Walk::new(), 64, Seed::root(1)).err().unwrap().to_string();
    assert_eq!(error, "dqn.learning_starts = 64: must be below the budget of 64 env steps");
}

#[test]
fn slates_of_several_are_refused() {
    let env =
        retune_envs::rec_sim::InterestEvolution::features(retune_envs::rec_sim::EvolutionConfig::with_sizes(5, 2))
            .unwrap();
    let error = agent(&base(), &env, 1_000, Seed::root(1)).err().unwrap().to_string();
    assert!(error.starts_with("env.slate_size = 2"), "{error}");
}
