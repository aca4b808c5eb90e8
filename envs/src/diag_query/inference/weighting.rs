//! Likelihood weighting (Fung and Chang 1990; Shachter and Peot 1990): sampling where exact tables would not fit.

use super::{Answer, Evidence, EvidenceMap, InferenceError, Quality, ancestors};
use crate::diag_query::network::{Network, inverse_cdf};
use retune::rng::Seed;

/// P(target | evidence) from `samples` forward samples in which known variables are set and weigh the sample.
pub(super) fn posterior(
    network: &Network,
    target: usize,
    evidence: &EvidenceMap,
    samples: usize,
    seed: u64,
) -> Result<Answer, InferenceError> {
    let keep = ancestors(network, evidence.keys().copied().chain([target]));
    let order: Vec<usize> = network.topological_order().iter().copied().filter(|&v| keep[v]).collect();
    let mut rng = Seed::root(seed).child("diag_query").child("likelihood_weighting").rng();
    let mut drawn = Vec::with_capacity(samples);
    let mut assignment = vec![0; network.len()];
    for _ in 0..samples {
        let mut log_weight = 0.0;
        for &v in &order {
            if let Some(Evidence::State(state)) = evidence.get(&v) {
                log_weight += network.row(v, &assignment)[*state].ln();
                assignment[v] = *state;
                continue;
            }
            assignment[v] = inverse_cdf(network.row(v, &assignment), rng.uniform());
            if let Some(Evidence::Likelihood(likelihood)) = evidence.get(&v) {
                log_weight += likelihood[assignment[v]].ln();
            }
        }
        drawn.push((assignment[target], log_weight));
    }
    let max = drawn.iter().map(|d| d.1).fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return Err(InferenceError::NoSupport { samples });
    }
    let states = network.variables()[target].states.len();
    let (mut sums, mut squares) = (vec![0.0; states], vec![0.0; states]);
    for (state, log_weight) in drawn {
        let weight = (log_weight - max).exp();
        sums[state] += weight;
        squares[state] += weight * weight;
    }
    let (sum, square): (f64, f64) = (sums.iter().sum(), squares.iter().sum());
    let probabilities: Vec<f64> = sums.iter().map(|s| s / sum).collect();
    // Delta method for a ratio: Σ w² (1[x] − p)² / (Σ w)².
    let error = |(p, own): (&f64, &f64)| ((own * (1.0 - p).powi(2) + (square - own) * p * p) / (sum * sum)).sqrt();
    let standard_errors = probabilities.iter().zip(&squares).map(error).collect();
    let quality = Quality::Sampled { standard_errors, effective_samples: sum * sum / square };
    Ok(Answer { probabilities, log_evidence: (sum / samples as f64).ln() + max, quality })
}
