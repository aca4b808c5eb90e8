//! How well cases were diagnosed, and at what cost.
//!
//! Ties of probabilities go to the lowest index. Nothing here is random; intervals come from `retune::stats`.

mod classification;
mod cost;
mod differential;
#[cfg(test)]
mod tests;

pub use classification::{Classification, classification};
pub use cost::{CostCurve, cost_curve, mean_utility};
pub use differential::{DifferentialCase, DifferentialMetrics, Masks, Ratio, differential};

/// Classes by probability, the likeliest first, the lowest index first among equals.
fn ranked(probabilities: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    // The sort is stable.
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    order
}

/// What is wrong with the input of a measurement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MetricsError(pub String);

/// Refuses an empty list, lists of different lengths, and a class beyond the probabilities.
fn check(labels: &[usize], probabilities: &[Vec<f64>]) -> Result<usize, MetricsError> {
    let classes = probabilities.first().map_or(0, Vec::len);
    let fits = labels.len() == probabilities.len()
        && probabilities.iter().all(|p| p.len() == classes && p.iter().all(|x| x.is_finite()))
        && labels.iter().all(|&y| y < classes);
    if labels.is_empty() || !fits {
        let message = "expected at least one case, and for each a label and as many finite probabilities";
        return Err(MetricsError(format!("{} labels, {} distributions: {message}", labels.len(), probabilities.len())));
    }
    Ok(classes)
}
