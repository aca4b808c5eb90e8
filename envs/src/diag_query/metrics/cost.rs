//! Accuracy by what was paid for it.

use super::MetricsError;

/// Accuracy when every case is declared with what a cost of at most c has bought; the last answer holds after the end.
#[derive(Clone, Debug, PartialEq)]
pub struct CostCurve {
    /// 0 and every sum of costs that some case has spent, ascending, and the accuracy from there on.
    pub points: Vec<(f64, f64)>,
}

/// The curve of trajectories: the cost of each question, and whether declaring would have been right after 0, 1, …
/// questions (one entry more than questions).
///
/// # Errors
/// If there are no trajectories, their lengths do not fit, or a cost is negative or not finite.
pub fn cost_curve(trajectories: &[(Vec<f64>, Vec<bool>)]) -> Result<CostCurve, MetricsError> {
    if trajectories.is_empty() {
        return Err(MetricsError("no trajectories, expected at least one".to_owned()));
    }
    // At equal costs all changes happen together, whatever order they are added in.
    let mut changes: Vec<(f64, f64)> = vec![(0.0, 0.0)];
    for (i, (costs, right)) in trajectories.iter().enumerate() {
        if right.len() != costs.len() + 1 || costs.iter().any(|c| !c.is_finite() || *c < 0.0) {
            let expected = "finite costs from 0, and one judgement more than costs";
            return Err(MetricsError(format!("trajectory {i}: {} costs, expected {expected}", costs.len())));
        }
        let mut spent = 0.0;
        changes.push((0.0, f64::from(u8::from(right[0]))));
        for (k, cost) in costs.iter().enumerate() {
            spent += cost;
            changes.push((spent, f64::from(u8::from(right[k + 1])) - f64::from(u8::from(right[k]))));
        }
    }
    changes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut points, mut right): (Vec<(f64, f64)>, f64) = (Vec::new(), 0.0);
    for (cost, change) in changes {
        right += change;
        let accuracy = right / trajectories.len() as f64;
        match points.last_mut() {
            Some(last) if last.0 == cost => last.1 = accuracy,
            _ => points.push((cost, accuracy)),
        }
    }
    Ok(CostCurve { points })
}

impl CostCurve {
    /// A(c).
    #[must_use]
    pub fn at(&self, cost: f64) -> f64 {
        self.points.iter().take_while(|(c, _)| *c <= cost).last().map_or(0.0, |(_, accuracy)| *accuracy)
    }

    /// `(1/C) ∫₀^C A(c) dc`; A(0) if C is 0.
    #[must_use]
    pub fn area(&self, c_max: f64) -> f64 {
        if c_max <= 0.0 {
            return self.at(0.0);
        }
        let ends = self.points.iter().skip(1).map(|(c, _)| *c).chain([f64::INFINITY]);
        let piece = |((start, accuracy), end): (&(f64, f64), f64)| accuracy * (end.min(c_max) - start).max(0.0);
        self.points.iter().zip(ends).map(piece).sum::<f64>() / c_max
    }
}

/// Mean of `+1 right, −1 wrong, − λ cost` for each λ, over (right, cost) of each case.
#[must_use]
pub fn mean_utility(cases: &[(bool, f64)], lambdas: &[f64]) -> Vec<f64> {
    let utility = |lambda: f64, (right, cost): (bool, f64)| (if right { 1.0 } else { -1.0 }) - lambda * cost;
    let n = cases.len().max(1) as f64;
    lambdas.iter().map(|&lambda| cases.iter().map(|&case| utility(lambda, case)).sum::<f64>() / n).collect()
}
