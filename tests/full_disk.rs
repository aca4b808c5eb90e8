//! A disk that is full: the trial that wanted to write fails and says so, the others go on, and what was saved stays.
#![cfg(target_os = "linux")]

use crate::support::{listing, ok, program, results, run, stderr};
use std::process::Command;

/// A study of a second: the memory of DQN grows beyond any small limit, the networks do not.
const ARGS: [&str; 22] = [
    "control",
    "--preset",
    "quick",
    "--arms",
    "ppo,dqn",
    "--seeds",
    "1",
    "--set",
    "train.env_steps=9000",
    "--set",
    "train.checkpoint_secs=0",
    "--set",
    "agent.hidden=16",
    "--set",
    "arm.dqn.train_freq=200",
    "--set",
    "arm.dqn.gradient_steps=1",
    "--set",
    "arm.dqn.buffer_size=20000",
    "--set",
    "report.replications=200",
    "--quiet",
];

#[test]
fn a_full_disk_fails_one_trial_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    // Files end at 300 blocks of half or one KiB: writing beyond fails as on a full disk (the signal is ignored).
    let limited = format!("trap '' XFSZ; ulimit -f 300; exec \"$0\" {} --out cut", ARGS.join(" "));
    let mut command = Command::new("sh");
    command.current_dir(here).args(["-c", &limited]).arg(program(here).get_program());
    let output = command.output().expect("a shell");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let summary = std::fs::read_to_string(here.join("cut/summary.json")).expect("a summary");
    assert!(summary.contains("trials/dqn/0/checkpoint/") && summary.contains("File too large"), "{summary}");
    assert!(here.join("cut/trials/ppo/0/result.json").is_file(), "the other trial goes on");
    let kept = listing(&here.join("cut/trials/dqn/0/checkpoint"));
    assert!(kept.iter().any(|name| name.starts_with("checkpoint-")), "{kept:?}");
    assert!(kept.iter().all(|name| name.ends_with(".safetensors")), "nothing half-written: {kept:?}");
    // With room again, the last good checkpoint is gone on from, and nothing shows that there ever was a problem.
    ok(&run(here, &["resume", "cut", "--quiet"]));
    ok(&run(here, &[&ARGS[..], &["--out", "whole"]].concat()));
    assert_eq!(results(&here.join("cut")), results(&here.join("whole")));
}
