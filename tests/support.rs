//! Running the program, and looking at what it wrote.

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A study in the feature form that takes a second: small budget, few users.
pub const SMALL: [&str; 24] = [
    "--preset",
    "features",
    "--set",
    "seeds=2",
    "--set",
    "train.env_steps=1500",
    "--set",
    "train.num_envs=12",
    "--set",
    "train.shard_size=3",
    "--set",
    "agent.learning_starts=300",
    "--set",
    "agent.batch_size=32",
    "--set",
    "eval.users=6",
    "--set",
    "eval.curve_users=3",
    "--set",
    "eval.curve_points=2",
    "--set",
    "report.replications=200",
    "--set",
    "jobs=2",
];

/// The program, in `folder`.
pub fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiment"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs the program in `folder` to its end.
pub fn run(folder: &Path, args: &[&str]) -> Output {
    program(folder).args(args).output().expect("the program starts")
}

/// Runs a small study with further arguments.
pub fn study(folder: &Path, args: &[&str]) -> Output {
    run(folder, &[&["rec_sim"], &SMALL[..], args].concat())
}

/// Runs the program with texts on standard input.
pub fn run_with_input(folder: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut command = program(folder);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("piped").write_all(input).expect("the program reads");
    child.wait_with_output().expect("the program ends")
}

/// Standard output, if the program ended well.
pub fn ok(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All result files of a study without their times, by path.
pub fn results(study: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![study.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("readable").path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && name != "checkpoint" {
                folders.push(path);
            } else if name == "summary.json" || name == "result.json" || name.ends_with(".jsonl") {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                let kept = if name == "episodes.jsonl" { text } else { without_times(&text) };
                found.insert(path.strip_prefix(study).expect("below").to_path_buf(), kept);
            }
        }
    }
    assert!(!found.is_empty(), "{} holds no results", study.display());
    found
}

fn without_times(text: &str) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, _| !key.ends_with("_secs") && key != "checksum");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let lines = values.map(|value| {
        let mut value = value.expect("JSON");
        strip(&mut value);
        value.to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Everything below a folder, hidden files included.
pub fn listing(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Tensors of a BERT file: name, shape, values.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Width of the tiny BERT.
const WIDTH: usize = 8;

/// Writes a BERT with one layer of width 8 and the tokenizer that comes with the program, after `change` has changed
/// its tensors.
pub fn tiny_bert(folder: &Path, change: impl FnOnce(&mut Tensors)) {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut config: Value = serde_json::from_slice(retune_assets::minilm_l3::CONFIG).expect("JSON");
    for (key, value) in [
        ("hidden_size", WIDTH),
        ("num_hidden_layers", 1),
        ("num_attention_heads", 2),
        ("intermediate_size", 2 * WIDTH),
        ("max_position_embeddings", 64),
    ] {
        config[key] = value.into();
    }
    std::fs::write(folder.join("config.json"), config.to_string()).expect("writes");
    std::fs::write(folder.join("tokenizer.json"), retune_assets::minilm_l3::TOKENIZER).expect("writes");
    let mut tensors = tensors(config["vocab_size"].as_u64().expect("a number") as usize);
    change(&mut tensors);
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("shapes fit"))
    });
    let file = safetensors::serialize(views, None).expect("serialises");
    std::fs::write(folder.join("model.safetensors"), file).expect("writes");
}

fn tensors(vocabulary: usize) -> Tensors {
    let layer = "encoder.layer.0";
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.word_embeddings.weight".into(), vec![vocabulary, WIDTH]),
        ("embeddings.position_embeddings.weight".into(), vec![64, WIDTH]),
        ("embeddings.token_type_embeddings.weight".into(), vec![2, WIDTH]),
        (format!("{layer}.intermediate.dense.weight"), vec![2 * WIDTH, WIDTH]),
        (format!("{layer}.intermediate.dense.bias"), vec![2 * WIDTH]),
        (format!("{layer}.output.dense.weight"), vec![WIDTH, 2 * WIDTH]),
        (format!("{layer}.output.dense.bias"), vec![WIDTH]),
    ];
    for part in ["self.query", "self.key", "self.value", "output.dense"] {
        shapes.push((format!("{layer}.attention.{part}.weight"), vec![WIDTH, WIDTH]));
        shapes.push((format!("{layer}.attention.{part}.bias"), vec![WIDTH]));
    }
    for part in ["embeddings", &format!("{layer}.attention.output"), &format!("{layer}.output")] {
        shapes.push((format!("{part}.LayerNorm.weight"), vec![WIDTH]));
        shapes.push((format!("{part}.LayerNorm.bias"), vec![WIDTH]));
    }
    let mut phase = 0.0f32;
    let values = |count: usize, phase: &mut f32| {
        (0..count)
            .map(|_| {
                *phase += 0.37;
                phase.sin() * 0.3
            })
            .collect::<Vec<f32>>()
    };
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = values(shape.iter().product(), &mut phase);
            (name, (shape, values))
        })
        .collect()
}
