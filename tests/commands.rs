//! The commands besides studies.

use crate::support::{ok, run, run_with_input, stderr, study, tiny_bert};
use serde_json::Value;

fn here() -> &'static std::path::Path {
    std::path::Path::new(".")
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&ok(&run(here(), args))).expect("JSON on standard output")
}

#[test]
fn list_names_what_describe_knows() {
    let listed = json(&["list", "--json"]);
    let names = |key: &str| -> Vec<String> {
        let items = listed[key].as_array().expect("a list").iter();
        items.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    };
    for key in ["experiments", "presets", "arms", "envs"] {
        assert!(!names(key).is_empty(), "{key}");
        for name in names(key) {
            assert!(ok(&run(here(), &["describe", &name])).contains(&name), "{name}");
        }
    }
    assert!(ok(&run(here(), &["list", "--quiet"])).is_empty());
}

#[test]
fn describe_shows_every_setting_with_range_default_and_source() {
    let settings = json(&["describe", "rec_sim", "--json"])["settings"].clone();
    let settings = settings.as_object().expect("a table");
    assert!(settings.len() > 30);
    for (key, setting) in settings {
        for part in ["default", "meaning", "source"] {
            assert!(!setting[part].is_null() && setting[part] != "" || part == "default", "{key} has no {part}");
        }
    }
    let text = ok(&run(here(), &["describe", "env.num_candidates"]));
    assert!(text.contains("from 1 to 10000 (items)"), "{text}");
    let unknown = run(here(), &["describe", "q_lerning"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("did you mean `q_learning`?"), "{}", stderr(&unknown));
}

#[test]
fn verify_passes_every_check() {
    let report = json(&["verify", "--json"]);
    let rows = report["rows"].as_array().expect("rows");
    assert!(rows.len() > 40 && rows.iter().all(|row| row["passed"] == true), "{report}");
    assert!(ok(&run(here(), &["verify", "--quiet"])).is_empty());
}

#[test]
fn environments_keep_their_contract() {
    for env in [
        "rec_sim/interest_evolution/features",
        "rec_sim/interest_evolution/text",
        "control/cartpole",
        "diag_query/child",
    ] {
        let report = json(&["check-env", env, "--json"]);
        let rows = report["rows"].as_array().expect("rows");
        assert!(rows.len() > 5 && rows.iter().all(|row| row["passed"] == true), "{report}");
        assert!(report["steps_per_second"].as_f64().expect("measured") > 100.0);
    }
    let unknown = run(here(), &["check-env", "rec_sim/interest_evolution/texts"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("did you mean `rec_sim/interest_evolution/text`?"));
}

#[test]
fn embed_gives_one_vector_a_line() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let backbone = folder.path().join("tiny");
    tiny_bert(&backbone, |_| {});
    let vectors = |input: &[u8]| -> Vec<Vec<f64>> {
        let args = ["embed", "--backbone", backbone.to_str().expect("UTF-8")];
        let text = ok(&run_with_input(here(), &args, input));
        text.lines().map(|line| serde_json::from_str(line).expect("a list of numbers")).collect()
    };
    let found = vectors(b"a cat\n\nthe dog\r\na cat");
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [8; 4]);
    assert_eq!(found[0], found[3], "a text has one vector wherever it stands");
    assert_ne!(found[0], found[2]);
    assert_eq!(vectors(b"the dog\n"), found[2..3]);
    assert!(vectors(b"").is_empty());
    let broken = run_with_input(here(), &["embed", "--backbone", "embedded"], b"fine\n\xff\n");
    assert_eq!(broken.status.code(), Some(2));
    assert!(stderr(&broken).contains("line 2: not UTF-8"));
}

#[test]
fn doctor_finds_gradients_everywhere() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let backbone = folder.path().join("tiny");
    tiny_bert(&backbone, |_| {});
    let found = json(&["doctor", "--json", "--backbone", backbone.to_str().expect("UTF-8")]);
    assert_eq!(found["healthy"], true, "{found}");
    assert_eq!(found["backbone"]["layers"], 1);
    assert!(found["backbone"]["files"]["config.json"].as_u64() > Some(0), "{found}");
    assert!(found["matmul_kernel"].as_str().is_some_and(|name| !name.is_empty()), "{found}");
    assert!(found["gradient_coverage"].as_array().expect("rows").len() >= 2);
}

#[test]
fn bench_measures_what_it_is_asked_for() {
    let found = json(&["bench", "bootstrap", "--json", "--threads", "1"]);
    let results = found["results"].as_array().expect("rows");
    assert_eq!((results.len(), found["threads"].as_u64()), (1, Some(1)), "{found}");
    let row = &results[0];
    let number = |key: &str| row[key].as_f64().expect("a number");
    assert!(number("min") > 0.0 && number("min") <= number("median") && number("median") <= number("max"), "{row}");
    let refused = run(here(), &["bench", "forwrd"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("no case has this in its name"), "{}", stderr(&refused));
}

#[test]
fn embeddings_in_8_bits_are_those_of_the_8_bit_file() {
    let embed = |weights: &str| {
        let args = ["embed", "--backbone", "embedded", "--weights", weights, "--device", "cpu"];
        ok(&run_with_input(here(), &args, b"Great phone.\n\nIt broke after a week.\n"))
    };
    let wide = embed("f32");
    assert_eq!(wide.lines().count(), 3);
    assert_eq!(wide, embed("u8"));
}

#[test]
fn studies_can_be_reported_again_and_compared() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    for (out, seed) in [("a", "0"), ("b", "1")] {
        let output = study(here, &["--arms", "random,sarsa", "--out", out, "--seed", seed, "--json"]);
        let summary: Value = serde_json::from_str(&ok(&output)).expect("nothing but JSON on standard output");
        assert_eq!((summary["schema"].as_u64(), summary["status"].as_str()), (Some(1), Some("complete")));
        assert_eq!(summary["arms"][1]["scores"].as_array().expect("scores").len(), 2);
    }
    let page = here.join("a/report.html");
    let first = std::fs::read(&page).expect("there is a report");
    std::fs::remove_file(&page).expect("removes");
    std::fs::remove_dir_all(here.join("a/figures")).expect("removes");
    assert!(ok(&run(here, &["report", "a"])).contains("sarsa"));
    assert_eq!(std::fs::read(&page).expect("there is a report"), first);
    assert!(here.join("a/figures/learning_curves.svg").is_file());

    let compared: Value = serde_json::from_str(&ok(&run(here, &["compare", "a", "b", "--json"]))).expect("JSON");
    assert_eq!(compared["paired"], false);
    assert_eq!(compared["comparisons"].as_array().expect("arms").len(), 2);
    assert_eq!(compared["differing_settings"], serde_json::json!(["seed: 0, 1"]));
    let itself: Value = serde_json::from_str(&ok(&run(here, &["compare", "a", "a", "--json"]))).expect("JSON");
    assert_eq!(
        (itself["paired"].as_bool(), itself["comparisons"][1]["difference_iqm"].as_f64()),
        (Some(true), Some(0.0))
    );

    for command in [vec!["report", "nowhere"], vec!["compare", "a", "nowhere"], vec!["resume", "nowhere"]] {
        let output = run(here, &command);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(stderr(&output).contains("nowhere"), "{command:?}: {}", stderr(&output));
    }
}

#[test]
fn infer_answers_lines_and_names_what_is_wrong() {
    let bif = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/networks/asia.bif");
    let ask = |input: &str| run_with_input(here(), &["infer", "--network", bif], input.as_bytes());
    let answers = ok(&ask("{\"target\": \"lung\", \"evidence\": {\"smoke\": \"no\"}}\n\n{\"target\": \"lung\"}\n\
         {\"target\": \"smoke\", \"evidence\": {\"smoke\": {\"yes\": 0.9, \"no\": 0.1}}}\n"));
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let p = |i: usize, state: &str| answers[i]["posterior"][state].as_f64().expect("a number");
    assert_eq!(answers.len(), 3);
    assert!(
        (p(0, "yes") - 0.01).abs() < 1e-12 && (p(1, "yes") - 0.055).abs() < 1e-12 && (p(2, "yes") - 0.9).abs() < 1e-12
    );
    assert!((answers[0]["log_evidence"].as_f64().expect("a number") - 0.5f64.ln()).abs() < 1e-12);
    for (input, expected) in [
        ("{\"target\": \"lungs\"}", "line 1: there is no variable lungs in the network; did you mean `lung`?"),
        ("\n{\"target\": \"lung\", \"evidence\": {\"smoke\": \"maybe\"}}", "line 2: smoke has no state maybe"),
        ("{\"target\": \"lung\", \"evidence\": {\"tub\": \"yes\", \"either\": \"no\"}}", "probability zero"),
        ("{\"evidence\": {}}", "missing field `target`"),
    ] {
        let refused = ask(input);
        assert_eq!(refused.status.code(), Some(2), "{input}");
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    }
    let missing = run_with_input(here(), &["infer", "--network", "no.bif"], b"");
    assert_eq!(missing.status.code(), Some(2));
}
