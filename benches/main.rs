//! Benchmarks.

mod rec_sim;

criterion::criterion_group!(rec_sim_benches, rec_sim::interest_evolution);
criterion::criterion_main!(rec_sim_benches);
