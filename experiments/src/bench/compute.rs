//! What the hardware could do, and how much of it an encoder's forward pass gets.

use super::{BUDGET, Figure, Timing};
use anyhow::Result;
use candle_core::{Device, Tensor};
use retune::nn::{fused, ops};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The case that is the forward pass, and the one that is its products alone.
pub(super) const FORWARD: &str = "l6/forward/b32xt32";
pub(super) const PRODUCTS: &str = "l6/forward_gemm/b32xt32";

/// Sizes of the encoder in both cases.
const LAYERS: usize = 6;
const TOKENS: usize = 32;
const ROWS: usize = 32 * TOKENS;
const WIDTH: usize = 384;
const HIDDEN: usize = 1536;
/// Outputs and inputs of the linear maps of a layer.
const LINEARS: [[usize; 2]; 6] =
    [[WIDTH, WIDTH], [WIDTH, WIDTH], [WIDTH, WIDTH], [WIDTH, WIDTH], [HIDDEN, WIDTH], [WIDTH, HIDDEN]];

/// Time to look for the peak.
const PEAK_TIME: Duration = Duration::from_millis(300);

/// Speed of the forward pass [`FORWARD`] against the peak of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compute {
    /// Multiply-adds from registers to registers, two operations each, on all threads, in GFLOP/s.
    pub fma_peak_gflops: f64,
    /// Operations of the matrix products of the pass over its whole time, in GFLOP/s.
    pub attained_gflops: f64,
    /// Time of the products of its linear maps alone over its whole time.
    pub gemm_share: f64,
}

/// Operations of the pass: those of its linear maps and the two products of attention.
fn operations() -> f64 {
    let linear: usize = LINEARS.iter().map(|[outputs, inputs]| outputs * inputs).sum();
    (2 * LAYERS * ROWS * (linear + 2 * TOKENS * WIDTH)) as f64
}

/// [`Compute`] from the least times of both cases, if both were measured.
#[must_use]
pub fn compute(results: &[Figure]) -> Option<Compute> {
    let least = |case: &str| results.iter().find(|figure| figure.case == case).map(|figure| figure.min);
    let (forward, products) = (least(FORWARD)?, least(PRODUCTS)?);
    Some(Compute {
        fma_peak_gflops: fused::fma_per_second(PEAK_TIME) * 1e-9,
        attained_gflops: operations() / forward * 1e-9,
        gemm_share: products / forward,
    })
}

/// All linear maps of the pass, without bias or activation, each with weights of its own as in the pass: for each place in
/// a layer the least time that it took in any, so that other work on the machine can only make the share look smaller.
pub(super) fn products() -> Result<Timing> {
    let of = |rows: usize, columns: usize| Tensor::full(0.5f32, (rows, columns), &Device::Cpu);
    let inputs = [of(ROWS, WIDTH)?, of(ROWS, HIDDEN)?];
    let mut weights = Vec::new();
    for _ in 0..LAYERS {
        for (place, [outputs, inputs]) in LINEARS.into_iter().enumerate() {
            weights.push((place, of(outputs, inputs)?.copy()?));
        }
    }
    fused::threads::run(|| {
        let (began, mut least) = (Instant::now(), [f64::INFINITY; LINEARS.len()]);
        while began.elapsed() < BUDGET {
            for (place, weight) in &weights {
                let x = if weight.dim(1)? == WIDTH { &inputs[0] } else { &inputs[1] };
                let once = Instant::now();
                std::hint::black_box(ops::linear(x, weight, None)?);
                least[*place] = least[*place].min(once.elapsed().as_secs_f64());
            }
        }
        Ok(Timing { unit: "secs", samples: vec![LAYERS as f64 * least.iter().sum::<f64>()] })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_of_the_note() {
        assert!((operations() * 1e-9 - 22.0).abs() < 0.1, "{}", operations());
    }

    #[test]
    fn shares_are_of_the_least_times() {
        let figure = |case: &str, min: f64| Figure {
            case: case.to_owned(),
            unit: "secs".to_owned(),
            median: 9.0,
            min,
            max: 9.0,
            samples: 3,
            peak_mib: None,
        };
        let found = compute(&[figure(FORWARD, 0.2), figure(PRODUCTS, 0.15)]).expect("both are there");
        assert!((found.gemm_share - 0.75).abs() < 1e-12 && (found.attained_gflops - 110.2).abs() < 0.5, "{found:?}");
        assert!(found.fma_peak_gflops > 0.0);
        assert_eq!(compute(&[figure(FORWARD, 0.2)]), None);
    }
}
