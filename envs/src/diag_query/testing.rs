//! What the tests of this module share: the shipped networks and their golden files.

use super::bif::{BifLimits, read};
use super::network::Network;
use retune_assets::networks;
use serde_json::Value;
use std::sync::Arc;

/// Name, BIF file and golden file of each shipped network.
pub const SHIPPED: [(&str, &[u8], &str); 5] = [
    ("asia", networks::ASIA, include_str!("../../../tests/golden/diag_query/asia.json")),
    ("child", networks::CHILD, include_str!("../../../tests/golden/diag_query/child.json")),
    ("alarm", networks::ALARM, include_str!("../../../tests/golden/diag_query/alarm.json")),
    ("hepar2", networks::HEPAR2, include_str!("../../../tests/golden/diag_query/hepar2.json")),
    ("pathfinder", networks::PATHFINDER, include_str!("../../../tests/golden/diag_query/pathfinder.json")),
];

/// All shipped networks with their golden values.
pub fn shipped() -> impl Iterator<Item = (&'static str, Arc<Network>, Value)> {
    SHIPPED.iter().map(|(name, bif, golden)| {
        let network = read(name, bif, &BifLimits::default()).unwrap();
        (*name, Arc::new(network), serde_json::from_str(golden).unwrap())
    })
}

/// One shipped network.
pub fn network(name: &str) -> Arc<Network> {
    shipped().find(|(n, ..)| *n == name).unwrap().1
}

/// Names and values of a JSON object, such as an assignment, as numbers of the network.
pub fn assignment(network: &Network, object: &Value) -> Vec<(usize, usize)> {
    let pairs = object.as_object().unwrap().iter();
    let numbers = pairs.map(|(name, state)| {
        let v = network.find(name).unwrap();
        (v, network.find_state(v, state.as_str().unwrap()).unwrap())
    });
    numbers.collect()
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Numbers of the findings in tie-breaking order, which is that of the file.
pub fn findings(network: &Network, golden: &Value) -> Vec<usize> {
    let mut found: Vec<usize> =
        golden["findings"].as_object().unwrap().keys().map(|name| network.find(name).unwrap()).collect();
    found.sort_unstable();
    found
}

pub fn worst(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
