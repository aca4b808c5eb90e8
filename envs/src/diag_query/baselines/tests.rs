use super::exact::{evaluate, optimum};
use super::simulate::play;
use super::*;
use crate::diag_query::composite::{Composite, CompositeModel};
use crate::diag_query::generators::gated;
use crate::diag_query::model::{Model, NetworkModel};
use crate::diag_query::problem::{Case, CaseSource, NetworkSource};
use crate::diag_query::testing::{network, numbers, shipped};
use retune::rng::Seed;
use serde_json::Value as Json;

const CURVES: &str = include_str!("../../../../tests/golden/diag_query/reference_curves.json");
const NONMYOPIC: &str = include_str!("../../../../tests/golden/diag_query/nonmyopic.json");

/// Share of right answers after k questions, `[questions + 1]`.
fn accuracy(model: &dyn Model, policy: &mut dyn Policy, cases: &[Case], questions: usize) -> Vec<f64> {
    let task = Task::plain(model.num_classes(), model.states());
    let mut right = vec![0.0; questions + 1];
    for case in cases {
        let played = play(model, &task, policy, case, questions);
        for (k, posterior) in played.posteriors.iter().enumerate() {
            right[k] += f64::from(u8::from(task.declare(posterior).0 == case.diagnosis));
        }
    }
    right.iter().map(|r| r / cases.len() as f64).collect()
}

/// Accuracy curves of the reference, whose cases are others: three standard errors of the difference.
#[test]
fn curves_agree_with_the_reference() {
    let rows = serde_json::from_str::<Json>(CURVES).unwrap()["rows"].as_array().unwrap().clone();
    for row in rows {
        let name = row["network"].as_str().unwrap();
        let (_, network, golden) = shipped().find(|(n, ..)| *n == name).unwrap();
        let findings = crate::diag_query::testing::findings(&network, &golden);
        let target = network.find(row["target"].as_str().unwrap()).unwrap();
        let model = NetworkModel::new(&network, target, &findings, 1 << 24).unwrap();
        let source = NetworkSource::new(network, target, findings);
        let seed = Seed::root(11).child(name);
        let case = |i: u64| source.draw(&mut seed.index(i).rng());
        // The big networks take their time: fewer cases there, and only the policy that matters most.
        let big = model.states().len() > 30;
        let n = if name == "pathfinder" { 60 } else { row["n"].as_u64().unwrap() };
        let cases: Vec<Case> = (0..n).map(case).collect();
        let naive = (1 << 32..(1 << 32) + 2000).map(case).collect::<Vec<_>>();
        let naive = CompositeModel::naive_bayes(model.num_classes(), model.states(), &naive, 0.5).unwrap();
        let naive = Composite::new(naive);
        let k = if name == "pathfinder" { 5 } else { row["K"].as_u64().unwrap() as usize };
        let mut policies: Vec<(&str, &dyn Model, Box<dyn Policy>)> =
            vec![("greedy_ig", &model, Box::new(GreedyGain::default()))];
        if !big {
            policies.push(("static_ig", &model, Box::new(StaticOrder::by_gain(&model))));
            policies.push(("random", &model, Box::new(RandomQuestions::new(seed.child("random").rng()))));
            policies.push(("naive_bayes_ig", &naive, Box::new(GreedyGain::default())));
        }
        for (policy, chooser, mut chosen) in policies {
            let found = accuracy(chooser, chosen.as_mut(), &cases, k);
            let expected = numbers(&row["policies"][policy]["accuracy"]);
            let errors = numbers(&row["policies"][policy]["se"]);
            for at in 0..=k {
                let own = (found[at] * (1.0 - found[at]) / n as f64).sqrt().max(errors[at]);
                // Naive Bayes was fitted to 2,000 other samples, which moves its questions and its answers.
                let fit = if policy == "naive_bayes_ig" { 0.04 } else { 0.0 };
                let limit = 3.0 * (own * own + errors[at] * errors[at]).sqrt() + fit;
                let far = (found[at] - expected[at]).abs();
                assert!(far <= limit, "{name} {policy} k={at}: {} for {}", found[at], expected[at]);
            }
        }
    }
}

#[test]
fn random_questions_reach_the_simulated_accuracy() {
    let golden = &serde_json::from_str::<Json>(NONMYOPIC).unwrap()["problems"][2];
    let problem = gated(8, 3, 0.05, 6, 0.4).unwrap();
    let model = problem.model.as_ref().unwrap();
    let (seed, n) = (Seed::root(5), 4000);
    let mut policy = RandomQuestions::new(seed.child("questions").rng());
    let task = Task::plain(model.num_classes(), model.states());
    let mut sum = 0.0;
    for i in 0..n {
        let case = problem.source.draw(&mut seed.index(i).rng());
        let played = play(model.as_ref(), &task, &mut policy, &case, 4);
        // Ties count in part, as in the reference.
        let last = &played.posteriors[4];
        let best = last.iter().copied().fold(0.0, f64::max);
        let tied = last.iter().filter(|p| **p >= best - 1e-12).count() as f64;
        sum += if last[case.diagnosis] >= best - 1e-12 { 1.0 / tied } else { 0.0 };
    }
    let expected = numbers(&golden["random"]["accuracy_at_k"])[4];
    let found = sum / n as f64;
    assert!((found - expected).abs() < 3.0 * (expected * (1.0 - expected) / n as f64).sqrt(), "{found} {expected}");
}

/// A lattice gives the beliefs of the model it was made from.
#[test]
fn a_lattice_agrees_with_its_model() {
    let network = network("child");
    let findings: Vec<usize> = ["LVHreport", "Age", "XrayReport"].iter().map(|n| network.find(n).unwrap()).collect();
    let model = NetworkModel::new(&network, network.find("Disease").unwrap(), &findings, 1 << 20).unwrap();
    let task = Task { channel: Channel::symmetric(0.1, 0.0), ..Task::plain(model.num_classes(), model.states()) };
    let lattice = lattice::Lattice::new(&model, &task, 1 << 20).unwrap();
    let exact = lattice.task(&task);
    let (mut a, mut b) = (model.begin(), lattice.begin());
    for (finding, answer) in [(1, 2), (0, 1)] {
        let (of_a, of_b) = (answer_table(&mut *a, &task, 2), answer_table(&mut *b, &exact, 2));
        assert!(crate::diag_query::testing::worst(&of_a, &of_b) < 1e-12);
        a = after(a.as_ref(), &task, finding, answer).unwrap();
        b = after(b.as_ref(), &exact, finding, answer).unwrap();
        assert!(crate::diag_query::testing::worst(a.posterior(), b.posterior()) < 1e-12);
        assert!((a.log_evidence() - b.log_evidence()).abs() < 1e-12);
    }
    assert!(lattice::Lattice::new(&model, &task, 10).is_err());
}

fn answer_table(belief: &mut dyn Belief, task: &Task, finding: usize) -> Vec<f64> {
    crate::diag_query::gain::answer_table(belief, &task.channel, finding, task.states[finding])
}

/// No policy beats the optimum, and asking is never better than being told for free.
#[test]
fn the_optimum_is_an_upper_bound() {
    let problem = gated(2, 2, 0.1, 2, 0.3).unwrap();
    let model = problem.model.as_ref().unwrap();
    for lambda in [0.0, 0.02, 0.1] {
        let task = Task { lambda, ..Task::plain(model.num_classes(), model.states()) };
        let best = optimum(model.as_ref(), &task, 3).expected_return;
        for policy in [
            &mut GreedyGain { per_cost: false, stop_without_gain: true } as &mut dyn Policy,
            &mut Lookahead { depth: 2 },
            &mut ExpectedUtility { steps: 1 },
            &mut ExpectedUtility { steps: 2 },
        ] {
            assert!(evaluate(model.as_ref(), &task, policy, 3).expected_return <= best + 1e-12);
        }
        let free = Task { lambda: 0.0, ..task };
        assert!(best <= optimum(model.as_ref(), &free, 3).expected_return + 1e-12);
    }
}
