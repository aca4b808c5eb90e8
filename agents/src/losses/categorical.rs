//! Distributions over fixed returns: C51 (Bellemare et al., arXiv:1707.06887).

use crate::targets::Real;
use retune::{Error, Result};

/// Evenly spaced returns `z_0 = v_min, …, z_{n−1} = v_max` that a distribution puts its mass on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Support {
    v_min: f64,
    v_max: f64,
    num_atoms: usize,
}

impl Support {
    /// # Errors
    /// [`Error::Config`] if there are fewer than two atoms, or `v_min` and `v_max` are not finite and in order.
    pub fn new(v_min: f64, v_max: f64, num_atoms: usize) -> Result<Self> {
        if num_atoms < 2 {
            return Err(Error::config(
                "num_atoms",
                num_atoms,
                "must be at least 2: one atom cannot tell returns apart",
            ));
        }
        if !(v_min.is_finite() && v_max.is_finite() && v_min < v_max) {
            return Err(Error::config("v_min", v_min, format!("must be finite and below v_max = {v_max}")));
        }
        Ok(Self { v_min, v_max, num_atoms })
    }

    /// Number of atoms.
    #[must_use]
    pub fn num_atoms(&self) -> usize {
        self.num_atoms
    }

    /// Distance between neighbours.
    #[must_use]
    pub fn width(&self) -> f64 {
        (self.v_max - self.v_min) / (self.num_atoms - 1) as f64
    }

    /// The return of atom `j`.
    #[must_use]
    pub fn atom(&self, j: usize) -> f64 {
        self.v_min + j as f64 * self.width()
    }

    /// Expectation of a distribution over the atoms.
    ///
    /// # Shapes
    /// `probs`: `[num_atoms]`.
    #[must_use]
    pub fn mean<T: Real>(&self, probs: &[T]) -> f64 {
        probs.iter().enumerate().map(|(j, p)| p.wide() * self.atom(j)).sum()
    }

    /// The distribution of `reward + discount · Z` put back on the support (algorithm 1): the mass of each atom goes to
    /// its two nearest neighbours in proportion to nearness, all of it stays where it falls on an atom, and what falls
    /// outside goes to the end. `discount` is γ or γ^n, and 0 after a terminated step.
    ///
    /// # Shapes
    /// `next_probs` and `projected`: `[num_atoms]`.
    pub fn project<T: Real>(&self, reward: f64, discount: f64, next_probs: &[T], projected: &mut [f64]) {
        projected.fill(0.0);
        let last = (self.num_atoms - 1) as f64;
        for (j, prob) in next_probs.iter().enumerate() {
            let value = (reward + discount * self.atom(j)).clamp(self.v_min, self.v_max);
            // Clamped again: the division may round to just outside.
            let position = ((value - self.v_min) / self.width()).clamp(0.0, last);
            let (low, share) = (position.floor() as usize, position.fract());
            projected[low] += prob.wide() * (1.0 - share);
            if share > 0.0 {
                projected[low + 1] += prob.wide() * share;
            }
        }
    }
}

/// Probabilities that belong to `logits`.
///
/// # Shapes
/// Both `[n]`.
pub fn softmax<T: Real>(logits: &[T], probs: &mut [T]) {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, l| m.max(l.wide()));
    let mut total = 0.0;
    for (prob, logit) in probs.iter_mut().zip(logits) {
        let e = (logit.wide() - largest).exp();
        total += e;
        *prob = T::narrow(e);
    }
    for prob in probs.iter_mut() {
        *prob = T::narrow(prob.wide() / total);
    }
}

/// Cross-entropy `−Σ_i m_i log softmax(logits)_i` of one sample, and its gradient `(Σ m) softmax(logits) − m`.
///
/// # Shapes
/// `logits`, `target` (m) and `grad`: `[n]`.
pub fn cross_entropy<T: Real>(logits: &[T], target: &[f64], grad: &mut [T]) -> f64 {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, l| m.max(l.wide()));
    let total: f64 = logits.iter().map(|l| (l.wide() - largest).exp()).sum();
    let log_total = largest + total.ln();
    let mass: f64 = target.iter().sum();
    let mut loss = 0.0;
    for ((logit, m), grad) in logits.iter().zip(target).zip(grad) {
        let log_prob = logit.wide() - log_total;
        // 0 · log 0 is 0 here: a target without mass at an atom says nothing about it.
        loss -= if *m == 0.0 { 0.0 } else { m * log_prob };
        *grad = T::narrow(mass * log_prob.exp() - m);
    }
    loss
}
