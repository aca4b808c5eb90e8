//! Measurements of speed and memory: what `experiment bench` shows.
//!
//! Names, shapes and what is timed follow the peers (PyTorch, ONNX Runtime, RecSim), so that figures of
//! one machine can be laid side by side.

mod compute;
mod encoder;
pub mod memory;
mod mlp;
mod rest;
mod rollout;
mod training;

pub use compute::{Compute, compute};

use anyhow::Result;
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Time that one case may take in all: the whole table stays below a minute.
const BUDGET: Duration = Duration::from_millis(1000);

/// Shortest block of calls that is timed as one sample.
const BLOCK: Duration = Duration::from_millis(20);

/// One measured case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, such as `l6/forward/b32xt32`.
    pub case: String,
    /// What `median`, `min` and `max` count: `secs` per call, or `per_sec`.
    pub unit: String,
    /// The middle sample.
    pub median: f64,
    /// The least sample.
    pub min: f64,
    /// The largest sample.
    pub max: f64,
    /// Samples taken.
    pub samples: usize,
    /// Highest memory of the case beyond that of the program before it, in MiB; where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_mib: Option<f64>,
}

/// A case that can be measured.
pub struct Case {
    /// Its name.
    pub name: String,
    /// Whether it wants a process of its own, so that its memory is its own too.
    pub alone: bool,
    run: Box<dyn Fn() -> Result<Figure>>,
}

impl Case {
    fn new(name: &str, alone: bool, run: impl Fn() -> Result<Timing> + 'static) -> Self {
        let case = name.to_owned();
        let run = move || {
            let before = memory::reset_peak();
            let timing = run()?;
            let peak_mib = if alone { memory::peak_since(before) } else { None };
            Ok(Figure { case: case.clone(), peak_mib, ..timing.figure() })
        };
        Self { name: name.to_owned(), alone, run: Box::new(run) }
    }

    /// A case of tensors on `device`. On the CPU it has a process and so memory of its own; elsewhere the memory of the
    /// process is not where the tensors are, and none is told.
    fn on(device: &Device, name: &str, run: impl Fn() -> Result<Timing> + 'static) -> Self {
        Self::new(name, device.is_cpu(), run)
    }

    /// Measures it.
    ///
    /// # Errors
    /// If what is measured fails.
    pub fn run(&self) -> Result<Figure> {
        (self.run)()
    }
}

/// All cases for tensors on `device`, in the order of the table. Those that run on the CPU whatever the device (small
/// networks, simulated users, whole trainings) are there for the CPU alone.
#[must_use]
pub fn cases(device: &Device) -> Vec<Case> {
    let (encoder, optimizers) = (encoder::cases(device), rest::optimizers(device));
    if !device.is_cpu() {
        return encoder.into_iter().chain(optimizers).collect();
    }
    let products = Case::new(compute::PRODUCTS, true, compute::products);
    let rest = optimizers.into_iter().chain(rest::cases()).chain(training::cases()).chain(rollout::cases());
    encoder.into_iter().chain([products]).chain(mlp::cases()).chain(rest).collect()
}

/// Samples of one case.
struct Timing {
    unit: &'static str,
    samples: Vec<f64>,
}

impl Timing {
    fn figure(mut self) -> Figure {
        self.samples.sort_by(f64::total_cmp);
        let (count, at) = (self.samples.len(), |i: usize| self.samples.get(i).copied().unwrap_or(f64::NAN));
        Figure {
            case: String::new(),
            unit: self.unit.to_owned(),
            median: 0.5 * (at((count.max(1) - 1) / 2) + at(count / 2)),
            min: at(0),
            max: at(count.max(1) - 1),
            samples: count,
            peak_mib: None,
        }
    }

    /// The same as a rate of `amount` per call.
    fn rate(self, amount: f64) -> Self {
        Self { unit: "per_sec", samples: self.samples.iter().map(|secs| amount / secs).collect() }
    }
}

/// Seconds per call of `f`: first a call that is not counted, then blocks of calls until the budget is used up.
fn time<R>(mut f: impl FnMut() -> Result<R>) -> Result<Timing> {
    let began = Instant::now();
    black_box(f()?);
    let once = Instant::now();
    black_box(f()?);
    let calls = (BLOCK.as_secs_f64() / once.elapsed().as_secs_f64().max(1e-9)).ceil().max(1.0) as u32;
    let mut samples = Vec::new();
    while samples.len() < 3 || began.elapsed() < BUDGET {
        let block = Instant::now();
        for _ in 0..calls {
            black_box(f()?);
        }
        samples.push(block.elapsed().as_secs_f64() / f64::from(calls));
    }
    Ok(Timing { unit: "secs", samples })
}

/// [`time`], each call until `device` has done its work: a GPU returns before.
fn time_on<R>(device: &Device, mut f: impl FnMut() -> Result<R>) -> Result<Timing> {
    time(|| {
        let result = f()?;
        device.synchronize()?;
        Ok(result)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_a_figure() {
        let figure = Timing { unit: "secs", samples: vec![3.0, 1.0, 2.0, 4.0] }.figure();
        assert_eq!((figure.median, figure.min, figure.max, figure.samples), (2.5, 1.0, 4.0, 4));
        let rate = Timing { unit: "secs", samples: vec![0.5, 0.25, 1.0] }.rate(2.0).figure();
        assert_eq!((rate.unit.as_str(), rate.median, rate.max), ("per_sec", 4.0, 8.0));
    }

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<String> = cases(&Device::Cpu).into_iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases(&Device::Cpu).len());
        assert!(names.contains("l6/forward/b32xt32") && names.contains("mlp64/train/b64"));
    }
}
