//! The update against enumeration: a bandit of three items whose slates are two independent draws, repetitions dropped.

use super::TopKReinforceConfig;
use super::objective::credit;
use crate::learning::LearningConfig;
use crate::testing::setup;
use retune::env::Env;
use retune::rng::Seed;
use retune_envs::probe::SlateBandit;

/// What each item pays, shown with whatever else.
const REWARDS: [f64; 3] = [1.0, 0.2, 0.6];
const LOGITS: [f64; 3] = [0.9, -0.4, 0.1];
/// The policy that acted.
const BEHAVIOUR: [f64; 3] = [0.2, 0.5, 0.3];

fn softmax(logits: &[f64; 3]) -> [f64; 3] {
    let sum: f64 = logits.iter().map(|l| l.exp()).sum();
    logits.map(|l| l.exp() / sum)
}

/// The items of two draws, and what they pay together.
fn slates() -> impl Iterator<Item = (Vec<usize>, f64)> {
    (0..9).map(|i| {
        let draws = vec![i / 3, i % 3];
        let paid = if draws[0] == draws[1] { REWARDS[draws[0]] } else { REWARDS[draws[0]] + REWARDS[draws[1]] };
        (draws, paid)
    })
}

/// Gradient of the expected reward with respect to the logits, by finite differences of the sum over all slates.
fn exact() -> [f64; 3] {
    let expected = |logits: &[f64; 3]| -> f64 {
        let p = softmax(logits);
        slates().map(|(draws, paid)| p[draws[0]] * p[draws[1]] * paid).sum()
    };
    std::array::from_fn(|i| {
        let at = |d: f64| {
            let mut moved = LOGITS;
            moved[i] += d;
            expected(&moved)
        };
        (at(1e-5) - at(-1e-5)) / 2e-5
    })
}

/// Expectation of the update over all slates of the policy that acted and over what is consumed of each: one of the
/// different items, all alike, which then pays for as many as there are.
fn update(config: &TopKReinforceConfig, acted: &[f64; 3]) -> [f64; 3] {
    let p = softmax(&LOGITS);
    let mut gradient = [0.0; 3];
    for (draws, _) in slates() {
        let shown: Vec<f64> = draws.iter().map(|&a| p[a].ln()).collect();
        let slate = [shown[0] + shown[1]];
        let log_prob = [(acted[draws[0]] * acted[draws[1]]).ln() as f32];
        let different = if draws[0] == draws[1] { 1 } else { 2 };
        for (position, &item) in draws.iter().enumerate().take(different) {
            let paid = [REWARDS[item] * different as f64];
            let got = credit(config, &shown, &slate, &log_prob, &[position as u32], &paid);
            // ∂ ln π(a) / ∂ logit i = [a = i] − π(i).
            for (weight, &a) in got.weights.iter().zip(&draws) {
                let probability = BEHAVIOUR[draws[0]] * BEHAVIOUR[draws[1]] / different as f64;
                for (i, g) in gradient.iter_mut().enumerate() {
                    *g += probability * weight * (f64::from(u8::from(a == i)) - p[i]);
                }
            }
        }
    }
    gradient
}

fn deviation(got: [f64; 3]) -> f64 {
    got.iter().zip(exact()).map(|(g, e)| (g - e).abs()).fold(0.0, f64::max)
}

#[test]
fn the_update_is_the_gradient_of_the_expected_reward() {
    let config = TopKReinforceConfig { max_ratio: 1e9, ..TopKReinforceConfig::default() };
    // Log-probabilities of transitions are single precision.
    let right = deviation(update(&config, &BEHAVIOUR));
    assert!(right < 1e-6, "{right}");
    // Controls: as if every item were shown alone, without the correction for who acted, and with a tight cap.
    let alone = deviation(update(&TopKReinforceConfig { top_k: false, ..config.clone() }, &BEHAVIOUR));
    let uncorrected = deviation(update(&config, &softmax(&LOGITS)));
    let capped = deviation(update(&TopKReinforceConfig { max_ratio: 1.0, ..config }, &BEHAVIOUR));
    assert!(alone > 0.02 && uncorrected > 0.02 && capped > 0.02, "{alone} {uncorrected} {capped}");
}

#[test]
fn weights_stop_at_the_cap_and_are_counted() {
    let config = TopKReinforceConfig { max_ratio: 2.0, ..TopKReinforceConfig::default() };
    let half = 0.5f64.ln();
    let got = credit(&config, &[half; 4], &[0.0, -1.0], &[-3.0, -1.5], &[0, 2], &[1.0, 1.0]);
    assert_eq!((got.ratios[0], got.capped), (2.0, 0.5));
    assert!((got.ratios[1] - 0.5f64.exp()).abs() < 1e-12);
    // λ_2 π/α = 2 · ½ · ½ / ¾ = 2/3; all of it to the first item, and half of it to each where nothing was consumed.
    let expected = [4.0 / 3.0, got.ratios[1] / 3.0, 0.0, got.ratios[1] / 3.0];
    assert!(got.weights.iter().zip(expected).all(|(w, e)| (w - e).abs() < 1e-12), "{:?}", got.weights);
}

#[test]
fn a_memory_below_a_minibatch_and_settings_out_of_range_are_refused() {
    let learning = LearningConfig { batch_size: 64, ..LearningConfig::default() };
    let env = SlateBandit::features();
    let refused = |config: TopKReinforceConfig| {
        let made = super::TopKReinforceAgent::new(&setup(&learning, env.spec(), Seed::root(1)), &config);
        made.err().expect("refused").to_string()
    };
    let base = TopKReinforceConfig::default;
    let small = refused(TopKReinforceConfig { replay_size: 63, ..base() });
    assert_eq!(small, "top_k_reinforce.replay_size = 63: must be at least learning.batch_size = 64");
    assert!(refused(TopKReinforceConfig { max_ratio: 0.5, ..base() }).starts_with("top_k_reinforce.max_ratio = 0.5"));
    assert!(refused(TopKReinforceConfig { gamma: 1.0, ..base() }).starts_with("top_k_reinforce.gamma = 1"));
}
