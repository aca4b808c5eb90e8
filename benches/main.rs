//! Benchmarks: env steps, fused kernels, small networks. `cargo bench -p retune-experiments -- NAME` runs those
//! that match.

mod control;
mod kernels;
mod mlp;
mod rec_sim;

fn kernels(c: &mut criterion::Criterion) {
    kernels::bench(c).expect("the shapes of the kernel benchmarks fit");
}

fn small_networks(c: &mut criterion::Criterion) {
    mlp::bench(c).expect("the shapes of the networks fit");
}

criterion::criterion_group!(
    benches,
    control::classic,
    control::candidates,
    rec_sim::interest_evolution,
    kernels,
    small_networks
);
criterion::criterion_main!(benches);
