//! Exact policy values and curves against the golden files.

use super::exact::{curve, evaluate, optimum};
use super::lattice::Lattice;
use super::*;
use crate::diag_query::generators::{gated, parity};
use crate::diag_query::model::{Model, NetworkModel};
use crate::diag_query::testing::{network, numbers, worst};
use serde_json::Value as Json;

const EXACT: &str = include_str!("../../../../tests/golden/diag_query/exact_policies.json");
const NONMYOPIC: &str = include_str!("../../../../tests/golden/diag_query/nonmyopic.json");
const TOLERANCE: f64 = 1e-9;

fn parse(text: &str) -> Vec<Json> {
    serde_json::from_str::<Json>(text).unwrap()["problems"].as_array().unwrap().clone()
}

fn close(value: &exact::Value, golden: &Json, label: &str) {
    let pairs = [
        (value.expected_return, "expected_return"),
        (value.accuracy, "accuracy"),
        (value.mean_queries, "mean_queries"),
        (value.mean_cost, "mean_cost"),
    ];
    for (found, key) in pairs {
        let expected = golden[key].as_f64().unwrap();
        assert!((found - expected).abs() < TOLERANCE, "{label}: {key} {found}, expected {expected}");
    }
}

/// One of the cost-sensitive problems, tabulated.
fn problem(golden: &Json) -> (Lattice, Task) {
    let network = network(golden["network"].as_str().unwrap());
    let find = |name: &str| network.find(name).unwrap();
    let names: Vec<&str> = golden["findings"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let findings: Vec<usize> = names.iter().map(|n| find(n)).collect();
    let target = find(golden["target"].as_str().unwrap());
    let model = NetworkModel::new(&network, target, &findings, 1 << 20).unwrap();
    let number = |key: &str| golden[key].as_f64().unwrap();
    let task = Task {
        costs: names.iter().map(|n| golden["costs"][*n].as_f64().unwrap()).collect(),
        lambda: number("lambda"),
        channel: Channel::symmetric(number("rho"), number("missing")),
        ..Task::plain(model.num_classes(), model.states())
    };
    let lattice = Lattice::new(&model, &task, 1 << 24).unwrap();
    let task = lattice.task(&task);
    (lattice, task)
}

const THRESHOLDS: [f64; 13] = [0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0];

#[test]
fn values_of_policies_and_of_the_optimum() {
    for golden in parse(EXACT) {
        let (model, task) = problem(&golden);
        let label = format!("{} {} λ={} ρ={}", golden["network"], golden["target"], golden["lambda"], golden["rho"]);
        let m = task.states.len();
        let policies = &golden["policies"];
        let check = |policy: &mut dyn Policy, name: &str| {
            close(&evaluate(&model, &task, policy, m), &policies[name], &format!("{label} {name}"));
        };
        check(&mut Threshold { inner: GreedyGain::default(), theta: 0.0 }, "prior_only");
        check(&mut ExpectedUtility { steps: 1 }, "expected_utility_1step");
        check(&mut ExpectedUtility { steps: 2 }, "expected_utility_2step");
        check(&mut StaticOrder((0..m).collect()), "ask_all");
        for (per_cost, name) in [(false, "greedy_ig_best_threshold"), (true, "ig_per_cost_best_threshold")] {
            let values = THRESHOLDS.map(|theta| {
                let inner = GreedyGain { per_cost, stop_without_gain: true };
                evaluate(&model, &task, &mut Threshold { inner, theta }, m)
            });
            let best = values.iter().map(|v| v.expected_return).fold(f64::NEG_INFINITY, f64::max);
            let expected = policies[name]["expected_return"].as_f64().unwrap();
            assert!((best - expected).abs() < TOLERANCE, "{label} {name}: {best}, expected {expected}");
        }
        close(&optimum(&model, &task, m), &policies["optimal"], &format!("{label} optimal"));
    }
}

#[test]
fn generators_have_the_golden_gains_and_curves() {
    for golden in parse(NONMYOPIC) {
        let params = &golden["params"];
        let (int, float) = (|k: &str| params[k].as_u64().unwrap() as usize, |k: &str| params[k].as_f64().unwrap());
        let problem = match golden["generator"].as_str().unwrap() {
            "gated" => gated(int("G"), int("B"), float("eps"), int("D"), float("eta")),
            _ => parity(int("B"), int("r"), float("eps"), int("D"), float("eta")),
        }
        .unwrap();
        let ids: Vec<&str> = problem.findings.iter().map(|f| f.id.as_str()).collect();
        assert_eq!(Json::from(ids.clone()), golden["findings"]);
        let model = problem.model.as_ref().unwrap();
        let all: Vec<usize> = (0..ids.len()).collect();
        let gains = crate::diag_query::gain::gains(model.begin().as_mut(), &Channel::exact(), &all, model.states());
        for (id, expected) in golden["first_query_ig_bits"].as_object().unwrap() {
            let at = ids.iter().position(|i| i == id).unwrap();
            assert!((gains[at] - expected.as_f64().unwrap()).abs() < TOLERANCE, "{id}");
        }
        let task = Task::plain(model.num_classes(), model.states());
        let budget = golden["budget"].as_u64().unwrap() as usize;
        let policies: [(&str, &mut dyn Policy); 3] = [
            ("greedy_ig", &mut GreedyGain::default()),
            ("lookahead_2", &mut Lookahead { depth: 2 }),
            ("lookahead_3", &mut Lookahead { depth: 3 }),
        ];
        for (name, policy) in policies {
            if let Some(expected) = golden.get(name) {
                let found = curve(model.as_ref(), &task, policy, budget);
                let label = format!("{} {params} {name}: {found:?}", golden["generator"]);
                assert!(worst(&found.accuracy, &numbers(&expected["accuracy_at_k"])) < TOLERANCE, "{label}");
                assert!(worst(&found.entropy_bits, &numbers(&expected["entropy_at_k"])) < TOLERANCE, "{label}");
            }
        }
        if let Some(expected) = golden.get("optimal_accuracy_with_at_most_T_queries") {
            let best = (optimum(model.as_ref(), &task, budget).expected_return + 1.0) / 2.0;
            assert!((best - expected.as_f64().unwrap()).abs() < TOLERANCE, "{params}: {best}");
        }
    }
}
