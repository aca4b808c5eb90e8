//! Ctrl-C and kill, at any moment: what goes on afterwards ends as if nothing had happened.
#![cfg(unix)]

use crate::control;
use crate::diag_query;
use crate::support::{SMALL, ok, program, results, run, study};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than the study takes, shorter than anyone waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// A study with a checkpoint after every round.
const ARGS: [&str; 10] = [
    "--arms",
    "q_learning,sarsa",
    "--seeds",
    "1",
    "--set",
    "train.checkpoint_secs=0",
    "--set",
    "jobs=1",
    "--set",
    "agent.env_steps_per_update=10",
];

fn begin(folder: &Path) -> Child {
    begin_with(folder, &[&["rec_sim"], &SMALL[..], &ARGS].concat())
}

fn begin_with(folder: &Path, args: &[&str]) -> Child {
    let mut command = program(folder);
    command.args(args).args(["--out", "cut"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Waits until the first arm has written a checkpoint: the study is then in the middle of its first trial.
fn wait_for_checkpoint(folder: &Path, child: &mut Child, arm: &str) {
    let checkpoints = folder.join("cut/trials").join(arm).join("0/checkpoint");
    let began = Instant::now();
    loop {
        let names = std::fs::read_dir(&checkpoints).map(|all| all.flatten().count()).unwrap_or_default();
        if names > 0 {
            return;
        }
        assert!(child.try_wait().expect("can be asked").is_none(), "the study ended before a checkpoint");
        assert!(began.elapsed() < PATIENCE, "no checkpoint");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn whole(folder: &Path) -> std::collections::BTreeMap<std::path::PathBuf, String> {
    ok(&study(folder, &[&ARGS[..], &["--out", "whole"]].concat()));
    results(&folder.join("whole"))
}

#[test]
fn ctrl_c_ends_soon_says_how_to_go_on_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let mut child = begin(here);
    wait_for_checkpoint(here, &mut child, "q_learning");
    let asked = Instant::now();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success());
    let output = child.wait_with_output().expect("ends");
    assert!(asked.elapsed() < Duration::from_secs(2), "took {:?}", asked.elapsed());
    assert_eq!(output.status.code(), Some(130));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("experiment resume cut"), "{told}");

    ok(&run(here, &["resume", "cut"]));
    assert_eq!(results(&here.join("cut")), whole(here));
    // A second time there is nothing left to do, and nothing changes.
    ok(&run(here, &["resume", "cut", "--quiet"]));
    assert_eq!(results(&here.join("cut")), whole_again(here));
}

fn whole_again(folder: &Path) -> std::collections::BTreeMap<std::path::PathBuf, String> {
    results(&folder.join("whole"))
}

#[test]
fn a_killed_study_goes_on_to_the_same_results() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let mut child = begin(here);
    wait_for_checkpoint(here, &mut child, "q_learning");
    child.kill().expect("SIGKILL");
    assert_eq!(child.wait().expect("ends").code(), None, "killed, not ended");
    ok(&run(here, &["resume", "cut"]));
    assert_eq!(results(&here.join("cut")), whole(here));
}

/// Every family of agents of `control`: the arm, and what makes its trial long enough to be killed in the middle.
const AGENTS: [(&str, &[&str]); 4] = [
    ("ppo", &["--set", "train.env_steps=3000", "--set", "agent.update_epochs=8"]),
    ("dqn", &["--set", "train.env_steps=3000", "--set", "agent.gradient_steps=4"]),
    ("rainbow", &["--set", "train.env_steps=2400", "--set", "agent.num_atoms=11"]),
    ("q_lambda", &["--set", "env.id=control/taxi", "--set", "train.env_steps=6000"]),
];

#[test]
fn whatever_learns_goes_on_after_a_kill_to_the_same_results() {
    for (arm, more) in AGENTS {
        assert_resumes_after_a_kill(&[&control::SMALL[..], more].concat(), arm);
    }
}

#[test]
fn an_agent_that_asks_goes_on_after_a_kill_to_the_same_results() {
    let longer = ["--set", "train.env_steps=3000", "--set", "agent.update_epochs=8", "--set", "env.noise=0.1"];
    assert_resumes_after_a_kill(&[&diag_query::SMALL[..], &longer].concat(), "ppo");
}

fn assert_resumes_after_a_kill(study: &[&str], arm: &str) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let every_round = ["--arms", arm, "--seeds", "1", "--set", "train.checkpoint_secs=0"];
    let args = [study, &every_round].concat();
    let mut child = begin_with(here, &args);
    wait_for_checkpoint(here, &mut child, arm);
    child.kill().expect("SIGKILL");
    assert_eq!(child.wait().expect("ends").code(), None, "{arm}: killed, not ended");
    ok(&run(here, &["resume", "cut"]));
    ok(&run(here, &[&args[..], &["--out", "whole"]].concat()));
    assert_eq!(results(&here.join("cut")), results(&here.join("whole")), "{arm}");
}

#[test]
fn free_running_actors_stop_at_ctrl_c_and_go_on_without_a_gap() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let free = ["--arms", "dqn", "--seeds", "1", "--actors", "2", "--set", "train.mode=free"];
    let every_round = ["--set", "train.checkpoint_secs=0", "--set", "train.env_steps=6000"];
    let mut child = begin_with(here, &[&control::SMALL[..], &free, &every_round].concat());
    wait_for_checkpoint(here, &mut child, "dqn");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success());
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    ok(&run(here, &["resume", "cut", "--quiet"]));
    let trial = here.join("cut/trials/dqn/0");
    let result = std::fs::read_to_string(trial.join("result.json")).expect("readable");
    let result: serde_json::Value = serde_json::from_str(&result).expect("JSON");
    let lags = result["policy_lag"].as_object().expect("a histogram");
    assert_eq!(lags.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), 6000);
    control::assert_episodes_without_a_gap(&trial, 6000 / 4);
}
