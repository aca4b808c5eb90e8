//! What the outputs of the network say about the return of each candidate.

use super::{Distribution, DqnConfig};
use crate::losses::{Support, softmax};
use retune::Result;

/// How a candidate's outputs are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Returns {
    /// One number: the mean.
    Mean,
    /// Logits of the atoms of a support.
    Categorical(Support),
    /// This many quantiles.
    Quantiles { count: usize, kappa: f64 },
}

impl Returns {
    pub fn new(config: &DqnConfig) -> Result<Self> {
        Ok(match config.distribution {
            Distribution::Mean => Self::Mean,
            Distribution::Categorical { v_min, v_max, num_atoms } => {
                Self::Categorical(Support::new(v_min, v_max, num_atoms)?)
            }
            Distribution::Quantile { num_quantiles, kappa } => Self::Quantiles { count: num_quantiles, kappa },
        })
    }

    /// Outputs per candidate.
    pub fn width(&self) -> usize {
        match self {
            Self::Mean => 1,
            Self::Categorical(support) => support.num_atoms(),
            Self::Quantiles { count, .. } => *count,
        }
    }

    /// Mean return of every candidate of one observation.
    ///
    /// # Shapes
    /// `outputs`: `[num_candidates, width]`; `means`: `[num_candidates]`.
    pub fn means(&self, outputs: &[f32], means: &mut [f32]) {
        match self {
            Self::Mean => means.copy_from_slice(outputs),
            _ => {
                for (outputs, mean) in outputs.chunks_exact(self.width()).zip(means) {
                    *mean = self.mean(outputs) as f32;
                }
            }
        }
    }

    /// Mean return of one candidate; `outputs` is `[width]`.
    pub fn mean(&self, outputs: &[f32]) -> f64 {
        match self {
            Self::Mean => f64::from(outputs[0]),
            Self::Categorical(support) => {
                let largest = outputs.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
                let (mut mass, mut sum) = (0.0, 0.0);
                for (j, logit) in outputs.iter().enumerate() {
                    let e = f64::from((logit - largest).exp());
                    mass += e;
                    sum += e * support.atom(j);
                }
                sum / mass
            }
            Self::Quantiles { count, .. } => outputs.iter().map(|&q| f64::from(q)).sum::<f64>() / *count as f64,
        }
    }

    /// Adds `share` of the distribution that `logits` stand for to `probs`.
    pub fn mix(share: f32, logits: &[f32], scratch: &mut [f32], probs: &mut [f32]) {
        softmax(logits, scratch);
        probs.iter_mut().zip(scratch.iter()).for_each(|(p, s)| *p += share * s);
    }
}
