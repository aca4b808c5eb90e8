//! Losses and distributional targets against the golden files.

use super::golden::{TOLERANCE, cases};
use super::rollout_targets::SOURCE;
use super::{Found, Listed, Subjects};
use anyhow::Result;
use retune_agents::losses::Support;

const C51: &str = include_str!("../../../tests/golden/targets/c51.json");
const QUANTILE: &str = include_str!("../../../tests/golden/targets/quantile_huber.json");

pub const CHECKS: &[Listed] = &[
    ("C51 projection", SOURCE, projection),
    ("C51 cross-entropy", SOURCE, cross_entropy),
    ("C51 projection, expectation", "closed form: r + gamma E[Z]", expectation),
    ("quantile Huber loss and gradient", SOURCE, quantile),
];

fn projection(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(C51)? {
        let n = case.number("num_atoms")? as usize;
        let support = Support::new(case.number("v_min")?, case.number("v_max")?, n)?;
        let (probs, terminated) = (case.table("next_probs")?, case.table("terminated")?);
        let mut projected = Vec::new();
        for (b, reward) in case.table("rewards")?.into_iter().enumerate() {
            let discount = if terminated[b] != 0.0 { 0.0 } else { case.number("discount")? };
            let mut target = vec![0.0; n];
            (subjects.project)(&support, reward, discount, &probs[b * n..][..n], &mut target);
            projected.extend(target);
        }
        found.compare_all(&projected, &case.expected("projected")?)?;
    }
    Ok(found)
}

fn cross_entropy(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(C51)? {
        let n = case.number("num_atoms")? as usize;
        let (logits, target) = (case.table("logits")?, case.expected("projected")?);
        let mut grad = vec![0.0; n];
        let rows = logits.chunks(n).zip(target.chunks(n));
        let got: Vec<f64> = rows.map(|(logits, target)| (subjects.cross_entropy)(logits, target, &mut grad)).collect();
        found.compare_all(&got, &case.expected("cross_entropy")?)?;
        found.compare(got.iter().sum::<f64>() / got.len() as f64, case.expected("loss")?[0]);
    }
    Ok(found)
}

/// As long as nothing falls outside the support, projecting keeps the expectation.
fn expectation(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(1e-12);
    let support = Support::new(-10.0, 10.0, 21)?;
    for (first, reward, discount) in [(3, 0.7, 0.9), (8, -1.3, 0.99), (0, 2.0, 0.5), (10, 0.25, 0.0)] {
        let mut probs = vec![0.0; 21];
        probs[first..first + 4].copy_from_slice(&[0.1, 0.4, 0.3, 0.2]);
        let mut projected = vec![0.0; 21];
        (subjects.project)(&support, reward, discount, &probs, &mut projected);
        let mean = |probs: &[f64]| (0..21).map(|j| probs[j] * (j as f64 - 10.0)).sum::<f64>();
        found.compare(mean(&projected), reward + discount * mean(&probs));
        found.compare(projected.iter().sum(), 1.0);
    }
    Ok(found)
}

fn quantile(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(QUANTILE)? {
        let (n, samples) = (case.width("theta")?, case.width("targets")?);
        let (theta, targets, kappa) = (case.table("theta")?, case.table("targets")?, case.number("kappa")?);
        let batch = theta.len() / n;
        let (mut losses, mut grads) = (Vec::new(), Vec::new());
        for (theta, targets) in theta.chunks(n).zip(targets.chunks(samples)) {
            let mut grad = vec![0.0; n];
            losses.push((subjects.quantile_huber)(theta, targets, kappa, &mut grad));
            grads.extend(grad.iter().map(|g| g / batch as f64));
        }
        found.compare_all(&losses, &case.expected("losses")?)?;
        found.compare_all(&grads, &case.expected("grad_theta")?)?;
    }
    Ok(found)
}
