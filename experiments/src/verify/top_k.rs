//! The top-K off-policy correction against enumeration: slates of independent draws, repetitions dropped.

use super::{Found, Listed, Subjects};
use anyhow::Result;

/// The policy, the policy that acted, and what each item pays.
const POLICY: [f64; 4] = [0.45, 0.3, 0.2, 0.05];
const BEHAVIOUR: [f64; 4] = [0.1, 0.2, 0.3, 0.4];
const REWARDS: [f64; 4] = [1.0, 0.3, 0.6, 0.8];
const SIZES: [usize; 3] = [1, 2, 3];
const ENUMERATION: &str = "enumeration: all slates of 4 items";

pub const CHECKS: &[Listed] = &[
    ("top-K: lambda_K, slope of the chance to be shown", ENUMERATION, slope),
    ("top-K gradient from items, off policy", ENUMERATION, from_items),
    ("top-K gradient from slates, off policy", ENUMERATION, from_slates),
    ("top-K weights under a cap", "closed form: minimum of ratio and cap", capping),
];

/// Sums `f(draws, probability)` over all sequences of `k` draws.
fn over_draws(policy: &[f64; 4], k: usize, mut f: impl FnMut(&[usize], f64)) {
    for code in 0..4usize.pow(k as u32) {
        let draws: Vec<usize> = (0..k as u32).map(|j| code / 4usize.pow(j) % 4).collect();
        f(&draws, draws.iter().map(|&a| policy[a]).product());
    }
}

/// What of a sequence of draws is shown.
fn shown(draws: &[usize]) -> impl Iterator<Item = usize> + '_ {
    (0..4).filter(|a| draws.contains(a))
}

/// Probability of each item to be shown.
fn chances(policy: &[f64; 4], k: usize) -> [f64; 4] {
    let mut chances = [0.0; 4];
    over_draws(policy, k, |draws, p| shown(draws).for_each(|a| chances[a] += p));
    chances
}

/// `POLICY` with the probability of one item moved, whatever becomes of the sum of the others' (they stay in
/// proportion).
fn moved(item: usize, by: f64) -> [f64; 4] {
    let rest = (1.0 - POLICY[item] - by) / (1.0 - POLICY[item]);
    std::array::from_fn(|a| if a == item { POLICY[a] + by } else { POLICY[a] * rest })
}

fn slope(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(1e-8);
    for k in SIZES {
        for (a, &p) in POLICY.iter().enumerate() {
            let at = |by: f64| chances(&moved(a, by), k)[a];
            let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
            found.compare((subjects.top_k_multiplier)(p, k), numeric);
            found.compare((subjects.top_k_slate_multiplier)(p, k), numeric * p / at(0.0));
        }
    }
    Ok(found)
}

/// Gradient of `Σ_a P(a is shown) R(a)` with respect to the logits, by differences of sums over all slates.
fn exact(k: usize) -> [f64; 4] {
    std::array::from_fn(|i| {
        let at = |by: f64| {
            let weights: [f64; 4] = std::array::from_fn(|a| POLICY[a] * if a == i { by.exp() } else { 1.0 });
            let sum: f64 = weights.iter().sum();
            let chances = chances(&weights.map(|w| w / sum), k);
            chances.iter().zip(REWARDS).map(|(p, r)| p * r).sum::<f64>()
        };
        (at(1e-5) - at(-1e-5)) / 2e-5
    })
}

/// Adds `weight · ∇ ln π(item)` with respect to the logits.
fn add(gradient: &mut [f64; 4], item: usize, weight: f64) {
    for (i, g) in gradient.iter_mut().enumerate() {
        *g += weight * (if i == item { 1.0 } else { 0.0 } - POLICY[i]);
    }
}

/// Items drawn from the policy that acted: ratio × λ_K × reward.
fn from_items(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(1e-8);
    for k in SIZES {
        let mut gradient = [0.0; 4];
        for (a, &b) in BEHAVIOUR.iter().enumerate() {
            let ratio = (subjects.importance_weight)(POLICY[a].ln(), b.ln(), f64::INFINITY);
            add(&mut gradient, a, b * ratio * (subjects.top_k_multiplier)(POLICY[a], k) * REWARDS[a]);
        }
        found.compare_all(&gradient, &exact(k))?;
    }
    Ok(found)
}

/// Whole slates from the policy that acted, as the agent uses them.
fn from_slates(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(1e-8);
    for k in SIZES {
        let mut gradient = [0.0; 4];
        over_draws(&BEHAVIOUR, k, |draws, probability| {
            let log_prob: f64 = draws.iter().map(|&a| POLICY[a].ln()).sum();
            let ratio = (subjects.importance_weight)(log_prob, probability.ln(), f64::INFINITY);
            for a in shown(draws) {
                let multiplier = (subjects.top_k_slate_multiplier)(POLICY[a], k);
                add(&mut gradient, a, probability * ratio * multiplier * REWARDS[a]);
            }
        });
        found.compare_all(&gradient, &exact(k))?;
    }
    Ok(found)
}

fn capping(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(1e-12);
    for cap in [1.0, 2.0, 20.0] {
        for (p, b) in POLICY.iter().zip(BEHAVIOUR) {
            let ratio = p / b;
            let expected = if ratio > cap { cap } else { ratio };
            found.compare((subjects.importance_weight)(p.ln(), b.ln(), cap), expected);
        }
    }
    Ok(found)
}
