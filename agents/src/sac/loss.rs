//! The losses of discrete soft actor-critic (Christodoulou, arXiv:1910.07207, equations 3, 10 and 12), on one row.

use crate::losses::policy::entropy;

/// `Σ_a π(a) (Q(a) − α ln π(a))`: the soft value of a state, with the smaller of both critics for each candidate.
pub(super) fn soft_value(log_probs: &[f64], first: &[f32], second: &[f32], alpha: f64) -> f64 {
    let legal = log_probs.iter().enumerate().filter(|(_, l)| **l > f64::NEG_INFINITY);
    legal.map(|(a, l)| l.exp() * (f64::from(first[a].min(second[a])) - alpha * l)).sum()
}

/// `Σ_a π(a) (α ln π(a) − Q(a))`, which the policy makes small, and `weight` times its gradient with respect to the
/// logits, added to `grad`: `∂/∂ l_j = π(j) (α ln π(j) − Q(j) − loss)`.
pub(super) fn policy_loss(
    log_probs: &[f64],
    first: &[f32],
    second: &[f32],
    alpha: f64,
    grad: &mut [f32],
    weight: f64,
) -> f64 {
    let loss = -soft_value(log_probs, first, second, alpha);
    for (a, l) in log_probs.iter().enumerate().filter(|(_, l)| **l > f64::NEG_INFINITY) {
        let q = f64::from(first[a].min(second[a]));
        grad[a] += (weight * l.exp() * (alpha * l - q - loss)) as f32;
    }
    loss
}

/// How far the entropy of a row is above its target, a share of that of the uniform policy.
pub(super) fn excess_entropy(log_probs: &[f64], scale: f64) -> f64 {
    let legal = log_probs.iter().filter(|l| **l > f64::NEG_INFINITY).count();
    entropy(log_probs) - scale * (legal.max(1) as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::policy::log_softmax;

    fn log_probs(logits: &[f64]) -> Vec<f64> {
        let mut out = Vec::new();
        log_softmax(logits, |i| i != 2, &mut out).unwrap();
        out
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let logits = [0.3, -1.0, 9.0, 0.8];
        let (first, second) = ([1.0f32, 2.0, 7.0, -0.5], [1.5f32, 0.5, 7.0, 0.0]);
        let mut grad = [0.0f32; 4];
        policy_loss(&log_probs(&logits), &first, &second, 0.3, &mut grad, 1.0);
        for j in 0..4 {
            let at = |delta: f64| {
                let mut moved = logits;
                moved[j] += delta;
                policy_loss(&log_probs(&moved), &first, &second, 0.3, &mut [0.0; 4], 1.0)
            };
            let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((numeric - f64::from(grad[j])).abs() < 1e-5, "{j}: {} not {numeric}", grad[j]);
        }
        assert_eq!(grad[2], 0.0, "an illegal candidate has no gradient");
    }

    #[test]
    fn the_best_policy_is_the_softmax_of_values_over_temperature() {
        // With π ∝ e^(Q/α) the loss is stationary, and the soft value is α ln Σ e^(Q/α).
        let q = [1.0f32, 0.2, 7.0, -0.5];
        let alpha = 0.5;
        let best: Vec<f64> = q.iter().map(|&q| f64::from(q) / alpha).collect();
        let mut grad = [0.0f32; 4];
        let loss = policy_loss(&log_probs(&best), &q, &q, alpha, &mut grad, 1.0);
        assert!(grad.iter().all(|g| g.abs() < 1e-6), "{grad:?}");
        let sum: f64 = [0, 1, 3].iter().map(|&i| best[i].exp()).sum();
        assert!((loss + alpha * sum.ln()).abs() < 1e-6);
    }

    #[test]
    fn a_uniform_policy_is_above_the_target() {
        let uniform = log_probs(&[0.0; 4]);
        assert!((excess_entropy(&uniform, 1.0)).abs() < 1e-12);
        assert!((excess_entropy(&uniform, 0.5) - 0.5 * 3f64.ln()).abs() < 1e-12);
    }
}
