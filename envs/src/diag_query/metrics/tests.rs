use super::*;
use crate::diag_query::testing::numbers;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../tests/golden/diag_query/metrics.json")).unwrap()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn indices(value: &Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

fn flags(value: &Value) -> Vec<bool> {
    indices(value).into_iter().map(|i| i == 1).collect()
}

fn close(found: f64, expected: &Value, label: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-9, "{label}: {found}, expected {expected}");
}

#[test]
fn classification_matches_the_fixture() {
    let golden = &golden()["classification"];
    let found = classification(&indices(&golden["labels"]), &rows(&golden["probabilities"])).unwrap();
    let e = &golden["expected"];
    close(found.accuracy, &e["accuracy"], "accuracy");
    for (k, key) in [(1, "top1"), (3, "top3"), (5, "top5")] {
        close(found.top_k(k), &e[key], key);
    }
    for (f1, expected) in found.f1.iter().zip(e["f1_per_class"].as_array().unwrap()) {
        close(f1.unwrap_or(0.0), expected, "f1");
    }
    close(found.macro_f1, &e["macro_f1"], "macro_f1");
    close(found.log_loss, &e["log_loss_nats"], "log_loss");
    close(found.brier, &e["brier"], "brier");
    close(found.ece(10), &e["ece_10"], "ece_10");
    close(found.ece(15), &e["ece_15"], "ece_15");
    assert_eq!(found.confusion.iter().flatten().sum::<u64>(), 30);
}

#[test]
fn accuracy_at_cost_matches_the_fixture() {
    let golden = &golden()["cost_accuracy"];
    let trajectories: Vec<(Vec<f64>, Vec<bool>)> = golden["trajectories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (numbers(&t["costs"]), flags(&t["correct_after_k"])))
        .collect();
    let curve = cost_curve(&trajectories).unwrap();
    for point in rows(&golden["breakpoints_and_accuracy"]) {
        assert!((curve.at(point[0]) - point[1]).abs() < 1e-9, "{point:?}");
    }
    close(curve.area(golden["c_max"].as_f64().unwrap()), &golden["expected_auc"], "area");
    assert!(cost_curve(&[(vec![-1.0], vec![true, true])]).is_err());
    assert!(cost_curve(&[(vec![1.0], vec![true])]).is_err());
    assert!(cost_curve(&[]).is_err());
    assert_eq!(mean_utility(&[(true, 2.0), (false, 4.0)], &[0.0, 0.25]), [0.0, -0.75]);
}

#[test]
fn differentials_match_the_fixture() {
    let golden = &golden()["differential"];
    let list = |key: &str| golden[key].as_array().unwrap().clone();
    let (labels, questions) = (indices(&golden["disease"]), indices(&golden["questions_asked"]));
    let case = |i: usize| DifferentialCase {
        truth: numbers(&list("gt_differential")[i]),
        predicted: numbers(&list("final_differential")[i]),
        label: labels[i],
        questions: questions[i],
        present: flags(&list("present_evidences")[i]),
        inquired: flags(&list("inquired_evidences")[i]),
    };
    let cases: Vec<DifferentialCase> = (0..labels.len()).map(case).collect();
    let masks = Masks {
        symptoms: flags(&golden["symptom_mask"]),
        antecedents: flags(&golden["antecedent_mask"]),
        severe: flags(&golden["severity_mask"]),
    };
    let found = differential(&cases, &masks, golden["threshold"].as_f64().unwrap(), &[1, 3, 5]).unwrap();
    let e = &golden["expected"];
    close(found.interaction_length, &e["IL"], "IL");
    close(found.gtpa, &e["GTPA"], "GTPA");
    for (k, gtpa) in &found.gtpa_at {
        close(*gtpa, &e[format!("GTPA@{k}")], "GTPA@k");
    }
    let check = |ratio: Ratio, name: &str, suffix: &str| {
        for (value, letter) in [(ratio.recall, "R"), (ratio.precision, "P"), (ratio.f1, "F1")] {
            let key = format!("{name}{letter}{suffix}");
            close(value, &e[&key], &key);
        }
    };
    check(found.differential, "DD", "");
    for (k, ratio) in &found.differential_at {
        check(*ratio, "DD", &format!("@{k}"));
    }
    check(found.severe, "DS", "");
    check(found.evidence, "PE", "");
    check(found.symptoms, "PS", "");
    check(found.antecedents, "PA", "");
    assert!(differential(&[], &masks, 0.01, &[]).is_err());
}

#[test]
fn unfit_input_is_refused() {
    assert!(classification(&[], &[]).is_err());
    assert!(classification(&[0, 1], &[vec![1.0, 0.0]]).is_err());
    assert!(classification(&[2], &[vec![1.0, 0.0]]).is_err());
    assert!(classification(&[0], &[vec![f64::NAN, 0.0]]).is_err());
}
