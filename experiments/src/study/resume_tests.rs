//! Exact resume of every agent of every experiment: a study cut anywhere and gone on with, also by the other runner,
//! ends with the same bytes in parameters, optimizer, memory, streams, environments, counters, metrics and results.

use super::Study;
use crate::arms::Kind;
use crate::config::Request;
use crate::control::Control;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::rec_sim::RecSim;
use crate::study::{Experiment, TrialOutcome, timeless};
use retune::persist::{CheckpointDir, StateDict};
use retune::track::RunDir;
use serde_json::Value;
use std::path::Path;

/// A checkpoint after every round, all of them kept.
const EVERY_ROUND: [&str; 4] =
    ["seeds=1", "train.checkpoint_secs=0", "train.keep_checkpoints=1000", "report.replications=100"];

fn config(experiment: &dyn Experiment, preset: &str, set: &[&str]) -> Value {
    let set: Vec<String> = EVERY_ROUND.iter().chain(set).map(|s| (*s).to_owned()).collect();
    let schema = experiment.info().schema().expect("valid");
    let request = Request { preset: Some(preset), set: &set, ..Request::default() };
    experiment.checked(&experiment.layers(&schema, &request).expect("valid").1).expect("valid")
}

/// Runs what is left of the trials in `folder` and returns the arms that learn.
fn run(experiment: &dyn Experiment, config: &Value, folder: &Path) -> Vec<String> {
    let run = if folder.join("manifest.json").is_file() {
        RunDir::open(folder).expect("a run")
    } else {
        let run = RunDir::create(folder).expect("new");
        std::fs::write(run.manifest(), "{}").expect("writes");
        run
    };
    let prepared = experiment.prepare(config).expect("can be prepared");
    let study = Study::new(prepared, run, Interrupt::default()).expect("free");
    let outcomes = study.run(&Progress::new(0, true)).expect("runs");
    for (trial, outcome) in study.trials().iter().zip(&outcomes) {
        assert!(matches!(outcome, TrialOutcome::Done(_)), "{trial}: {outcome:?}");
    }
    let learning = study.prepared.plan().arms.iter().filter(|arm| !arm.is_policy());
    learning.map(crate::arms::Arm::folder).collect()
}

fn checkpoints(folder: &Path, arm: &str, name: &str) -> CheckpointDir {
    let path = RunDir::open(folder).expect("a run").checkpoint(arm, 0).expect("a name");
    CheckpointDir::open(&path, &format!("{name} trial"), 1000).expect("a folder")
}

/// Everything in the last checkpoint but what the clock says.
fn last_state(folder: &Path, arm: &str, name: &str) -> StateDict {
    let found = checkpoints(folder, arm, name).load_latest().expect("readable").expect("there is one");
    let mut state = found.state;
    for key in ["wall_secs", "train_secs", "began", "log"] {
        let position = state.values.get_mut("trial").and_then(Value::as_object_mut).expect("a table");
        position.remove(key).expect("a position has it");
    }
    state
}

/// Results and logs of a trial, their times apart.
fn traces(folder: &Path, arm: &str) -> Vec<String> {
    let run = RunDir::open(folder).expect("a run");
    let result = run.trial(arm, 0).expect("a name").join("result.json");
    let files = [result, run.metrics(arm, 0).expect("a name"), run.episodes(arm, 0).expect("a name")];
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("readable");
        let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        values.map(|v| timeless(v.expect("JSON")).to_string()).collect::<Vec<_>>().join("\n")
    };
    files.iter().map(read).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copies");
        }
    }
}

/// Leaves of a finished trial what a kill after checkpoint number `index` would have left.
fn cut(folder: &Path, arm: &str, name: &str, index: usize) {
    let run = RunDir::open(folder).expect("a run");
    std::fs::remove_file(run.trial(arm, 0).expect("a name").join("result.json")).expect("removes");
    let dir = checkpoints(folder, arm, name);
    let steps = dir.steps().expect("readable");
    assert!(steps.len() > index + 2, "{arm} has only {} checkpoints", steps.len());
    for &step in &steps[index + 1..] {
        std::fs::remove_file(dir.path(step)).expect("removes");
    }
}

/// `threaded` are settings for the run that goes on.
fn resumes_exactly(experiment: &dyn Experiment, preset: &str, set: &[&str], threaded: &[&str]) {
    let temporary = tempfile::tempdir().expect("temporary folder");
    let (whole, name) = (temporary.path().join("whole"), experiment.info().name);
    let sync = config(experiment, preset, set);
    let arms = run(experiment, &sync, &whole);
    for (number, settings) in [set.to_vec(), [set, threaded].concat()].iter().enumerate() {
        let again = temporary.path().join(format!("cut-{number}"));
        copy(&whole, &again);
        arms.iter().for_each(|arm| cut(&again, arm, name, 1 + number));
        run(experiment, &config(experiment, preset, settings), &again);
        for arm in &arms {
            assert_eq!(traces(&again, arm), traces(&whole, arm), "{arm}: results");
            let (found, expected) = (last_state(&again, arm, name), last_state(&whole, arm, name));
            let differing = expected.tensors.iter().find(|(name, tensor)| found.tensors.get(*name) != Some(tensor));
            assert!(differing.is_none(), "{arm}: tensor {:?}", differing.map(|(name, _)| name));
            assert_eq!(found.values, expected.values, "{arm}");
            assert!(found == expected, "{arm}: the state has something more");
        }
    }
}

/// A negative control: a checkpoint whose memory of a stream is lost goes on to something else.
#[test]
fn a_checkpoint_of_another_moment_would_be_noticed() {
    let temporary = tempfile::tempdir().expect("temporary folder");
    let folder = temporary.path().join("whole");
    let settings = config(&Control, "frozen_lake", &[&FROZEN_LAKE[..], &["arms=q_learning"]].concat());
    run(&Control, &settings, &folder);
    let expected = last_state(&folder, "q_learning", "control");
    cut(&folder, "q_learning", "control", 1);
    // The checkpoint of round one pretends to be that of round two.
    let dir = checkpoints(&folder, "q_learning", "control");
    let steps = dir.steps().expect("readable");
    let mut state = dir.load_latest().expect("readable").expect("there is one").state;
    let mut position = state.values["trial"].clone();
    position["env_steps"] = (steps[1] + steps[0]).into();
    state.put("trial", &position).expect("serialises");
    dir.save(steps[1] + 1, &state).expect("writes");
    run(&Control, &settings, &folder);
    assert!(last_state(&folder, "q_learning", "control") != expected);
}

const FROZEN_LAKE: [&str; 6] = [
    "train.env_steps=240",
    "agent.num_envs=4",
    "agent.shard_size=2",
    "eval.episodes=3",
    "eval.curve_episodes=2",
    "eval.curve_points=2",
];

const VALUE: [&str; 7] = ["dqn", "double_dqn", "c51", "qr_dqn", "rainbow", "deep_sarsa", "deep_expected_sarsa"];
const POLICY: [&str; 6] = ["vanilla", "a2c", "ppo", "impala", "grpo", "sac"];
const TABULAR: [&str; 7] =
    ["q_learning", "double_q", "sarsa", "expected_sarsa", "tree_backup", "sarsa_lambda", "q_lambda"];
const SLATE: [&str; 8] = [
    "popular",
    "supervised",
    "supervised_planner",
    "sarsa",
    "q_learning",
    "reinforce",
    "top_k_reinforce",
    "supervised_then_q_learning",
];

fn arms(names: &[&str]) -> String {
    format!("arms={}", names.join(","))
}

/// A new agent is no exception: its name has to be in one of the lists.
#[test]
fn no_agent_is_left_out() {
    let sorted = |mut names: Vec<&'static str>| {
        names.sort_unstable();
        names
    };
    let learn = |experiment: &dyn Experiment| {
        let all = experiment.info().algorithms.iter();
        sorted(all.filter(|a| a.trains || a.kind != Kind::Reference).map(|a| a.name).collect())
    };
    assert_eq!(learn(&Control), sorted([&VALUE[..], &POLICY, &TABULAR].concat()));
    assert_eq!(learn(&RecSim), sorted(SLATE.to_vec()));
}

#[test]
fn every_tabular_agent_resumes_exactly() {
    // Rounds of several steps, so that eligibility traces and n-step windows are cut in the middle.
    let arms = arms(&TABULAR);
    let set = [&FROZEN_LAKE[..], &["agent.num_steps=12", &arms]].concat();
    resumes_exactly(&Control, "frozen_lake", &set, &["actors=2"]);
}

#[test]
fn every_value_agent_resumes_exactly() {
    let set = [
        &arms(&VALUE),
        "train.env_steps=400",
        "agent.num_envs=4",
        "agent.shard_size=2",
        "agent.num_steps=10",
        "agent.hidden=8",
        "agent.learning_starts=64",
        "agent.batch_size=16",
        "agent.train_freq=20",
        "agent.gradient_steps=2",
        "agent.target_update_interval=3",
        "agent.buffer_size=150",
        "eval.episodes=2",
        "eval.curve_episodes=2",
        "eval.curve_points=2",
        "eval.max_episode_steps=50",
    ];
    resumes_exactly(&Control, "cartpole", &set, &["actors=2"]);
}

#[test]
fn every_policy_agent_resumes_exactly() {
    let set = [
        &arms(&POLICY),
        "train.env_steps=480",
        "agent.num_envs=4",
        "agent.shard_size=2",
        "agent.num_steps=12",
        "agent.hidden=8",
        "agent.minibatch_size=16",
        "agent.group_size=2",
        "agent.learning_starts=64",
        "agent.batch_size=16",
        "agent.train_freq=8",
        "agent.buffer_size=150",
        "eval.episodes=2",
        "eval.curve_episodes=2",
        "eval.curve_points=2",
        "eval.max_episode_steps=50",
    ];
    resumes_exactly(&Control, "cartpole", &set, &["actors=2"]);
}

#[test]
fn every_slate_agent_resumes_exactly() {
    let set = [
        &arms(&SLATE),
        "train.env_steps=600",
        "train.num_envs=6",
        "train.shard_size=3",
        "agent.learning_starts=100",
        "agent.batch_size=16",
        "agent.hidden=4",
        "eval.users=2",
        "eval.curve_users=2",
        "eval.curve_points=2",
    ];
    resumes_exactly(&RecSim, "features", &set, &["actors=2"]);
}
