//! What is not an encoder: optimizers, simulated users, statistics.

use super::{Case, Timing, time, time_on};
use anyhow::Result;
use candle_core::{Device, Tensor};
use retune::env::{Env, Slate, TimeLimit};
use retune::nn::{Adafactor, AdamW, Algorithm, Gradients, Init, Optimizer, OptimizerConfig, ParamStore, Sgd};
use retune::rng::Seed;
use retune::stats::{Bootstrap, Metric, Scores};
use retune_envs::control::{CartPolePhysics, Classic};
use retune_envs::rec_sim::{EvolutionConfig, InterestEvolution};
use std::collections::BTreeMap;

/// Rows and columns of the word table of a MiniLM encoder.
const TABLE: [usize; 2] = [30_522, 384];

/// One step of each optimizer on the word table of an encoder.
pub(super) fn optimizers(device: &Device) -> Vec<Case> {
    let algorithms = [
        ("adamw", Algorithm::AdamW(AdamW::default())),
        ("sgd", Algorithm::Sgd(Sgd::default())),
        ("adafactor", Algorithm::Adafactor(Adafactor::default())),
    ];
    let step = |(name, algorithm): (&str, Algorithm)| {
        let device = device.clone();
        Case::on(&device.clone(), &format!("{name}/word_table"), move || optimizer_step(algorithm, &device))
    };
    algorithms.into_iter().map(step).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (candidates, size) in [(5, 2), (10, 3)] {
        let name = format!("interest_evolution/{candidates}x{size}/steps");
        cases.push(Case::new(&name, false, move || env_steps(candidates, size)));
    }
    cases.push(Case::new("CartPole-v1/steps", false, cart_pole));
    cases.push(Case::new("bootstrap_iqm/10x26/2000", false, bootstrap));
    cases
}

fn optimizer_step(algorithm: Algorithm, device: &Device) -> Result<Timing> {
    let mut store = ParamStore::new(device, Seed::root(0));
    store.init("table", &TABLE, Init::Const(0.1))?;
    let grad = Tensor::full(0.01f32, (TABLE[0], TABLE[1]), device)?;
    let gradients = Gradients::from_map(BTreeMap::from([("table".to_owned(), grad)]));
    let mut optimizer = Optimizer::new(OptimizerConfig { algorithm, ..OptimizerConfig::default() })?;
    time_on(device, || Ok(optimizer.step(&store, &gradients)?))
}

/// Env steps per second with a fixed slate, in one thread.
fn env_steps(candidates: usize, size: usize) -> Result<Timing> {
    const STEPS: usize = 1000;
    let mut env = InterestEvolution::features(EvolutionConfig::with_sizes(candidates, size))?;
    let slate = Slate((0..size as u32).collect());
    let mut episode = 0;
    let mut over = true;
    let timing = time(|| {
        for _ in 0..STEPS {
            if over {
                env.reset(Some(episode))?;
                episode += 1;
            }
            over = env.step(&slate)?.status.is_over();
        }
        Ok(())
    })?;
    Ok(timing.rate(STEPS as f64))
}

/// Env steps per second with random actions, in one thread.
fn cart_pole() -> Result<Timing> {
    const STEPS: usize = 10_000;
    let mut env = TimeLimit::from_spec(Classic::<CartPolePhysics>::new())?;
    let mut rng = Seed::root(0).child("bench actions").rng();
    let actions: Vec<u32> = (0..STEPS).map(|_| rng.below(2) as u32).collect();
    env.reset(Some(0))?;
    let timing = time(|| {
        for action in &actions {
            if env.step(action)?.status.is_over() {
                env.reset(None)?;
            }
        }
        Ok(())
    })?;
    Ok(timing.rate(STEPS as f64))
}

/// An interval for the interquartile mean of 10 runs on 26 tasks.
fn bootstrap() -> Result<Timing> {
    let mut rng = Seed::root(0).child("bench scores").rng();
    let runs: Vec<Vec<f64>> = (0..10).map(|_| (0..26).map(|_| rng.uniform()).collect()).collect();
    let scores = Scores::from_runs(&runs)?;
    let bootstrap = Bootstrap::new(Seed::root(0)).with(2000, 0.95)?;
    time(|| Ok(bootstrap.interval(&scores, Metric::Iqm)))
}
