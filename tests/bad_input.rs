//! Everything a person can get wrong ends with exit code 2, one clear message, and nothing left behind.

use crate::support::{listing, run, stderr, tiny_bert};
use std::path::Path;

/// Runs a study that must be refused, and returns the message.
fn refused(folder: &Path, args: &[&str]) -> String {
    let before = listing(folder);
    let output = run(folder, &[&["rec_sim"], args].concat());
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    assert_eq!(listing(folder), before, "{args:?} left something behind");
    assert!(output.stdout.is_empty(), "{args:?}");
    assert!(message.starts_with("error: ") && message.matches("error: ").count() == 1, "{args:?}: {message}");
    message
}

fn assert_refused(folder: &Path, args: &[&str], parts: &[&str]) {
    let message = refused(folder, args);
    for part in parts {
        assert!(message.contains(part), "{args:?}: `{part}` is missing in: {message}");
    }
}

#[test]
fn unknown_names_come_with_a_suggestion() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    assert_refused(here, &["--arms", "q_lerning"], &["unknown arm `q_lerning`", "did you mean `q_learning`?"]);
    assert_refused(here, &["--arms", "q_learning:lore"], &["`lore`", "did you mean `lora`?"]);
    assert_refused(here, &["--preset", "quikc"], &["--preset quikc", "did you mean `quick`?"]);
    assert_refused(here, &["--set", "env.num_candidate=5"], &["`env.num_candidate`", "`env.num_candidates`?"]);
    assert_refused(here, &["--set", "agent.learning_rat=1"], &["did you mean `agent.learning_rate`?"]);
    std::fs::write(here.join("my.toml"), "[env]\nslate_sise = 2\n").expect("writes");
    let arms = &["--arms", "q_learning:lora", "--set", "weights=u8"];
    assert_refused(here, arms, &["arm `q_learning:lora`: weights = \"u8\"", "cannot be trained"]);
    assert_refused(here, &["--set", "agent.optimizer=adam"], &["one of adamw, sgd", "did you mean `adamw`?"]);
    assert_refused(here, &["--config", "my.toml"], &["`env.slate_sise` (my.toml)", "did you mean `env.slate_size`?"]);
}

#[test]
fn values_out_of_range_name_the_key_and_what_would_be_right() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    assert_refused(here, &["--seeds", "0"], &["seeds = 0 (--seeds)", "from 1 to 1000"]);
    assert_refused(here, &["--seeds", "-3"], &["seeds = -3 (--seeds)"]);
    assert_refused(here, &["--seed", "many"], &["seed = many (--seed)", "a whole number"]);
    let slate = ["--set", "env.slate_size=11"];
    assert_refused(here, &slate, &["env.slate_size = 11 (--set)", "env.num_candidates = 10"]);
    assert_refused(here, &["--set", "agent.learning_rate=nan"], &["agent.learning_rate", "above 0"]);
    assert_refused(here, &["--set", "env.form"], &["expected KEY=VALUE"]);
    assert_refused(here, &["--device", "gpu"], &["device = gpu", "cuda:N"]);
    assert_refused(here, &["--actors", "1000"], &["actors = 1000"]);
    std::fs::write(here.join("my.toml"), "seeds = [").expect("writes");
    assert_refused(here, &["--config", "my.toml"], &["my.toml", "not valid TOML"]);
    assert_refused(here, &["--config", "none.toml"], &["none.toml"]);
    assert_refused(here, &["--preset", "features", "--actors", "9"], &["actors = 9"]);
}

#[test]
fn an_output_folder_must_be_new_and_writable() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    std::fs::create_dir(here.join("taken")).expect("a folder");
    std::fs::write(here.join("file"), "mine").expect("writes");
    assert_refused(here, &["--out", "taken"], &["--out taken", "a folder of that name"]);
    assert_refused(here, &["--out", "file"], &["--out file", "a file of that name"]);
    assert_refused(here, &["--out", "file/below"], &["--out file/below", "file is a file"]);
    assert_eq!(std::fs::read(here.join("file")).expect("reads"), b"mine");
    assert!(listing(&here.join("taken")).is_empty());
    if cfg!(target_os = "linux") {
        let message = refused(here, &["--preset", "features", "--arms", "random", "--out", "/proc/none/study"]);
        assert!(message.contains("/proc/none"), "{message}");
    }
}

#[test]
fn a_catalogue_must_be_usable() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let with = |bytes: &[u8], args: &[&str], parts: &[&str]| {
        std::fs::write(here.join("items.csv"), bytes).expect("writes");
        let own = ["--arms", "random", "--catalog", "items.csv", "--text-columns", "title", "--topic-column", "topic"];
        assert_refused(here, &[&own[..], args].concat(), parts);
    };
    with(b"name,topic\na,b\n", &[], &["items.csv", "no column \"title\"", "\"name\""]);
    with(b"title,topic\n", &[], &["items.csv", "no rows"]);
    with(b"title,topic\na,x\na,y\n", &[], &["items.csv", "line 3", "the same text as line 2"]);
    with(b"title,topic\n\xff\xfe,x\n", &[], &["items.csv", "line 2", "not UTF-8"]);
    let rating = ["--quality-column", "rating"];
    with(b"title,topic,rating\na,x,1\nb,x,NaN\n", &rating, &["line 3", "\"NaN\" is not a finite number"]);
    with(b"title,topic\na,x\nb,x\n", &[], &["fewer than num_candidates = 10"]);
    assert_refused(here, &["--catalog", "none.csv", "--text-columns", "t"], &["none.csv"]);
    assert_refused(here, &["--catalog", "items.csv"], &["--text-columns"]);
}

#[test]
fn a_backbone_must_be_whole() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let here = folder.path();
    let tiny = here.join("tiny");
    let refuse = |parts: &[&str]| assert_refused(here, &["--arms", "random", "--backbone", "tiny"], parts);
    let query = "encoder.layer.0.attention.self.query.weight";
    tiny_bert(&tiny, |tensors| drop(tensors.remove(query)));
    refuse(&["tiny", query]);
    tiny_bert(&tiny, |tensors| drop(tensors.insert("surprise".into(), (vec![1], vec![1.0]))));
    refuse(&["tiny", "surprise"]);
    tiny_bert(&tiny, |tensors| drop(tensors.insert(query.into(), (vec![8, 4], vec![0.0; 32]))));
    refuse(&["tiny", query, "[8, 4]"]);

    tiny_bert(&tiny, |_| {});
    let weights = tiny.join("model.safetensors");
    let bytes = std::fs::read(&weights).expect("reads");
    std::fs::write(&weights, &bytes[..bytes.len() - 5]).expect("writes");
    refuse(&["model.safetensors"]);
    std::fs::remove_file(&weights).expect("removes");
    std::fs::write(tiny.join("pytorch_model.bin"), b"\x80\x02.").expect("writes");
    refuse(&["pytorch_model.bin", "safetensors"]);

    std::fs::remove_file(tiny.join("pytorch_model.bin")).expect("removes");
    tiny_bert(&tiny, |tensors| {
        let (shape, values) = tensors.get_mut("embeddings.word_embeddings.weight").expect("there");
        shape[0] = 100;
        values.truncate(800);
    });
    let config = std::fs::read_to_string(tiny.join("config.json")).expect("reads");
    std::fs::write(tiny.join("config.json"), config.replace("30522", "100")).expect("writes");
    refuse(&["tokenizer.json"]);
    assert_refused(here, &["--backbone", "nowhere"], &["backbone = nowhere", "there is no such folder"]);
}
