//! The same settings and seed give the same results, whatever else differs.

use crate::support::{ok, results, run, study};

#[test]
fn the_same_seed_repeats_and_another_does_not() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let arms = ["--arms", "random,q_learning,sarsa"];
    ok(&study(here, &[&arms[..], &["--out", "a"]].concat()));
    // Other numbers of workers and actor threads, which must not matter.
    ok(&study(here, &[&arms[..], &["--out", "b", "--set", "jobs=1"]].concat()));
    ok(&study(here, &[&arms[..], &["--out", "c", "--seed", "5"]].concat()));
    let (a, b, c) = (results(&here.join("a")), results(&here.join("b")), results(&here.join("c")));
    assert!(a.len() > 10, "{:?}", a.keys());
    assert_eq!(a, b);
    let summary = std::path::Path::new("summary.json");
    assert_ne!(a[summary], c[summary]);
}

#[test]
fn episodes_do_not_depend_on_actor_threads() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    for actors in ["0", "1", "2", "4"] {
        ok(&study(here, &["--arms", "q_learning", "--seeds", "1", "--actors", actors, "--out", actors]));
    }
    let sync = results(&here.join("0"));
    let episodes = std::path::Path::new("trials/q_learning/0/episodes.jsonl");
    assert!(sync[episodes].lines().count() > 5);
    for actors in ["1", "2", "4"] {
        assert_eq!(results(&here.join(actors)), sync, "{actors} actor threads");
    }
}

#[test]
fn a_study_is_reproduced_from_its_manifest_and_a_changed_one_is_not() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    ok(&study(here, &["--arms", "sarsa", "--seeds", "1", "--out", "a"]));
    assert!(ok(&run(here, &["reproduce", "a"])).contains("agrees"));
    assert_eq!(crate::support::listing(here), ["a"], "the second run is removed");
    let episodes = here.join("a/trials/sarsa/0/episodes.jsonl");
    let text = std::fs::read_to_string(&episodes).expect("reads");
    std::fs::write(&episodes, text.replacen("\"env\":0", "\"env\":1", 1)).expect("writes");
    let output = run(here, &["reproduce", "a", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["differing"], serde_json::json!(["trials/sarsa/0/episodes.jsonl"]));
}

#[test]
fn the_default_folder_never_overwrites() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    for _ in 0..2 {
        assert!(ok(&study(here, &["--arms", "random", "--quiet"])).is_empty());
    }
    assert_eq!(crate::support::listing(&here.join("runs/rec_sim")), ["features-0", "features-0-2"]);
}
