//! Training on CartPole-v1 with the network and the schedule of updates of the RL Zoo of Stable-Baselines3: env steps
//! per second, acting and learning together, evaluation left out.

use super::{Case, Timing, time};
use anyhow::Result;
use candle_core::Device;
use retune::agent::{Agent, Stop};
use retune::env::{CandidateObs, Env, Slate};
use retune::nn::mlp::AdamConfig;
use retune::rng::Seed;
use retune::rollout::{Runner, RunnerConfig};
use retune_agents::dqn::{DqnAgent, DqnConfig};
use retune_agents::net::NetConfig;
use retune_agents::policy_gradient::{PolicyGradientAgent, PpoConfig};
use retune_agents::q_learning::TargetNetwork;
use retune_agents::{LearningConfig, Setup};
use retune_envs::AsCandidates;
use retune_envs::control::CartPole;

type Trained = Box<dyn Agent<CandidateObs, Slate>>;

pub(super) fn cases() -> Vec<Case> {
    let ppo = RunnerConfig { num_envs: 8, shard_size: 8, steps_per_round: 32, actors: 0 };
    let dqn = RunnerConfig { num_envs: 1, shard_size: 1, steps_per_round: 256, actors: 0 };
    vec![
        Case::new("CartPole-v1/train/ppo", false, move || steps_per_second(&ppo, 100_000, make_ppo)),
        Case::new("CartPole-v1/train/dqn", false, move || steps_per_second(&dqn, 50_000, make_dqn)),
    ]
}

fn make_ppo(setup: &Setup<'_>) -> retune::Result<Trained> {
    Ok(Box::new(PolicyGradientAgent::ppo(setup, &PpoConfig::cartpole())?))
}

fn make_dqn(setup: &Setup<'_>) -> retune::Result<Trained> {
    let optimizer = AdamConfig { learning_rate: 2.3e-3, ..DqnConfig::default().net.optimizer };
    let config = DqnConfig {
        learning_starts: 1000,
        batch_size: 64,
        train_freq: 256,
        gradient_steps: 128,
        target_network: TargetNetwork::Hard { updates: 10 },
        net: NetConfig { hidden: vec![256, 256], optimizer, ..DqnConfig::default().net },
        ..DqnConfig::default()
    };
    Ok(Box::new(DqnAgent::new(setup, &config, "dqn")?))
}

/// Whole rounds of acting and learning over a budget of `env_steps`; the first ones, before learning starts, are not
/// counted.
fn steps_per_second(
    config: &RunnerConfig,
    env_steps: u64,
    make: impl Fn(&Setup<'_>) -> retune::Result<Trained>,
) -> Result<Timing> {
    let env = || AsCandidates::new(CartPole::new()).map_err(retune::Error::from);
    let (learning, seed) = (LearningConfig { env_steps, ..LearningConfig::default() }, Seed::root(0));
    let spec = env()?;
    let setup = Setup { learning: &learning, spec: spec.spec(), text: None, device: &Device::Cpu, seed };
    let (mut agent, stop) = (make(&setup)?, Stop::new());
    let mut runner = Runner::new(|_| env(), || agent.make_actor(), config, seed, &stop)?;
    let per_round = config.env_steps_per_round();
    let mut round = || -> Result<()> {
        let snapshot = agent.learner().snapshot(&[])?;
        let (rollout, _) = runner.collect(&snapshot)?;
        agent.learner().learn(rollout, &stop)?;
        Ok(())
    };
    for _ in 0..1000 / per_round + 1 {
        round()?;
    }
    Ok(time(round)?.rate(per_round as f64))
}
