//! Golden losses, gradients against finite differences, and controls.

use super::{Support, TdLoss, cross_entropy, quantile_huber, quantile_huber_undivided, softmax};
use crate::targets::Real;
use crate::targets::testing::{assert_close, cases, deviation, flat, number, table};
use proptest::prelude::*;
use serde_json::{Value, json};

const C51: &str = include_str!("../../../tests/golden/targets/c51.json");
const QUANTILE: &str = include_str!("../../../tests/golden/targets/quantile_huber.json");

fn support(case: &Value) -> Support {
    Support::new(number(&case["v_min"]), number(&case["v_max"]), number(&case["num_atoms"]) as usize).unwrap()
}

/// Projections and cross-entropies of a case; `keep` says what a terminated step does to the discount.
fn c51<T: Real>(case: &Value, keep: impl Fn(bool) -> f64) -> (Vec<f64>, Vec<f64>) {
    let (support, rewards) = (support(case), flat(&case["rewards"]));
    let (probs, logits) = (table::<T>(&case["next_probs"]), table::<T>(&case["logits"]));
    let (mut projected, mut losses) = (Vec::new(), Vec::new());
    let n = support.num_atoms();
    for (b, reward) in rewards.iter().enumerate() {
        let (mut target, mut grad) = (vec![0.0; n], vec![T::narrow(0.0); n]);
        let discount = number(&case["discount"]) * keep(case["terminated"][b] == true);
        support.project(*reward, discount, &probs[b * n..][..n], &mut target);
        losses.push(cross_entropy(&logits[b * n..][..n], &target, &mut grad));
        projected.extend(target);
    }
    (projected, losses)
}

fn check_c51<T: Real>() {
    for case in cases(C51) {
        let (projected, losses) = c51::<T>(&case, |terminated| if terminated { 0.0 } else { 1.0 });
        let typed = |values: &[f64]| values.iter().map(|&v| T::narrow(v)).collect::<Vec<T>>();
        assert_close(&typed(&projected), &case["expected"]["projected"], &case);
        assert_close(&typed(&losses), &case["expected"]["cross_entropy"], &case);
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        assert_close(&typed(&[mean]), &json!([case["expected"]["loss"]]), &case);
    }
}

fn check_quantile<T: Real>() {
    for case in cases(QUANTILE) {
        let n = case["theta"][0].as_array().unwrap().len();
        let (theta, kappa) = (table::<T>(&case["theta"]), number(&case["kappa"]));
        let batch = theta.len() / n;
        let (mut losses, mut grads, mut undivided) = (Vec::new(), Vec::new(), 0.0);
        for (b, theta) in theta.chunks(n).enumerate() {
            let (targets, mut grad) = (flat(&case["targets"][b]), vec![T::narrow(0.0); n]);
            undivided += quantile_huber_undivided(theta, &targets, kappa, &mut grad) / batch as f64;
            losses.push(T::narrow(quantile_huber(theta, &targets, kappa, &mut grad)));
            grads.extend(grad.iter().map(|g| T::narrow(g.wide() / batch as f64)));
        }
        let expected = &case["expected"];
        assert_close(&losses, &expected["losses"], &case);
        assert_close(&grads, &expected["grad_theta"], &case);
        let mean = losses.iter().map(|l| l.wide()).sum::<f64>() / batch as f64;
        assert_close(&[T::narrow(mean)], &json!([expected["loss"]]), &case);
        assert_close(&[T::narrow(undivided)], &json!([expected["loss_undivided"]]), &case);
    }
}

#[test]
fn c51_matches_the_golden_file() {
    check_c51::<f64>();
    check_c51::<f32>();
}

#[test]
fn quantile_huber_matches_the_golden_file() {
    check_quantile::<f64>();
    check_quantile::<f32>();
}

#[test]
fn a_bootstrap_after_termination_fails_the_golden_file() {
    let wrong = |case: &Value| deviation(&c51::<f64>(case, |_| 1.0).0, &case["expected"]["projected"]);
    assert!(cases(C51).iter().map(wrong).fold(0.0, f64::max) > 0.1);
}

#[test]
fn impossible_supports_are_refused() {
    for (v_min, v_max, atoms, start) in [
        (-1.0, 1.0, 1, "num_atoms = 1"),
        (1.0, 1.0, 51, "v_min = 1"),
        (2.0, 1.0, 51, "v_min = 2"),
        (f64::NEG_INFINITY, 1.0, 51, "v_min = -inf"),
    ] {
        let error = Support::new(v_min, v_max, atoms).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
}

/// Derivative of `f` at `x` along coordinate `i`.
fn difference(f: impl Fn(&[f64]) -> f64, x: &[f64], i: usize) -> f64 {
    let at = |h: f64| {
        let mut moved = x.to_vec();
        moved[i] += h;
        f(&moved)
    };
    (at(1e-6) - at(-1e-6)) / 2e-6
}

proptest! {
    #[test]
    fn projection_keeps_the_mass_and_within_the_support_the_mean(
        weights in prop::collection::vec(0.01..1.0f64, 11),
        reward in -3.0..3.0f64,
        discount in 0.0..1.0f64,
    ) {
        let support = Support::new(-10.0, 10.0, 11).unwrap();
        let total: f64 = weights.iter().sum();
        let probs: Vec<f64> = weights.iter().map(|w| w / total).collect();
        let mut projected = vec![0.0; 11];
        support.project(reward, discount, &probs, &mut projected);
        prop_assert!((projected.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        if reward.abs() + 10.0 * discount <= 10.0 {
            let expected = reward + discount * support.mean(&probs);
            prop_assert!((support.mean(&projected) - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn gradients_are_those_of_the_losses(
        logits in prop::collection::vec(-3.0..3.0f64, 5),
        weights in prop::collection::vec(0.0..1.0f64, 5),
        error in -3.0..3.0f64,
    ) {
        let mut grad = vec![0.0; 5];
        cross_entropy(&logits, &weights, &mut grad);
        for (i, grad) in grad.iter().enumerate() {
            let numeric = difference(|x| cross_entropy(x, &weights, &mut [0.0; 5]), &logits, i);
            prop_assert!((grad - numeric).abs() < 1e-5, "{grad} {numeric}");
        }
        for loss in [TdLoss::Squared, TdLoss::Huber { delta: 0.7 }] {
            let numeric = difference(|x| loss.at(x[0]).0, &[error], 0);
            prop_assert!((loss.at(error).1 - numeric).abs() < 1e-5);
        }
    }

    #[test]
    fn softmax_is_a_distribution(logits in prop::collection::vec(-300.0..300.0f32, 1..9)) {
        let mut probs = vec![0.0; logits.len()];
        softmax(&logits, &mut probs);
        prop_assert!((probs.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        prop_assert!(probs.iter().all(|p| p.is_finite()));
    }
}

#[test]
fn the_median_of_the_targets_has_no_quantile_gradient() {
    let mut grad = [f64::NAN];
    quantile_huber(&[2.0], &[1.0, 2.0, 3.0], 1.0, &mut grad);
    assert_eq!(grad, [0.0]);
}
