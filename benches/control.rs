//! Steps of the classic control tasks.

use criterion::{Criterion, Throughput};
use retune::env::{Env, Slate, TimeLimit};
use retune::rng::Seed;
use retune_envs::control::{AcrobotPhysics, CartPolePhysics, Classic, ControlTask, MountainCarPhysics, Physics};
use std::hint::black_box;

/// Env steps per measured batch.
const STEPS: u64 = 10_000;

/// Random actions, a reset after every episode: the equations alone, and through the interface of environments.
pub fn classic(c: &mut Criterion) {
    bench::<CartPolePhysics>(c);
    bench::<AcrobotPhysics>(c);
    bench::<MountainCarPhysics>(c);
}

fn bench<P: Physics>(c: &mut Criterion) {
    let mut group = c.benchmark_group(P::ID);
    group.throughput(Throughput::Elements(STEPS));
    let mut rng = Seed::root(0).rng();
    let actions: Vec<u32> = (0..STEPS).map(|_| rng.below(P::NUM_ACTIONS as usize) as u32).collect();
    group.bench_function("equations", |b| {
        let mut state = P::start(&mut rng);
        b.iter(|| {
            for &action in &actions {
                if P::advance(&mut state, action).1 {
                    state = P::start(&mut rng);
                }
                black_box(P::observe(&state));
            }
        });
    });
    group.bench_function("environment with its time limit", |b| {
        let mut env = TimeLimit::from_spec(Classic::<P>::new()).expect("the declared limit is valid");
        env.reset(Some(0)).expect("a reset always succeeds");
        b.iter(|| {
            for action in &actions {
                let step = env.step(action).expect("the action is legal");
                if black_box(step).status.is_over() {
                    env.reset(None).expect("a reset always succeeds");
                }
            }
        });
    });
    group.finish();
}

/// CartPole as agents see it.
pub fn candidates(c: &mut Criterion) {
    let mut group = c.benchmark_group("control/cartpole");
    group.throughput(Throughput::Elements(STEPS));
    group.bench_function("as candidates", |b| {
        let mut env = ControlTask::CartPole.candidates().expect("cart-pole has numbered actions");
        env.reset(Some(0)).expect("a reset always succeeds");
        let actions = [Slate(vec![0]), Slate(vec![1])];
        b.iter(|| {
            for t in 0..STEPS as usize {
                let step = env.step(&actions[t % 2]).expect("the action is legal");
                if black_box(step).status.is_over() {
                    env.reset(None).expect("a reset always succeeds");
                }
            }
        });
    });
    group.finish();
}
