//! What must repeat when a study is run again: everything but what the clock says.

use retune::track::sha256_hex;
use retune::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The value without what differs from run to run: every key that ends in `_secs` or `_per_sec`, and the checksum of
/// a file, which covers them.
#[must_use]
pub fn timeless(value: Value) -> Value {
    let kept = |key: &str| !key.ends_with("_secs") && !key.ends_with("_per_sec") && key != "checksum";
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().filter(|(key, _)| kept(key)).map(|(key, value)| (key, timeless(value))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(timeless).collect()),
        other => other,
    }
}

/// SHA-256 of a JSON or JSON-lines file without its times, as hex.
fn timeless_hash(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let mut kept = String::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        let value = value.map_err(|e| Error::invalid(path, format!("not JSON: {e}")))?;
        kept.push_str(&timeless(value).to_string());
        kept.push('\n');
    }
    Ok(sha256_hex(kept.as_bytes()))
}

/// Hashes of the results below the folder of a study, times left out, by path from there.
fn hashes(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.join("trials")];
    let mut files = vec![root.join("summary.json")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
            let path = entry.map_err(|e| Error::io(&folder, e))?.path();
            let is_result = path.extension().is_some_and(|e| e == "json" || e == "jsonl");
            match path.is_dir() {
                // A checkpoint is a means, not a result.
                true if path.file_name().is_none_or(|n| n != "checkpoint") => folders.push(path),
                false if is_result => files.push(path),
                _ => {}
            }
        }
    }
    for file in files {
        let below = file.strip_prefix(root).unwrap_or(&file).to_path_buf();
        found.insert(below, timeless_hash(&file)?);
    }
    Ok(found)
}

/// The result files of two studies that differ or that only one of them has, out of how many.
///
/// # Errors
/// If a file cannot be read.
pub fn differences(a: &Path, b: &Path) -> Result<(Vec<PathBuf>, usize)> {
    let (of_a, of_b) = (hashes(a)?, hashes(b)?);
    let mut all: Vec<&PathBuf> = of_a.keys().chain(of_b.keys()).collect();
    all.sort();
    all.dedup();
    let differing = all.iter().filter(|path| of_a.get(**path) != of_b.get(**path));
    Ok((differing.map(|path| (*path).clone()).collect(), all.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_times_are_left_out() {
        let value = json!({"wall_secs": 1.0, "a": [{"steps_per_sec": 2.0, "b": 3}], "secs": 4, "checksum": "x"});
        assert_eq!(timeless(value), json!({"a": [{"b": 3}], "secs": 4}));
    }

    #[test]
    fn differences_are_named_and_times_are_none() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let write = |run: &str, file: &str, text: &str| {
            let path = folder.path().join(run).join(file);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("folder");
            std::fs::write(path, text).expect("writes");
        };
        for (run, secs) in [("a", 1), ("b", 2)] {
            write(run, "summary.json", &format!("{{\"x\": 1, \"wall_secs\": {secs}}}"));
            write(run, "trials/q/0/metrics.jsonl", &format!("{{\"wall_secs\": {secs}}}\n{{\"y\": 1}}\n"));
            write(run, "trials/q/0/checkpoint/state.json", &format!("{secs}"));
        }
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        assert_eq!(differences(&a, &b).expect("readable"), (vec![], 2));
        write("b", "trials/q/0/metrics.jsonl", "{\"y\": 2}\n");
        write("b", "trials/q/1/result.json", "{}");
        let (differing, total) = differences(&a, &b).expect("readable");
        assert_eq!((differing.len(), total), (2, 3));
        assert!(differing[0].ends_with("q/0/metrics.jsonl") && differing[1].ends_with("q/1/result.json"));
    }
}
