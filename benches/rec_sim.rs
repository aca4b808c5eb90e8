//! Env steps of `interest_evolution`. RecSim takes 16.9k / 11.9k / 7.7k steps per second and core at these sizes.

use criterion::{BatchSize, Criterion, Throughput};
use retune::env::{Env, Slate};
use retune_envs::rec_sim::{EvolutionConfig, EvolutionModel, InterestEvolution, Sim};

/// Episodes per measured batch.
const EPISODES: u64 = 20;

/// Whole episodes with a fixed slate: the simulator alone, and with observations.
pub fn interest_evolution(c: &mut Criterion) {
    let mut group = c.benchmark_group("interest_evolution");
    for (candidates, size) in [(5, 2), (10, 3), (20, 3)] {
        let config = EvolutionConfig::with_sizes(candidates, size);
        let slate = Slate((0..size as u32).collect());
        let model = EvolutionModel::features(config.clone()).expect("the default settings are valid");
        let play_sim = |mut sim: Sim<EvolutionModel>| {
            let mut steps = 0;
            for seed in 0..EPISODES {
                sim.reset(Some(seed));
                while !sim.step(&slate.0).expect("the slate is legal").terminated {}
                steps += sim.steps();
            }
            steps
        };
        let play_env = |mut env: InterestEvolution| {
            for seed in 0..EPISODES {
                env.reset(Some(seed)).expect("a reset always succeeds");
                while !env.step(&slate).expect("the slate is legal").status.is_over() {}
            }
        };
        group.throughput(Throughput::Elements(play_sim(Sim::new(model.clone()))));
        group.bench_function(format!("simulator {candidates},{size}"), |b| {
            b.iter_batched(|| Sim::new(model.clone()), play_sim, BatchSize::SmallInput);
        });
        group.bench_function(format!("with observations {candidates},{size}"), |b| {
            b.iter_batched(|| InterestEvolution::from_model(model.clone()), play_env, BatchSize::SmallInput);
        });
    }
    group.finish();
}
