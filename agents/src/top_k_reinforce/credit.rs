//! How much of an update falls to an item: the top-K correction and the importance weight, as pure functions.
//!
//! A slate is thought of as `k` independent draws from the policy π, of which repetitions are dropped (Chen et al.,
//! arXiv:1812.02353, section 4.3). Item a is then shown with probability [`inclusion`] α = 1 − (1 − π)^k, and what is
//! to grow is `Σ_a α(a) R(a)`. Its gradient is `Σ_a π(a) λ_K(a) R(a) ∇ ln π(a)` with the [`multiplier`] λ_K.

/// `λ_K = ∂α/∂π = K (1 − π)^(K − 1)` (section 4.3): an item that is likely to be shown gains nothing from being likelier.
#[must_use]
pub fn multiplier(probability: f64, k: usize) -> f64 {
    k as f64 * (1.0 - probability).powi(k as i32 - 1)
}

/// `α = 1 − (1 − π)^K`: the probability that an item is among K draws.
#[must_use]
pub fn inclusion(probability: f64, k: usize) -> f64 {
    // Written so that small probabilities keep their digits.
    -(k as f64 * (-probability).ln_1p()).exp_m1()
}

/// `λ_K π / α = ∂ ln α / ∂ ln π`, from 1 for rare items to 0 for certain ones (1 throughout for K = 1): the factor on
/// `∇ ln π(a)` where a comes from a whole slate, in which it is found with probability α and not π.
#[must_use]
pub fn slate_multiplier(probability: f64, k: usize) -> f64 {
    let shown = inclusion(probability, k);
    if shown > 0.0 { multiplier(probability, k) * probability / shown } else { 1.0 }
}

/// `min(π/β, max_ratio)` from logarithms (section 4.4, "weight capping").
#[must_use]
pub fn importance_weight(log_prob: f64, behaviour_log_prob: f64, max_ratio: f64) -> f64 {
    (log_prob - behaviour_log_prob).exp().min(max_ratio)
}

/// Shares of the credit for position `j` of a slate, summing to 1: all of it falls to what was consumed; where nothing
/// was (`chosen` is the slate's size), to all that was shown alike.
pub(super) fn share(j: usize, chosen: usize, k: usize) -> f64 {
    match chosen {
        _ if chosen == k => 1.0 / k as f64,
        _ if chosen == j => 1.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_multiplier_is_the_slope_of_the_chance_to_be_shown() {
        for k in 1..5 {
            for p in [1e-3, 0.2, 0.5, 0.9] {
                let numeric = (inclusion(p + 1e-6, k) - inclusion(p - 1e-6, k)) / 2e-6;
                assert!((multiplier(p, k) - numeric).abs() < 1e-8, "{k} {p}");
                assert!((slate_multiplier(p, k) - numeric * p / inclusion(p, k)).abs() < 1e-8, "{k} {p}");
            }
            assert!((slate_multiplier(0.0, k) - 1.0).abs() < 1e-12 && (slate_multiplier(1e-12, k) - 1.0).abs() < 1e-9);
        }
        assert_eq!((multiplier(1.0, 1), multiplier(1.0, 3), slate_multiplier(1.0, 3)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn weights_are_ratios_up_to_the_limit() {
        let weight = |p: f64, b: f64| importance_weight(p.ln(), b.ln(), 2.0);
        assert!((weight(0.3, 0.2) - 1.5).abs() < 1e-12 && (weight(0.1, 0.4) - 0.25).abs() < 1e-12);
        assert_eq!(weight(0.9, 0.1), 2.0);
    }

    #[test]
    fn credit_falls_to_what_was_consumed_or_to_all() {
        let shares = |chosen: usize| -> Vec<f64> { (0..2).map(|j| share(j, chosen, 2)).collect() };
        assert_eq!((shares(0), shares(1), shares(2)), (vec![1.0, 0.0], vec![0.0, 1.0], vec![0.5, 0.5]));
    }
}
