//! Quantile regression: QR-DQN (Dabney et al., arXiv:1710.10044).

use crate::targets::Real;

/// Lanes of the inner sums. A fixed number of partial sums lets the compiler use vector instructions without changing
/// the order of additions from one machine to the next.
const LANES: usize = 8;

/// Quantile Huber loss of one sample (equation 10), `Σ_i mean_j |τ_i − 1{u_ij < 0}| L_κ(u_ij) / κ` with
/// `τ_i = (i + ½) / N`, `u_ij = target_j − θ_i`, and its gradient with respect to θ.
///
/// # Shapes
/// `theta` and `grad`: `[N]`; `targets`: any number of samples of the return.
pub fn quantile_huber<T: Real>(theta: &[T], targets: &[f64], kappa: f64, grad: &mut [T]) -> f64 {
    let loss = scaled(theta, targets, kappa, 1.0 / kappa, grad);
    loss / kappa
}

/// [`quantile_huber`] without the division by κ, as some implementations have it; equal at κ = 1.
///
/// # Shapes
/// As [`quantile_huber`].
pub fn quantile_huber_undivided<T: Real>(theta: &[T], targets: &[f64], kappa: f64, grad: &mut [T]) -> f64 {
    scaled(theta, targets, kappa, 1.0, grad)
}

/// The undivided loss, and `factor` times its gradient.
fn scaled<T: Real>(theta: &[T], targets: &[f64], kappa: f64, factor: f64, grad: &mut [T]) -> f64 {
    let (count, samples) = (theta.len() as f64, targets.len() as f64);
    let mut total = 0.0;
    for (i, (theta, grad)) in theta.iter().zip(grad).enumerate() {
        let tau = (i as f64 + 0.5) / count;
        let (loss, slope) = one_quantile(theta.wide(), tau, targets, kappa);
        total += loss / samples;
        *grad = T::narrow(-factor * slope / samples);
    }
    total
}

/// Sums over targets of the weighted Huber loss and of its derivative with respect to the error.
fn one_quantile(theta: f64, tau: f64, targets: &[f64], kappa: f64) -> (f64, f64) {
    let (mut losses, mut slopes) = ([0.0; LANES], [0.0; LANES]);
    let mut add = |lane: usize, target: f64| {
        let u = target - theta;
        let weight = if u < 0.0 { 1.0 - tau } else { tau };
        // c (u − c/2) is u²/2 within κ and κ (|u| − κ/2) beyond, without a branch.
        let c = u.min(kappa).max(-kappa);
        losses[lane] += weight * c * (u - 0.5 * c);
        slopes[lane] += weight * c;
    };
    let (chunks, rest) = targets.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &target) in chunk.iter().enumerate() {
            add(lane, target);
        }
    }
    for (lane, &target) in rest.iter().enumerate() {
        add(lane, target);
    }
    (losses.iter().sum(), slopes.iter().sum())
}
