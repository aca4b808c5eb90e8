//! Training on tiny processes, and reading what was learnt.

use super::subjects::NumberedEnv;
use anyhow::{Context, Result};
use candle_core::Device;
use retune::agent::{Agent, Mode, Stop};
use retune::env::{CandidateObs, Env, EnvError, EnvSpec, Slate};
use retune::rng::Seed;
use retune::rollout::{Runner, RunnerConfig};
use retune_agents::dqn::{DqnAgent, DqnConfig};
use retune_agents::net::NetConfig;
use retune_agents::policy_gradient::{PolicyGradientAgent, Recipe};
use retune_agents::sac::{SacAgent, SacConfig};
use retune_agents::tabular::{TabularAgent, TabularConfig};
use retune_agents::{LearningConfig, Setup};
use retune_envs::AsCandidates;
use retune_envs::finite::{Finite, Mdp};
use std::sync::Arc;

/// Slots of the tabular agents, which learn after every step.
const TABULAR: RunnerConfig = RunnerConfig { num_envs: 2, shard_size: 2, steps_per_round: 1, actors: 0 };
/// Slots of the deep agents.
const DEEP: RunnerConfig = RunnerConfig { num_envs: 8, shard_size: 8, steps_per_round: 8, actors: 0 };

/// See [`super::Subjects::train`].
pub fn tabular(config: &TabularConfig, make: &dyn Fn() -> NumberedEnv, steps: usize) -> Result<Vec<f64>> {
    let seed = Seed::root(1);
    let mut agent = TabularAgent::new(config, make().spec(), &seed.child("agent"))?;
    rounds(&mut agent, |_| Ok(make()), &TABULAR, seed, steps)?;
    Ok(agent.tabular().acting_values().values().to_vec())
}

/// See [`super::Subjects::train_values`].
pub fn values(
    config: &DqnConfig,
    make: &dyn Fn() -> NumberedEnv,
    num_states: usize,
    env_steps: u64,
) -> Result<Vec<f64>> {
    let env = || AsCandidates::new(make());
    let spec = env()?.spec().clone();
    let mut agent = deep(&spec, env_steps, |setup| DqnAgent::new(setup, config, "dqn"))?;
    rounds(&mut agent, |_| env(), &DEEP, Seed::root(1), rounds_of(env_steps))?;
    let actions = retune_agents::net::candidates(&spec)?.num_candidates;
    let state = |s: usize| (0..num_states).map(|at| f32::from(u8::from(at == s))).collect();
    let obs = |s| Arc::new(CandidateObs { state: state(s), mask: vec![true; actions], ..CandidateObs::default() });
    Ok(agent.values(&(0..num_states).map(obs).collect::<Vec<_>>())?)
}

/// See [`super::Subjects::train_policy`].
pub fn policy(net: &NetConfig, recipe: &Recipe, mdp: &Mdp, env_steps: u64) -> Result<f64> {
    let spec = bandit(mdp)?.spec().clone();
    let mut agent = deep(&spec, env_steps, |setup| PolicyGradientAgent::new(setup, net, recipe))?;
    rounds(&mut agent, |_| bandit(mdp), &DEEP, Seed::root(1), rounds_of(env_steps))?;
    second_arm(&mut agent)
}

/// See [`super::Subjects::train_sac`].
pub fn sac(config: &SacConfig, mdp: &Mdp, env_steps: u64) -> Result<f64> {
    let spec = bandit(mdp)?.spec().clone();
    let mut agent = deep(&spec, env_steps, |setup| SacAgent::new(setup, config))?;
    rounds(&mut agent, |_| bandit(mdp), &DEEP, Seed::root(1), rounds_of(env_steps))?;
    second_arm(&mut agent)
}

fn bandit(mdp: &Mdp) -> Result<AsCandidates<Finite>, EnvError> {
    AsCandidates::new(Finite::new(mdp.clone()))
}

fn rounds_of(env_steps: u64) -> usize {
    usize::try_from(env_steps).unwrap_or(usize::MAX) / DEEP.env_steps_per_round()
}

/// An agent with so many env steps to learn in.
fn deep<A>(spec: &EnvSpec, env_steps: u64, make: impl Fn(&Setup<'_>) -> retune::Result<A>) -> Result<A> {
    let learning = LearningConfig { env_steps, num_envs: DEEP.num_envs, ..LearningConfig::default() };
    let seed = Seed::root(1).child("agent");
    Ok(make(&Setup { learning: &learning, spec, text: None, device: &Device::Cpu, seed })?)
}

/// Plays and learns.
fn rounds<E, A>(
    agent: &mut A,
    make: impl Fn(usize) -> Result<E, EnvError>,
    slots: &RunnerConfig,
    seed: Seed,
    count: usize,
) -> Result<()>
where
    E: Env + 'static,
    A: Agent<E::Obs, E::Action>,
{
    let stop = Stop::new();
    let mut runner = Runner::new(|i| Ok(make(i)?), || agent.make_actor(), slots, seed, &stop)?;
    for _ in 0..count {
        let snapshot = agent.learner().snapshot(&[])?;
        let (rollout, _) = runner.collect(&snapshot)?;
        agent.learner().learn(rollout, &stop)?;
    }
    Ok(())
}

/// Probability of the second of two arms, from the probability that comes with a draw.
fn second_arm(agent: &mut dyn Agent<CandidateObs, Slate>) -> Result<f64> {
    let snapshot = agent.learner().snapshot(&[])?;
    let mut actor = agent.make_actor()?;
    actor.load(&snapshot)?;
    let obs = Arc::new(CandidateObs { state: vec![1.0], mask: vec![true; 2], ..CandidateObs::default() });
    let drawn = actor.act(&[obs], &mut [Seed::root(1).rng()], Mode::Train)?;
    let drawn = drawn.first().context("a decision")?;
    let probability = f64::from(drawn.log_prob).exp();
    Ok(if drawn.action.0 == [1] { probability } else { 1.0 - probability })
}
