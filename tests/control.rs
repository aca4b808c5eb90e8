//! `experiment control`, as a person sees it.

use crate::support::{listing, ok, results, run, stderr};
use serde_json::Value;
use std::path::Path;

/// A study on CartPole that takes a second.
pub const SMALL: [&str; 26] = [
    "control",
    "--preset",
    "cartpole",
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
    "agent.train_freq=20",
    "--set",
    "agent.gradient_steps=2",
    "--set",
    "eval.episodes=4",
    "--set",
    "eval.curve_episodes=2",
    "--quiet",
];

fn study(folder: &Path, args: &[&str]) -> std::process::Output {
    run(folder, &[&SMALL[..], args].concat())
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("readable")).expect("JSON")
}

fn refused(folder: &Path, args: &[&str], parts: &[&str]) {
    let output = run(folder, &[&["control"], args].concat());
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    assert!(listing(folder).is_empty() && output.stdout.is_empty(), "{args:?}");
    for part in parts {
        assert!(message.contains(part), "{args:?}: `{part}` is missing in: {message}");
    }
}

#[test]
fn a_study_says_who_is_better_and_repeats_for_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    ok(&study(here, &["--arms", "dqn,deep_sarsa", "--out", "a"]));
    let summary = json(&here.join("a/summary.json"));
    assert_eq!((summary["experiment"].as_str(), summary["status"].as_str()), (Some("control"), Some("complete")));
    let references = summary["references"].as_array().expect("references");
    let names: Vec<&str> = references.iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(names, ["random", "solved"]);
    assert!(summary["verdict"][0].as_str().expect("a sentence").contains("control/cartpole"));
    assert_eq!(summary["comparisons"].as_array().expect("one pair").len(), 1);
    for file in ["report.html", "figures/learning_curves.svg", "trials/dqn/1/metrics.jsonl"] {
        assert!(here.join("a").join(file).is_file(), "{file}");
    }
    let whole = results(&here.join("a"));
    for actors in ["1", "2"] {
        ok(&study(here, &["--arms", "dqn,deep_sarsa", "--actors", actors, "--set", "jobs=1", "--out", actors]));
        assert_eq!(results(&here.join(actors)), whole, "{actors} actor threads");
    }
    assert!(ok(&run(here, &["reproduce", "a"])).contains("agrees"));
    ok(&study(here, &["--arms", "dqn,deep_sarsa", "--seed", "1", "--out", "b"]));
    assert_ne!(results(&here.join("b")), whole);
    let compared: Value = serde_json::from_str(&ok(&run(here, &["compare", "a", "b", "--json"]))).expect("JSON");
    assert_eq!(
        (compared["paired"].as_bool(), compared["differing_settings"][0].as_str()),
        (Some(false), Some("seed: 0, 1"))
    );
}

#[test]
fn tables_learn_a_small_lake() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let lake =
        ["control", "--preset", "frozen_lake", "--set", "env.id=control/frozen_lake/4x4/not_slippery", "--quiet"];
    let budget =
        ["--seeds", "1", "--set", "train.env_steps=20000", "--set", "eval.episodes=5", "--arms", "q_learning,sarsa"];
    ok(&run(here, &[&lake[..], &budget, &["--out", "a"]].concat()));
    let summary = json(&here.join("a/summary.json"));
    for arm in summary["arms"].as_array().expect("arms") {
        assert_eq!(arm["scores"], serde_json::json!([1.0]), "{arm}");
    }
}

/// Every step of each of the four slots belongs to an episode, up to the one that was running at the end.
pub fn assert_episodes_without_a_gap(trial: &Path, steps_per_slot: u64) {
    let mut steps = [0; 4];
    for line in std::fs::read_to_string(trial.join("episodes.jsonl")).expect("readable").lines() {
        let episode: Value = serde_json::from_str(line).expect("JSON");
        let slot = episode["env"].as_u64().expect("a slot") as usize;
        steps[slot] += episode["length"].as_u64().expect("steps");
        assert_eq!(steps[slot], episode["slot_steps"].as_u64().expect("steps"), "a gap in slot {slot}");
    }
    assert!(steps.iter().all(|&s| s > 0 && s <= steps_per_slot), "{steps:?}");
}

#[test]
fn free_running_actors_lose_nothing_and_say_how_old_their_parameters_were() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let free = ["--arms", "dqn", "--actors", "2", "--set", "train.mode=free", "--set", "train.checkpoint_secs=0"];
    ok(&study(here, &[&free[..], &["--out", "a"]].concat()));
    for seed in ["0", "1"] {
        let trial = here.join("a/trials/dqn").join(seed);
        let result = json(&trial.join("result.json"));
        let lags = result["policy_lag"].as_object().expect("a histogram");
        assert_eq!(lags.values().filter_map(Value::as_u64).sum::<u64>(), 1200);
        assert!(lags.keys().all(|lag| lag == "0" || lag == "1"), "{lags:?}");
        assert_eq!(result["ledger"]["env_steps"], 1200);
        assert_episodes_without_a_gap(&trial, 300);
    }
    let output = run(here, &["reproduce", "a"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("train.mode = free"), "{}", stderr(&output));
}

#[test]
fn what_cannot_be_is_refused_with_what_would_be_right() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    refused(here, &["--set", "env.id=control/cartpol"], &["env.id", "did you mean `control/cartpole`?"]);
    refused(here, &["--arms", "rainbo"], &["unknown arm `rainbo`", "did you mean `rainbow`?"]);
    refused(here, &["--arms", "q_learning"], &["env.id = control/cartpole", "numbered states", "q_learning"]);
    refused(here, &["--arms", "dqn:lora"], &["shows no texts"]);
    refused(here, &["--preset", "cartpol"], &["did you mean `cartpole`?"]);
    refused(here, &["--set", "agent.gamma=1.5"], &["agent.gamma = 1.5", "from 0 to 1"]);
    refused(here, &["--arms", "c51", "--set", "agent.num_atoms=1"], &["agent.num_atoms = 1"]);
    refused(here, &["--arms", "c51", "--set", "agent.v_min=5", "--set", "agent.v_max=5"], &["v_min = 5"]);
    let small = ["--arms", "dqn", "--set", "agent.buffer_size=40", "--set", "agent.batch_size=64"];
    refused(here, &small, &["buffer_size = 40", "batch_size = 64"]);
    let early = ["--arms", "dqn", "--set", "agent.learning_starts=10", "--set", "agent.batch_size=64"];
    refused(here, &early, &["learning_starts = 10", "batch_size = 64"]);
    let far = ["--arms", "dqn", "--set", "agent.n_step=500", "--set", "agent.buffer_size=400"];
    refused(here, &far, &["buffer_size = 400", "n_step = 500"]);
    refused(here, &["--set", "arm.dqn.lambda=0.5"], &["dqn does not use agent.lambda"]);
    refused(here, &["--set", "train.mode=free"], &["train.mode", "--actors 2"]);
    refused(here, &["--actors", "3"], &["actors = 3", "at most 1"]);
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_used() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let args = ["--arms", "dqn", "--seeds", "1", "--set", "train.checkpoint_secs=0"];
    ok(&study(here, &[&args[..], &["--out", "whole"]].concat()));
    ok(&study(here, &[&args[..], &["--out", "cut"]].concat()));
    let trial = here.join("cut/trials/dqn/0");
    let checkpoints = listing(&trial.join("checkpoint"));
    assert!(checkpoints.iter().any(|name| name.starts_with("best-")), "{checkpoints:?}");
    let newest = checkpoints.iter().rfind(|name| name.starts_with("checkpoint-")).expect("checkpoints");
    let path = trial.join("checkpoint").join(newest);
    let mut bytes = std::fs::read(&path).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    std::fs::remove_file(trial.join("result.json")).expect("removes");
    let output = run(here, &["resume", "cut", "--quiet"]);
    ok(&output);
    assert!(stderr(&output).contains(newest.as_str()), "{}", stderr(&output));
    assert_eq!(results(&here.join("cut")), results(&here.join("whole")));
}
