//! `experiment diag_query`, as a person sees it.

use crate::support::{listing, ok, results, run, stderr};
use serde_json::Value;
use std::path::Path;

/// A study that takes a second.
pub const SMALL: [&str; 28] = [
    "diag_query",
    "--set",
    "seeds=2",
    "--set",
    "train.env_steps=1200",
    "--set",
    "agent.num_envs=4",
    "--set",
    "agent.shard_size=2",
    "--set",
    "agent.num_steps=15",
    "--set",
    "agent.hidden=16",
    "--set",
    "agent.learning_starts=200",
    "--set",
    "agent.batch_size=32",
    "--set",
    "eval.episodes=40",
    "--set",
    "eval.validation_episodes=40",
    "--set",
    "eval.curve_episodes=10",
    "--set",
    "report.replications=200",
    "--quiet",
    "--set",
    "jobs=2",
];

/// Two diseases, two findings.
const NETWORK: &str = r#"network mine { }
variable disease { type discrete [ 2 ] { flu, cold }; }
variable fever { type discrete [ 2 ] { yes, no }; }
variable cough { type discrete [ 2 ] { yes, no }; }
probability ( disease ) { table 0.3, 0.7; }
probability ( fever | disease ) { (flu) 0.9, 0.1; (cold) 0.2, 0.8; }
probability ( cough | disease ) { (flu) 0.6, 0.4; (cold) 0.5, 0.5; }
"#;

fn study(folder: &Path, args: &[&str]) -> std::process::Output {
    run(folder, &[&SMALL[..], args].concat())
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("readable")).expect("JSON")
}

fn refused(folder: &Path, args: &[&str], parts: &[&str]) {
    let before = listing(folder);
    let output = study(folder, args);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    assert!(listing(folder) == before && output.stdout.is_empty(), "{args:?} left something behind");
    for part in parts {
        assert!(message.contains(part), "{args:?}: `{part}` is missing in: {message}");
    }
}

#[test]
fn a_study_measures_what_it_should_and_repeats_for_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let arms = ["--arms", "random,greedy_gain,utility_2,bayes_all,dqn,ppo+belief"];
    ok(&study(here, &[&arms[..], &["--out", "a"]].concat()));
    let summary = json(&here.join("a/summary.json"));
    assert_eq!((summary["experiment"].as_str(), summary["status"].as_str()), (Some("diag_query"), Some("complete")));
    let names: Vec<&str> =
        summary["references"].as_array().expect("references").iter().filter_map(|r| r["name"].as_str()).collect();
    assert!(names.contains(&"optimum (exact)") && names.contains(&"utility_2"), "{names:?}");
    let arm = |name: &str| {
        summary["arms"].as_array().expect("arms").iter().find(|a| a["name"] == name).expect("an arm").clone()
    };
    assert_eq!(arm("ppo+belief")["backbone"], "none (oracle features)");
    for metric in ["accuracy", "macro_f1", "log_loss", "brier", "ece", "queries", "cost"] {
        assert!(arm("dqn")["metrics"][metric]["iqm"].is_number(), "{metric}");
    }
    // It sees all four findings of ASIA.
    assert_eq!(arm("bayes_all")["metrics"]["queries"]["iqm"], 4.0);
    let warnings = summary["warnings"].to_string();
    assert!(warnings.contains("not a medical device") && warnings.contains("ppo+belief see"), "{warnings}");
    let greedy = json(&here.join("a/trials/greedy_gain/0/result.json"));
    let details = &greedy["measurements"]["test"]["details"];
    assert_eq!(details["accuracy_at_k"].as_array().map(Vec::len), Some(11));
    assert!(
        details["theta"].is_number() && details["stories"][0]["end"].as_str().expect("a story").contains("declared")
    );
    let whole = results(&here.join("a"));
    for actors in ["1", "2"] {
        ok(&study(here, &[&arms[..], &["--actors", actors, "--set", "jobs=1", "--out", actors]].concat()));
        assert_eq!(results(&here.join(actors)), whole, "{actors} actor threads");
    }
    assert!(ok(&run(here, &["reproduce", "a"])).contains("agrees"));
    ok(&study(here, &["--arms", "random,greedy_gain,dqn", "--out", "b"]));
    let compared: Value = serde_json::from_str(&ok(&run(here, &["compare", "a", "b", "--json"]))).expect("JSON");
    assert_eq!(compared["paired"], true, "the same patients");
    let page = || std::fs::read_to_string(here.join("a/report.html")).expect("there is a report");
    let first = page();
    std::fs::remove_dir_all(here.join("a/figures")).expect("removes");
    ok(&run(here, &["report", "a"]));
    assert!(page() == first, "the page follows from what the trials recorded");
    for chart in ["accuracy_by_questions", "accuracy_by_cost", "utility_by_price", "calibration", "confusion"] {
        for ending in ["svg", "png"] {
            assert!(here.join(format!("a/figures/{chart}.{ending}")).is_file(), "{chart}.{ending}");
        }
    }
    for expected in
        ["every finding known", "Cases, question by question", "believed at first: ", "not a medical device"]
    {
        assert!(first.contains(expected), "{expected}");
    }
    let told = |arm: &str| {
        let details =
            json(&here.join(format!("a/trials/{arm}/0/result.json")))["measurements"]["test"]["details"].clone();
        first.contains(details["stories"][0]["end"].as_str().expect("a story"))
    };
    assert!(told("dqn") || told("ppo+belief"), "the best arm that learns is told");
    assert!(told("greedy_gain") || told("utility_2"), "the best planner is told");
}

#[test]
fn a_persons_own_network_and_cases_are_studied() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    std::fs::write(here.join("mine.bif"), NETWORK).expect("writes");
    std::fs::write(here.join("costs.csv"), "fever,1\ncough,0.5\n").expect("writes");
    let own = ["--network", "mine.bif", "--target", "disease", "--costs", "costs.csv"];
    ok(&study(here, &[&own[..], &["--arms", "utility_1,dqn", "--out", "a"]].concat()));
    assert!(json(&here.join("a/manifest.json"))["hashes"]["network"].is_string());
    let mut table = "fever,age,disease\n".to_owned();
    for i in 0..60 {
        table.push_str(&format!(
            "{},{},{}\n",
            if i % 3 == 0 { "yes" } else { "no" },
            20 + i,
            if i % 3 == 0 { "flu" } else { "cold" }
        ));
    }
    std::fs::write(here.join("cases.csv"), &table).expect("writes");
    let own = ["--cases", "cases.csv", "--diagnosis", "disease", "--costs", "unit", "--set", "data.folds=3"];
    ok(&study(here, &[&own[..], &["--arms", "greedy_gain,dqn", "--out", "b"]].concat()));
    let greedy = json(&here.join("b/trials/greedy_gain/0/result.json"));
    // Fever tells all there is to know, and each of the twenty cases of the fold is met once.
    assert_eq!(greedy["measurements"]["test"]["metrics"]["accuracy"], 1.0);
    let confusion = greedy["measurements"]["test"]["details"]["confusion"].to_string();
    assert!(confusion == "[[13,0],[0,7]]" || confusion == "[[14,0],[0,6]]", "{confusion}");
    table.push_str(",,flu\n");
    std::fs::write(here.join("empty.csv"), &table).expect("writes");
    let own = ["--cases", "empty.csv", "--costs", "unit", "--set", "data.folds=3"];
    refused(here, &own, &["empty.csv", "line 62", "all findings are missing"]);
}

#[test]
fn what_cannot_be_is_refused_with_file_and_line() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let network = |text: &str| std::fs::write(here.join("mine.bif"), text).expect("writes");
    let own = ["--network", "mine.bif", "--target", "disease"];
    network(&NETWORK.replace("0.9, 0.1", "0.9, 0.2"));
    refused(here, &own, &["mine.bif", "line 6", "fever"]);
    network(&NETWORK.replace("( cough | disease )", "( cough | diseas )"));
    refused(here, &own, &["mine.bif", "line 7", "diseas"]);
    network(&NETWORK.replace("0.3, 0.7", "-0.3, 1.3"));
    refused(here, &own, &["mine.bif", "line 5"]);
    network(&NETWORK[..150]);
    refused(here, &own, &["mine.bif", "line"]);
    network(NETWORK);
    refused(here, &["--network", "mine.bif"], &["--target"]);
    refused(here, &["--network", "mine.bif", "--target", "diseas"], &["diseas", "a variable of the network"]);
    refused(here, &[&own[..], &["--findings", "fever,smoke"]].concat(), &["smoke", "no such variable"]);
    refused(here, &["--network", "none.bif", "--target", "x"], &["none.bif", "cannot be read"]);
    std::fs::write(here.join("costs.csv"), "fever,1\ncough,-2\n").expect("writes");
    refused(here, &[&own[..], &["--costs", "costs.csv"]].concat(), &["costs.csv", "line 2", "cough"]);
    refused(here, &["--set", "env.lambda=-1"], &["env.lambda = -1"]);
    refused(here, &["--set", "env.view=txt"], &["env.view", "did you mean `text`?"]);
    refused(here, &["--arms", "ppo+belif"], &["did you mean `belief`?"]);
    refused(here, &["--arms", "greedy_gain+belief"], &["has no view"]);
    refused(here, &["--set", "env.problem=asai"], &["env.problem", "did you mean `asia`?"]);
    refused(here, &["--set", "env.noise=1.5"], &["env.noise = 1.5"]);
}

#[test]
fn a_trial_that_meets_a_number_that_is_not_finite_fails_alone_and_replays() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    std::fs::write(here.join("mine.bif"), NETWORK).expect("writes");
    // Within the range of 64 bits and far beyond that of the 32 that networks compute with.
    std::fs::write(here.join("costs.csv"), "fever,1e300\ncough,1\n").expect("writes");
    let own = ["--network", "mine.bif", "--target", "disease", "--costs", "costs.csv"];
    let output = study(here, &[&own[..], &["--arms", "greedy_gain,ppo", "--set", "seeds=1", "--out", "a"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let summary = json(&here.join("a/summary.json"));
    assert!(summary.to_string().contains("non-finite value"), "{summary}");
    assert!(here.join("a/trials/greedy_gain/0/result.json").is_file(), "the other trial has its result");
    let failure = json(&here.join("a/trials/ppo/0/failure/failure.json"));
    assert!(failure["tensor"].is_string() && failure["update"].is_number(), "{failure}");
    assert!(here.join("a/trials/ppo/0/failure/agent.safetensors").is_file());
    let replayed: Value = serde_json::from_str(&ok(&run(here, &["replay", "a", "--json"]))).expect("JSON");
    assert_eq!((replayed[0]["trial"].as_str(), replayed[0]["again"].as_bool()), (Some("ppo seed 0"), Some(true)));
    // Nothing to replay is bad input.
    ok(&study(here, &["--arms", "random", "--set", "seeds=1", "--out", "b"]));
    assert_eq!(run(here, &["replay", "b"]).status.code(), Some(2));
}
