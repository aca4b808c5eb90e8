//! Rounds of experience where an env step takes 100 µs and learning from 100 of them 10 ms: in the learner's thread, by
//! actor threads that take turns with the learner, and by free-running ones.

use super::{Case, Timing, time};
use anyhow::{Result, ensure};
use retune::agent::{Agent, Snapshot, Stop};
use retune::env::{CandidateObs, Env, EnvError, EnvSpec, EnvState, Slate, Step};
use retune::rng::Seed;
use retune::rollout::{FreeConfig, FreeRunner, Runner, RunnerConfig};
use retune_agents::{AgentConfig, AgentKind, build_agent};
use retune_envs::control::{CandidateEnv, ControlTask};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an env step costs.
const STEP: Duration = Duration::from_micros(100);
/// What the learner makes of a round.
const LEARNING: Duration = Duration::from_millis(10);
/// Rounds of 100 env steps in one measured run.
const ROUNDS: u64 = 10;
const ENV_STEPS: u64 = 100 * ROUNDS;

/// CartPole with a slow simulator.
struct Slow(CandidateEnv);

impl Env for Slow {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        self.0.spec()
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        self.0.reset(seed)
    }

    fn step(&mut self, action: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        work(STEP);
        self.0.step(action)
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        self.0.save_state()
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.0.restore_state(state)
    }
}

/// Keeps a core busy.
fn work(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn slow() -> retune::Result<Slow> {
    Ok(Slow(ControlTask::CartPole.candidates()?))
}

fn config(actors: usize) -> RunnerConfig {
    RunnerConfig { num_envs: 4, shard_size: 2, steps_per_round: 25, actors }
}

type Player = Box<dyn Agent<CandidateObs, Slate>>;

fn agent() -> retune::Result<(Player, Arc<Snapshot>)> {
    let (spec, device) = (slow()?.spec().clone(), candle_core::Device::Cpu);
    let mut agent = build_agent(AgentKind::Random, &AgentConfig::default(), &spec, None, &device, Seed::root(0))?;
    let snapshot = agent.learner().snapshot(&[])?;
    Ok((agent, snapshot))
}

pub(super) fn cases() -> Vec<Case> {
    let turns = |actors| Case::new(&format!("rollout/slow/turns{actors}"), false, move || in_turns(actors));
    vec![turns(0), turns(2), Case::new("rollout/slow/free2", false, free)]
}

/// Env steps per second where the learner waits for a round and the actors for the learner.
fn in_turns(actors: usize) -> Result<Timing> {
    let (agent, snapshot) = agent()?;
    let timing = time(|| {
        let (make, seed) = (|| agent.make_actor(), Seed::root(1));
        let mut runner = Runner::new(|_| slow(), make, &config(actors), seed, &Stop::new())?;
        for _ in 0..ROUNDS {
            runner.collect(&snapshot)?;
            work(LEARNING);
        }
        Ok(())
    })?;
    Ok(timing.rate(ENV_STEPS as f64))
}

/// The same with two actors that go on while the learner learns.
fn free() -> Result<Timing> {
    let (agent, snapshot) = agent()?;
    let timing = time(|| {
        let (make, seed, free) = (|| agent.make_actor(), Seed::root(1), FreeConfig { max_lag: 1, rounds: ROUNDS });
        let mut runner = FreeRunner::new(|_| slow(), make, &config(2), free, seed, &Stop::new())?;
        let mut env_steps = 0;
        for _ in 0..ROUNDS {
            env_steps += runner.collect(&snapshot)?.rollout.env_steps() as u64;
            work(LEARNING);
        }
        ensure!(env_steps == ENV_STEPS, "{env_steps} of {ENV_STEPS} env steps arrived");
        Ok(())
    })?;
    Ok(timing.rate(ENV_STEPS as f64))
}
