//! The golden values: pgmpy's answers, checked against two other implementations.

use super::*;
use crate::diag_query::gain::{Channel, first_best, gains};
use crate::diag_query::model::{Model, NetworkModel};
use crate::diag_query::testing::{assignment, findings, numbers, shipped, worst};
use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

fn evidence(network: &Network, object: &Value) -> EvidenceMap {
    assignment(network, object).into_iter().map(|(v, s)| (v, Evidence::State(s))).collect()
}

/// The kept tree, elimination without a tree, trees made for each query, and the memory of answers all give the golden posteriors.
#[test]
fn posteriors_and_log_evidence() {
    for (name, network, golden) in shipped() {
        let remembering = Inference::new(Arc::clone(&network), InferenceOptions::default());
        for mut inference in super::tests::ways(&network).into_iter().chain([remembering]) {
            for query in golden["posteriors"].as_array().unwrap() {
                let target = network.find(query["target"].as_str().unwrap()).unwrap();
                let answer = inference.posterior(target, &evidence(&network, &query["evidence"])).unwrap();
                let far = worst(&answer.probabilities, &numbers(&query["posterior"]));
                assert!(far < TOLERANCE, "{name} {}: {far}", query["id"]);
                let log = query["log_evidence_nats"].as_f64().unwrap();
                assert!((answer.log_evidence - log).abs() < TOLERANCE, "{name} {}", query["id"]);
            }
        }
    }
}

#[test]
fn gains_and_the_next_question() {
    for (name, network, golden) in shipped() {
        let findings = findings(&network, &golden);
        let costs = golden["costs"].as_object().unwrap();
        for case in golden["greedy_ig"].as_array().unwrap() {
            let target = network.find(case["target"].as_str().unwrap()).unwrap();
            let model = NetworkModel::new(&network, target, &findings, 1 << 24).unwrap();
            let mut belief = model.begin();
            let known = assignment(&network, &case["evidence"]);
            for &(v, state) in &known {
                let finding = findings.iter().position(|&f| f == v).unwrap();
                let likelihood = Evidence::State(state).likelihood(model.states()[finding]);
                belief.observe(finding, &likelihood).unwrap();
            }
            let open: Vec<usize> =
                (0..findings.len()).filter(|&i| known.iter().all(|(v, _)| *v != findings[i])).collect();
            let found = gains(belief.as_mut(), &Channel::exact(), &open, model.states());
            let label = |i: usize| network.variables()[findings[open[i]]].name.as_str();
            for (i, gain) in found.iter().enumerate() {
                let expected = case["ig_by_finding"][label(i)].as_f64().unwrap();
                assert!((gain - expected).abs() < TOLERANCE, "{name} {} {}: {gain}", case["id"], label(i));
            }
            assert_eq!(label(first_best(&found).unwrap()), case["next"], "{name} {}", case["id"]);
            if let Some(next) = case["next_ig_per_cost"].as_str() {
                let per_cost: Vec<f64> =
                    found.iter().enumerate().map(|(i, gain)| gain / costs[label(i)].as_f64().unwrap()).collect();
                assert_eq!(label(first_best(&per_cost).unwrap()), next, "{name} {}", case["id"]);
            }
        }
    }
}

#[test]
fn joint_probabilities_of_cases() {
    for (name, network, golden) in shipped() {
        let mut inference = Inference::new(Arc::clone(&network), InferenceOptions::default());
        for case in golden["cases"].as_array().unwrap() {
            let all = assignment(&network, &case["assignment"]);
            let mut states = vec![0; network.len()];
            all.iter().for_each(|&(v, s)| states[v] = s);
            let expected = case["log_joint_nats"].as_f64().unwrap();
            assert!((network.log_joint(&states) - expected).abs() < TOLERANCE, "{name} {}", case["id"]);
            let complete = all.iter().map(|&(v, s)| (v, Evidence::State(s))).collect();
            let found = inference.log_evidence(&complete).unwrap();
            assert!((found - expected).abs() < TOLERANCE, "{name} {}", case["id"]);
            let subset: Vec<&str> = case["subset"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
            let part = subset.iter().map(|n| network.find(n).unwrap()).map(|v| (v, Evidence::State(states[v])));
            let found = inference.log_evidence(&part.collect()).unwrap();
            let expected = case["log_subset_nats"].as_f64().unwrap();
            assert!((found - expected).abs() < TOLERANCE, "{name} {}", case["id"]);
        }
    }
}

#[test]
fn impossible_evidence_is_an_error() {
    let mut tried = 0;
    for (_, network, golden) in shipped() {
        for mut inference in super::tests::ways(&network) {
            for query in golden["impossible"].as_array().unwrap() {
                let target = network.find(query["target"].as_str().unwrap()).unwrap();
                let found = inference.posterior(target, &evidence(&network, &query["evidence"]));
                assert_eq!(found, Err(InferenceError::ImpossibleEvidence));
                tried += 1;
            }
        }
    }
    assert!(tried > 0);
}
