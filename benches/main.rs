//! Benchmarks: env steps and fused kernels. `cargo bench -p retune-experiments -- NAME` runs those that match.

mod control;
mod kernels;
mod rec_sim;

fn kernels(c: &mut criterion::Criterion) {
    kernels::bench(c).expect("the shapes of the kernel benchmarks fit");
}

criterion::criterion_group!(benches, control::classic, control::candidates, rec_sim::interest_evolution, kernels);
criterion::criterion_main!(benches);
