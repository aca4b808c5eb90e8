//! Long runs hold memory flat: nothing grows with the number of env steps but what is bounded by configuration.
#![cfg(target_os = "linux")]

use retune::agent::{Agent, Stop};
use retune::env::{CandidateObs, Env, Slate};
use retune::rng::Seed;
use retune::rollout::{Runner, RunnerConfig};
use retune_agents::dqn::{DqnAgent, DqnConfig};
use retune_agents::{LearningConfig, Setup};
use retune_envs::control::ControlTask;

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kilobytes << 10
}

#[test]
fn an_agent_that_replays_holds_its_memory() {
    let env = || ControlTask::CartPole.candidates().map_err(retune::Error::from);
    let spec = env().expect("the task exists").spec().clone();
    let learning = LearningConfig { env_steps: 1_000_000, ..LearningConfig::default() };
    let device = candle_core::Device::Cpu;
    let setup = Setup { learning: &learning, spec: &spec, text: None, device: &device, seed: Seed::root(1) };
    let mut config = DqnConfig { buffer_size: 1_000, train_freq: 20, ..DqnConfig::default() };
    config.net.hidden = vec![16];
    let mut agent: Box<dyn Agent<CandidateObs, Slate>> =
        Box::new(DqnAgent::new(&setup, &config, "agent").expect("valid"));
    let collection = RunnerConfig { num_envs: 8, shard_size: 4, steps_per_round: 20, actors: 0 };
    let mut runner =
        Runner::new(|_| env(), || agent.make_actor(), &collection, Seed::root(1), &Stop::new()).expect("valid");
    let mut go_on = |rounds: u64| {
        for _ in 0..rounds {
            let snapshot = agent.learner().snapshot(&[]).expect("a copy");
            let (rollout, _) = runner.collect(&snapshot).expect("plays");
            agent.learner().learn(rollout, &Stop::new()).expect("learns");
        }
    };
    // The memory is full and everything has been allocated once.
    go_on(30);
    let before = resident();
    go_on(375);
    let grown = resident().saturating_sub(before);
    // 60,000 env steps: the observations alone, were they kept, would take some 20 MB.
    assert!(grown < 8 << 20, "memory grew by {} kB", grown >> 10);
}
