//! Rounds of experience where an env step is slow: the sync runner, actor threads that take turns with the learner, and
//! free-running ones.

use criterion::{Criterion, Throughput};
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
const ROUNDS: u64 = 20;

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

fn agent() -> (Box<dyn Agent<CandidateObs, Slate>>, Arc<Snapshot>) {
    let spec = slow().expect("the task exists").spec().clone();
    let device = candle_core::Device::Cpu;
    let built = build_agent(AgentKind::Random, &AgentConfig::default(), &spec, None, &device, Seed::root(0));
    let mut agent = built.expect("a random agent fits any task");
    let snapshot = agent.learner().snapshot(&[]).expect("there is nothing to copy");
    (agent, snapshot)
}

/// Env steps per second with an env step of 100 µs and a learner that takes 10 ms for 100 of them.
pub fn modes(c: &mut Criterion) {
    let mut group = c.benchmark_group("rollout of slow env steps");
    group.sample_size(10).throughput(Throughput::Elements(ROUNDS * 100));
    let (agent, snapshot) = agent();
    for actors in [0, 2] {
        group.bench_function(format!("in turn, {actors} actors"), |b| {
            b.iter(|| {
                let (make, seed) = (|| agent.make_actor(), Seed::root(1));
                let mut runner = Runner::new(|_| slow(), make, &config(actors), seed, &Stop::new()).expect("valid");
                for _ in 0..ROUNDS {
                    runner.collect(&snapshot).expect("plays");
                    work(LEARNING);
                }
            });
        });
    }
    group.bench_function("free-running, 2 actors", |b| {
        b.iter(|| {
            let (make, seed, free) = (|| agent.make_actor(), Seed::root(1), FreeConfig { max_lag: 1, rounds: ROUNDS });
            let mut runner = FreeRunner::new(|_| slow(), make, &config(2), free, seed, &Stop::new()).expect("valid");
            let mut env_steps = 0;
            for _ in 0..ROUNDS {
                env_steps += runner.collect(&snapshot).expect("plays").rollout.env_steps() as u64;
                work(LEARNING);
            }
            assert_eq!(env_steps, ROUNDS * 100, "every transition arrives");
        });
    });
    group.finish();
}
