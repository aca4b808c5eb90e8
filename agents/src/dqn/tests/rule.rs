//! The update rule alone, on batches made by hand.

use crate::dqn::objective::{Comparison, Measured, Objective};
use crate::dqn::returns::Returns;
use crate::dqn::{Bootstrap, Distribution, DqnConfig};
use crate::losses::TdLoss;
use crate::targets::{double_value, epsilon_greedy, expected_value, greedy_value};
use proptest::prelude::*;
use retune::replay::{DecisionBatch, ObsBatch};

const CANDIDATES: usize = 3;
const EPSILON: f64 = 0.2;

/// Two transitions, the second of which terminated; candidate 1 is not allowed at the next states.
fn batch() -> DecisionBatch {
    DecisionBatch {
        size: 2,
        positions: vec![0, 1],
        weights: vec![1.0, 0.5],
        action: vec![2, 0],
        reward: vec![0.5, -1.0],
        discount: vec![0.81, 0.0],
        next_obs: ObsBatch { mask: vec![1, 0, 1, 1, 0, 1], ..ObsBatch::default() },
        next_action: vec![2, 0],
        ..DecisionBatch::default()
    }
}

fn compare(config: &DqnConfig, outputs: &[f32], next: &[f32], choosing: &[f32]) -> (Measured, Vec<f32>) {
    let batch = batch();
    let mut objective = Objective::new(config, Returns::new(config).unwrap());
    let mut grads = vec![0.0; outputs.len()];
    let with = Comparison { batch: &batch, outputs, next, choosing, epsilon: EPSILON };
    (objective.compare(&with, &mut grads).unwrap(), grads)
}

fn squared(bootstrap: Bootstrap) -> DqnConfig {
    DqnConfig { bootstrap, loss: TdLoss::Squared, ..DqnConfig::default() }
}

#[test]
fn targets_are_those_of_the_plain_formulas() {
    let outputs: Vec<f32> = vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    let next: Vec<f32> = vec![1.0, 9.0, 2.0, 5.0, 5.0, 5.0];
    let choosing: Vec<f32> = vec![3.0, 9.0, 2.0, 5.0, 5.0, 5.0];
    let mask = [true, false, true];
    let mut policy = [0.0; 3];
    epsilon_greedy(&next[..3], &mask, EPSILON, &mut policy);
    let cases = [
        (Bootstrap::Greedy, &next, greedy_value(&next[..3], &mask).unwrap()),
        (Bootstrap::Greedy, &choosing, double_value(&choosing[..3], &next[..3], &mask).unwrap()),
        (Bootstrap::Taken, &next, 2.0),
        (Bootstrap::Expected, &next, expected_value(&next[..3], &policy)),
    ];
    for (bootstrap, choosing, value) in cases {
        let (measured, grads) = compare(&squared(bootstrap), &outputs, &next, choosing);
        let first = 0.3 - (0.5 + 0.81 * value);
        assert!((f64::from(measured.errors[0]) - first).abs() < 1e-6, "{bootstrap:?}");
        assert!((measured.errors[1] - 1.4).abs() < 1e-6, "nothing follows a terminated step");
        let expected = [0.0, 0.0, first / 2.0, 1.4 * 0.5 / 2.0, 0.0, 0.0];
        let close = grads.iter().zip(expected).all(|(g, e)| (f64::from(*g) - e).abs() < 1e-6);
        assert!(close, "{bootstrap:?}: {grads:?}, expected {expected:?}");
    }
}

#[test]
fn rewards_are_scaled_and_values_are_not() {
    let (outputs, next) = ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [1.0, 9.0, 2.0, 5.0, 5.0, 5.0]);
    let config = DqnConfig { reward_scale: 4.0, ..squared(Bootstrap::Greedy) };
    let (measured, _) = compare(&config, &outputs, &next, &next);
    assert!((f64::from(measured.errors[0]) - (0.3 - (4.0 * 0.5 + 0.81 * 2.0))).abs() < 1e-5);
    let (returns, mut grad) = (Returns::new(&config).unwrap(), [0.0]);
    Objective::new(&config, returns).compare_ending(0.5, &[0.5], &mut grad);
    assert!((grad[0] - (0.5 - 4.0 * 0.5)).abs() < 1e-6, "labels teach values in the same unit: {grad:?}");
}

#[test]
fn a_next_state_without_a_legal_candidate_is_refused() {
    let mut batch = batch();
    batch.next_obs.mask = vec![0; 6];
    let config = squared(Bootstrap::Greedy);
    let mut objective = Objective::new(&config, Returns::new(&config).unwrap());
    let zeros = [0.0; 6];
    let with = Comparison { batch: &batch, outputs: &zeros, next: &zeros, choosing: &zeros, epsilon: 0.0 };
    let error = objective.compare(&with, &mut [0.0; 6]).unwrap_err().to_string();
    assert!(error.contains("allows no candidate"), "{error}");
}

fn distributions() -> [DqnConfig; 4] {
    let categorical = Distribution::Categorical { v_min: -2.0, v_max: 2.0, num_atoms: 5 };
    let quantile = Distribution::Quantile { num_quantiles: 5, kappa: 0.7 };
    [
        DqnConfig { distribution: categorical, ..squared(Bootstrap::Greedy) },
        DqnConfig { distribution: categorical, ..squared(Bootstrap::Expected) },
        DqnConfig { distribution: quantile, ..squared(Bootstrap::Greedy) },
        DqnConfig { loss: TdLoss::Huber { delta: 0.5 }, ..squared(Bootstrap::Greedy) },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn gradients_are_those_of_the_loss(
        outputs in prop::collection::vec(-1.0..1.0f32, 30),
        next in prop::collection::vec(-1.0..1.0f32, 30),
    ) {
        for config in distributions() {
            let width = config.outputs();
            let len = 2 * CANDIDATES * width;
            let (outputs, next) = (&outputs[..len], &next[..len]);
            let (_, grads) = compare(&config, outputs, next, next);
            for (i, grad) in grads.iter().enumerate() {
                let at = |h: f32| {
                    let mut moved = outputs.to_vec();
                    moved[i] += h;
                    compare(&config, &moved, next, next).0.loss
                };
                let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
                prop_assert!((f64::from(*grad) - numeric).abs() < 1e-2, "{config:?}: {i}: {grad} {numeric}");
            }
        }
    }

    #[test]
    fn the_mean_of_a_distribution_follows_its_target(next in prop::collection::vec(-1.0..1.0f32, 30)) {
        // A distribution that equals its projected target has neither gradient nor priority.
        let config = &distributions()[0];
        let support = crate::losses::Support::new(-2.0, 2.0, 5).unwrap();
        let outputs = vec![0.0; 30];
        let (first, _) = compare(config, &outputs, &next, &next);
        prop_assert!(first.errors.iter().all(|e| *e > 0.0));
        let mut projected = [0.0; 5];
        support.project(-1.0, 0.0, &[1.0, 0.0, 0.0, 0.0, 0.0f32], &mut projected);
        let mut fitted = outputs;
        for (logit, mass) in fitted[15..20].iter_mut().zip(projected) {
            *logit = if mass > 0.0 { 0.0 } else { -60.0 };
        }
        let (second, grads) = compare(config, &fitted, &next, &next);
        prop_assert!(second.errors[1].abs() < 1e-6);
        prop_assert!(grads[15..20].iter().all(|g| g.abs() < 1e-6));
    }
}
