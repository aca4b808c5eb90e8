//! Reading the golden files of RecSim 0.2.4; the README beside them says how they were made.

use super::metrics::{Estimate, Summary};
use serde_json::Value;

/// Means over 2,000 to 6,000 episodes for each environment, policy and size.
const POLICIES: &str = include_str!("../../../tests/golden/rec_sim/policies.json");

pub fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

pub fn indices(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

pub fn position(value: &Value) -> Option<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// The tolerance of every file but SlateQ's.
pub fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

pub fn all_close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(*a, *b))
}

pub fn policy_row(env: &str, preset: &str, sizes: (usize, usize), policy: &str) -> Value {
    let file = parse(POLICIES);
    let found = file["policies"].as_array().unwrap().iter().find(|r| {
        r["env"] == env
            && r["preset"] == preset
            && r["num_candidates"] == sizes.0
            && r["slate_size"] == sizes.1
            && r["policy"] == policy
    });
    found.unwrap_or_else(|| panic!("no row for {env} {preset} {sizes:?} {policy}")).clone()
}

/// The acceptance rule: within four combined standard errors.
pub fn agrees(got: Estimate, want: &Value) -> bool {
    let (mean, se) = (number(&want["mean"]), number(&want["se"]));
    // Rounding: some metrics are constant, so that both standard errors are 0.
    (got.mean - mean).abs() <= 4.0 * (got.se.powi(2) + se.powi(2)).sqrt() + 1e-9 * mean.abs()
}

pub fn assert_agrees(summary: &Summary, row: &Value) {
    let quality =
        if row.get("mean_consumed_quality").is_some() { "mean_consumed_quality" } else { "mean_consumed_clickbait" };
    for (metric, got) in [
        ("episode_return", summary.episode_return),
        ("episode_length", summary.episode_length),
        ("discounted_return_099", summary.discounted_return),
        ("ctr", summary.ctr),
        (quality, summary.mean_quality),
        ("distinct_topics_consumed", summary.topics_consumed),
    ] {
        let Some(want) = row.get(metric) else { continue };
        assert!(agrees(got, want), "{metric} of {}: {got:?}, reference {want}", row["policy"]);
    }
}
