//! Inverted dropout whose mask is computed again in the backward pass instead of being kept.

use super::buffer::hold;
use super::graph::{Backward, Grad, record};
use super::threads::for_each_chunk;
use crate::rng::Seed;
use candle_core::{Result, Tensor, bail};
use rand_chacha::rand_core::Rng;

/// Values per task.
const CHUNK: usize = 1 << 13;
/// Scalar operations that one value costs, for the decision to use several threads.
const COST: usize = 4;

/// Fused form of [`crate::nn::ops::dropout`].
///
/// # Errors
/// If `p` is not in [0, 1) or the tensor is not F32 on the CPU.
pub fn dropout(x: &Tensor, p: f64, key: &Seed) -> Result<Tensor> {
    let mask = Mask::new(p, key)?;
    let x = x.contiguous()?;
    let mut out = hold(&x).get()?.to_vec();
    mask.apply(&mut out);
    record(Dropout { mask }, &[&x], out, x.shape())
}

struct Dropout {
    mask: Mask,
}

impl Backward for Dropout {
    fn name(&self) -> &'static str {
        "fused-dropout"
    }

    fn reads(&self, _: usize, _: &[bool]) -> bool {
        false
    }

    fn backward(&self, _: &[Tensor], _: &[bool], mut grad: Vec<f32>) -> Result<Vec<Grad>> {
        self.mask.apply(&mut grad);
        Ok(vec![Grad::Own(grad)])
    }
}

/// Factors of consecutive entries: 0 with probability p, else 1/(1 − p).
#[derive(Clone, Copy)]
pub(super) struct Mask {
    key: Seed,
    dropped_below: u64,
    scale: f32,
}

impl Mask {
    pub(super) fn new(p: f64, key: &Seed) -> Result<Self> {
        if !(0.0..1.0).contains(&p) {
            bail!("dropout: a probability of {p} is not in [0, 1)");
        }
        Ok(Self { key: *key, dropped_below: (p * 2f64.powi(32)) as u64, scale: (1.0 / (1.0 - p)) as f32 })
    }

    /// Multiplies all values by their factors.
    fn apply(&self, values: &mut [f32]) {
        let work = COST * values.len();
        for_each_chunk(values, CHUNK, work, |i, values| {
            for (value, factor) in values.iter_mut().zip(self.from(i * CHUNK)) {
                *value *= factor;
            }
        });
    }

    /// The factors of entry `start` and all after it. ChaCha is a counter generator: word i of the stream belongs to
    /// entry i.
    pub(super) fn from(self, start: usize) -> impl Iterator<Item = f32> {
        let mut rng = self.key.rng_at(start as u128);
        std::iter::repeat_with(move || if u64::from(rng.next_u32()) < self.dropped_below { 0.0 } else { self.scale })
    }
}
