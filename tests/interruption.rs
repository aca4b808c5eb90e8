//! Ctrl-C and kill, at any moment: what goes on afterwards ends as if nothing had happened.
#![cfg(unix)]

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
    let mut command = program(folder);
    command.arg("rec_sim").args(SMALL).args(ARGS).args(["--out", "cut"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Waits until the first arm has written a checkpoint: the study is then in the middle of its first trial.
fn wait_for_checkpoint(folder: &Path, child: &mut Child) {
    let checkpoints = folder.join("cut/trials/q_learning/0/checkpoint");
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
    wait_for_checkpoint(here, &mut child);
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
    wait_for_checkpoint(here, &mut child);
    child.kill().expect("SIGKILL");
    assert_eq!(child.wait().expect("ends").code(), None, "killed, not ended");
    ok(&run(here, &["resume", "cut"]));
    assert_eq!(results(&here.join("cut")), whole(here));
}
