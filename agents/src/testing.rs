//! What the tests of all agents share.

use crate::{AgentConfig, AgentKind, LearningConfig, Setup, build_agent};
use candle_core::Device;
use retune::agent::{Agent, Metrics, Mode, Stop};
use retune::env::{CandidateObs, Env, EnvSpec, Slate};
use retune::rng::Seed;
use retune::rollout::{Evaluation, Runner, RunnerConfig, evaluate};
use retune_envs::probe::SlateBandit;

pub(crate) type DynAgent = dyn Agent<CandidateObs, Slate>;

/// An agent on the CPU, without texts.
pub(crate) fn build(kind: AgentKind, config: &AgentConfig, spec: &EnvSpec, seed: Seed) -> Box<DynAgent> {
    build_agent(kind, config, spec, None, &Device::Cpu, seed.child("agent")).unwrap()
}

/// On the CPU, without texts.
pub(crate) fn setup<'a>(learning: &'a LearningConfig, spec: &'a EnvSpec, seed: Seed) -> Setup<'a> {
    Setup { learning, spec, text: None, device: &Device::Cpu, seed: seed.child("agent") }
}

/// A runner whose actors belong to `agent`.
pub(crate) fn runner<E>(agent: &DynAgent, make: impl Fn(usize) -> E, config: &RunnerConfig, seed: Seed) -> Runner<E>
where
    E: Env<Obs = CandidateObs, Action = Slate> + 'static,
{
    Runner::new(|i| Ok(make(i)), || agent.make_actor(), config, seed, &Stop::new()).unwrap()
}

/// Plays and learns for `rounds` rounds; returns the metrics of the last.
pub(crate) fn go_on<E>(agent: &mut DynAgent, runner: &mut Runner<E>, rounds: usize) -> Metrics
where
    E: Env<Obs = CandidateObs, Action = Slate> + 'static,
{
    let mut metrics = Metrics::new();
    for _ in 0..rounds {
        let snapshot = agent.learner().snapshot(&[]).unwrap();
        let (rollout, _) = runner.collect(&snapshot).unwrap();
        metrics = agent.learner().learn(rollout, &Stop::new()).unwrap();
    }
    metrics
}

/// Plays and learns for `rounds` rounds from the start.
pub(crate) fn train<E>(
    agent: &mut DynAgent,
    make: impl Fn(usize) -> E,
    config: &RunnerConfig,
    seed: Seed,
    rounds: usize,
) -> Metrics
where
    E: Env<Obs = CandidateObs, Action = Slate> + 'static,
{
    let mut runner = runner(agent, make, config, seed);
    go_on(agent, &mut runner, rounds)
}

/// Mean return of `episodes` episodes that training never saw, and its standard error.
pub(crate) fn score<E>(agent: &mut DynAgent, make: impl Fn(usize) -> E, episodes: u64) -> (f64, f64)
where
    E: Env<Obs = CandidateObs, Action = Slate> + 'static,
{
    let seeds: Vec<u64> = (0..episodes).map(|i| Seed::root(777).index(i).to_u64()).collect();
    let evaluation = Evaluation { seeds: &seeds, batch: 500, mode: Mode::Evaluate, time_limit: Some(1000) };
    let mut actor = agent.make_actor().unwrap();
    let snapshot = agent.learner().snapshot(&[]).unwrap();
    let records =
        evaluate(|i| Ok(make(i)), actor.as_mut(), &snapshot, &evaluation, &Stop::new(), &mut |_| Ok(())).unwrap();
    let n = records.len() as f64;
    let mean = records.iter().map(|r| r.episode_return).sum::<f64>() / n;
    let variance = records.iter().map(|r| (r.episode_return - mean).powi(2)).sum::<f64>() / n;
    (mean, (variance / n).sqrt())
}

/// Exact expected return of the evaluated policy in the slate bandit: the mean of the values of what it shows over
/// offers that training never saw.
pub(crate) fn bandit_value(agent: &mut DynAgent) -> f64 {
    bandit_value_of(agent, SlateBandit::features())
}

/// [`bandit_value`] in the given form.
pub(crate) fn bandit_value_of(agent: &mut DynAgent, mut env: SlateBandit) -> f64 {
    let mut actor = agent.make_actor().unwrap();
    actor.load(&agent.learner().snapshot(&[]).unwrap()).unwrap();
    let episodes = 300;
    let mut total = 0.0;
    for seed in 0..episodes {
        let obs = std::sync::Arc::new(env.reset(Some(Seed::root(9).index(seed).to_u64())).unwrap());
        let mut rngs = [Seed::root(1).rng()];
        let slate = actor.act(&[obs], &mut rngs, Mode::Evaluate).unwrap().remove(0).action;
        let items: Vec<usize> = slate.0.iter().map(|&i| env.offer()[i as usize]).collect();
        total += SlateBandit::value(&items);
    }
    total / episodes as f64
}
