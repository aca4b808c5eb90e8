//! The policy that logits give over the legal candidates of a state: a masked softmax, its entropy, divergence and
//! gradients. Sums are made in double precision; an illegal candidate has log-probability −∞ and gradient 0.

use crate::targets::Real;
use retune::rng::StreamRng;
use retune::{Error, Result};

/// Log-probabilities of `logits` over the candidates for which `legal` holds.
///
/// # Errors
/// [`Error::State`] if no candidate is legal, or the logit of a legal one is not finite.
pub fn log_softmax<T: Real>(logits: &[T], legal: impl Fn(usize) -> bool, out: &mut Vec<f64>) -> Result<()> {
    out.clear();
    out.extend(logits.iter().enumerate().map(|(i, l)| if legal(i) { l.wide() } else { f64::NEG_INFINITY }));
    let largest = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() || out.iter().any(|l| l.is_nan()) {
        return Err(Error::State(format!("no policy: of {} candidates none is legal with a finite logit", out.len())));
    }
    let sum: f64 = out.iter().map(|l| (l - largest).exp()).sum();
    let normaliser = largest + sum.ln();
    out.iter_mut().for_each(|l| *l -= normaliser);
    Ok(())
}

/// Entropy in nats of a policy given by its log-probabilities.
#[must_use]
pub fn entropy(log_probs: &[f64]) -> f64 {
    -log_probs.iter().filter(|l| **l > f64::NEG_INFINITY).map(|l| l.exp() * l).sum::<f64>()
}

/// KL(p‖q) in nats of two policies over the same legal candidates.
#[must_use]
pub fn kl(p: &[f64], q: &[f64]) -> f64 {
    let pairs = p.iter().zip(q).filter(|(p, _)| **p > f64::NEG_INFINITY);
    pairs.map(|(p, q)| p.exp() * (p - q)).sum()
}

/// A draw from the policy, by one number from the stream whatever the number of candidates.
///
/// # Panics
/// If there are no candidates.
pub fn sample(log_probs: &[f64], rng: &mut StreamRng) -> usize {
    let at = rng.uniform();
    let mut sum = 0.0;
    let mut last = 0;
    for (i, l) in log_probs.iter().enumerate().filter(|(_, l)| **l > f64::NEG_INFINITY) {
        sum += l.exp();
        last = i;
        if at < sum {
            return i;
        }
    }
    // Rounding: the probabilities sum to just below 1.
    last
}

/// The most probable candidate; of several the first.
///
/// # Panics
/// If there are no candidates.
#[must_use]
pub fn most_probable(log_probs: &[f64]) -> usize {
    (1..log_probs.len()).fold(0, |best, i| if log_probs[i] > log_probs[best] { i } else { best })
}

/// Adds `weight·∂ ln π(action)/∂ logits`, where `∂ ln π(a)/∂ l_j = 1{j = a} − π(j)`.
pub fn add_log_prob_gradient<T: Real>(grad: &mut [T], log_probs: &[f64], action: usize, weight: f64) {
    for (j, (g, l)) in grad.iter_mut().zip(log_probs).enumerate() {
        let chosen = if j == action { 1.0 } else { 0.0 };
        *g = T::narrow(g.wide() + weight * (chosen - l.exp()));
    }
}

/// Adds `weight·∂ H/∂ logits`, where `∂ H/∂ l_j = −π(j) (ln π(j) + H)`.
pub fn add_entropy_gradient<T: Real>(grad: &mut [T], log_probs: &[f64], entropy: f64, weight: f64) {
    for (g, l) in grad.iter_mut().zip(log_probs).filter(|(_, l)| **l > f64::NEG_INFINITY) {
        *g = T::narrow(g.wide() - weight * l.exp() * (l + entropy));
    }
}

/// Adds `weight·∂ KL(π‖reference)/∂ logits`, where `∂ KL/∂ l_j = π(j) (ln π(j) − ln ref(j) − KL)`.
pub fn add_kl_gradient<T: Real>(grad: &mut [T], log_probs: &[f64], reference: &[f64], kl: f64, weight: f64) {
    for ((g, l), r) in grad.iter_mut().zip(log_probs).zip(reference).filter(|((_, l), _)| **l > f64::NEG_INFINITY) {
        *g = T::narrow(g.wide() + weight * l.exp() * (l - r - kl));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use retune::rng::Seed;

    fn log_probs(logits: &[f64], mask: &[bool]) -> Vec<f64> {
        let mut out = Vec::new();
        log_softmax(logits, |i| mask[i], &mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn gradients_agree_with_finite_differences(
            rows in prop::collection::vec((-3.0..3.0f64, -3.0..3.0f64, prop::bool::weighted(0.7)), 2..7),
        ) {
            let logits: Vec<f64> = rows.iter().map(|r| r.0).collect();
            let other: Vec<f64> = rows.iter().map(|r| r.1).collect();
            let mut mask: Vec<bool> = rows.iter().map(|r| r.2).collect();
            mask[0] = true;
            let (now, reference) = (log_probs(&logits, &mask), log_probs(&other, &mask));
            let mut grads = [vec![0.0; rows.len()], vec![0.0; rows.len()], vec![0.0; rows.len()]];
            add_log_prob_gradient(&mut grads[0], &now, 0, 1.0);
            add_entropy_gradient(&mut grads[1], &now, entropy(&now), 1.0);
            add_kl_gradient(&mut grads[2], &now, &reference, kl(&now, &reference), 1.0);
            prop_assert!(kl(&now, &reference) >= -1e-12 && kl(&now, &now) == 0.0);
            for j in 0..rows.len() {
                let at = |delta: f64| {
                    let mut moved = logits.clone();
                    moved[j] += delta;
                    let l = log_probs(&moved, &mask);
                    [l[0], entropy(&l), kl(&l, &reference)]
                };
                let (up, down) = (at(1e-5), at(-1e-5));
                for f in 0..3 {
                    let numeric = (up[f] - down[f]) / 2e-5;
                    prop_assert!((numeric - grads[f][j]).abs() < 1e-6, "{f}, {j}: {} not {numeric}", grads[f][j]);
                    prop_assert!(mask[j] || grads[f][j] == 0.0);
                }
            }
        }
    }

    #[test]
    fn draws_follow_the_policy_and_never_leave_the_mask() {
        let mask = [true, false, true, true];
        let now = log_probs(&[0.5, 9.0, -1.0, 0.0], &mask);
        let mut rng = Seed::root(2).rng();
        let mut counts = [0.0; 4];
        for _ in 0..40_000 {
            counts[sample(&now, &mut rng)] += 1.0 / 40_000.0;
        }
        for (count, l) in counts.iter().zip(&now) {
            let p = l.exp();
            assert!((count - p).abs() <= 5.0 * (p * (1.0 - p) / 40_000.0).sqrt(), "{counts:?}");
        }
        assert_eq!(most_probable(&now), 0);
    }

    #[test]
    fn a_state_without_a_legal_candidate_is_an_error() {
        let error = log_softmax(&[0.0f32, 1.0], |_| false, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("none is legal"), "{error}");
        assert!(log_softmax(&[f32::NAN, 1.0], |_| true, &mut Vec::new()).is_err());
    }
}
