//! Tests of the tabular agents.

mod fixed_points;
mod learning;
mod repeatability;
mod targets;

use super::{TabularAgent, TabularAlgorithm, TabularConfig};
use retune::agent::{Agent, Stop};
use retune::env::Env;
use retune::rng::Seed;
use retune::rollout::{Runner, RunnerConfig};

/// An agent and the runner that feeds it.
pub(super) struct Trial<E: Env<Obs = u32, Action = u32> + 'static> {
    pub agent: TabularAgent,
    pub runner: Runner<E>,
}

impl<E: Env<Obs = u32, Action = u32> + 'static> Trial<E> {
    pub fn new(config: &TabularConfig, make: impl Fn() -> E, runner: &RunnerConfig, seed: u64) -> Self {
        let seed = Seed::root(seed);
        let agent = TabularAgent::new(config, make().spec(), &seed.child("agent")).unwrap();
        let runner = Runner::new(|_| Ok(make()), || agent.make_actor(), runner, seed, &Stop::new()).unwrap();
        Self { agent, runner }
    }

    pub fn rounds(mut self, rounds: usize) -> Self {
        self.go_on(rounds);
        self
    }

    pub fn go_on(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let snapshot = self.agent.learner().snapshot(&[]).unwrap();
            let (rollout, _) = self.runner.collect(&snapshot).unwrap();
            self.agent.learner().learn(rollout, &Stop::new()).unwrap();
        }
    }
}

/// The textbook's loop: one step, one update.
pub(super) fn online() -> RunnerConfig {
    RunnerConfig { num_envs: 1, shard_size: 1, steps_per_round: 1, actors: 0 }
}

/// Every algorithm, those with n steps also with three, those with traces with all kinds.
pub(super) fn all_forms() -> Vec<TabularConfig> {
    use super::TraceKind::{Accumulating, Dutch, Replacing};
    let mut forms = Vec::new();
    for algorithm in TabularAlgorithm::ALL {
        let plain = TabularConfig { algorithm, ..TabularConfig::default() };
        if algorithm.has_traces() {
            forms.extend([Replacing, Accumulating, Dutch].map(|trace| TabularConfig { trace, ..plain.clone() }));
        } else {
            forms.push(plain.clone());
            let ahead = TabularConfig { n_steps: 3, ..plain };
            forms.extend(ahead.validate().is_ok().then_some(ahead));
        }
    }
    forms
}
