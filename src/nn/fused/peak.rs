//! How many multiply-adds this machine can do: the floor below every product.

use super::threads;
use pulp::Simd;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Independent chains: more than any CPU needs to hide the latency of one, and few enough for sixteen registers.
const CHAINS: usize = 12;
/// Multiply-adds of each chain in one sample: some milliseconds.
const STEPS: usize = 1 << 20;

/// Operations (two for each multiply-add) per second in F32, from registers to registers with the widest instructions
/// of this machine, on all [`threads::threads`] at once: the best of several samples that take about `time` together.
#[must_use]
pub fn fma_per_second(time: Duration) -> f64 {
    let (began, mut best) = (Instant::now(), 0.0f64);
    while best == 0.0 || began.elapsed() < time {
        let sample = Instant::now();
        // One task for each thread, so that all begin and end together.
        let lanes: usize = threads::on_each(|| pulp::Arch::new().dispatch(Chains)).into_iter().sum();
        let operations = 2.0 * (CHAINS * STEPS * lanes) as f64;
        best = best.max(operations / sample.elapsed().as_secs_f64());
    }
    best
}

/// Runs the chains and gives the lanes of a register.
struct Chains;

impl pulp::WithSimd for Chains {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        let (factor, summand) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(0.001)));
        let mut chains = [simd.splat_f32s(1.0); CHAINS];
        for _ in 0..STEPS {
            for chain in &mut chains {
                *chain = simd.mul_add_e_f32s(*chain, factor, summand);
            }
        }
        let sum = chains.into_iter().reduce(|a, b| simd.add_f32s(a, b));
        black_box(sum.map(|sum| simd.reduce_sum_f32s(sum)));
        S::F32_LANES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_number_of_operations_that_a_cpu_can_do() {
        let one = threads::with_single_thread(|| fma_per_second(Duration::from_millis(20)));
        // Two registers of sixteen lanes each cycle at 8 GHz are beyond any core.
        assert!(one > 1e8 && one < 2.0 * 2.0 * 16.0 * 8e9, "{one}");
    }
}
