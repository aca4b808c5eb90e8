//! The files of a model directory: which are read, in which order of preference, and how large they may be.

use super::weight_file::WeightFile;
use super::{config, tokenizer};
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// File endings under which pickles travel.
const PICKLES: [&str; 5] = ["bin", "pt", "pth", "ckpt", "pkl"];

/// Writes a file so that at any moment either the old or the new content is there.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e| Error::io(path, e);
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| Error::io(path, e.error))?;
    Ok(())
}

/// Reads a file that must not be larger than `limit` bytes.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut bytes = Vec::new();
    // One byte more than allowed: the length that the system reports may be wrong, or change.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::invalid(path, format!("larger than {limit} bytes, the most that is read")));
    }
    Ok(bytes)
}

pub(super) fn read_tokenizer(dir: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let path = dir.join("tokenizer.json");
    let vocab_path = dir.join("vocab.txt");
    if path.exists() {
        let bytes = read_bounded(&path, tokenizer::MAX_TOKENIZER_BYTES)?;
        return Ok((path, bytes));
    }
    if !vocab_path.exists() {
        return Err(Error::invalid(dir, "holds neither tokenizer.json nor vocab.txt"));
    }
    let vocab = String::from_utf8(read_bounded(&vocab_path, tokenizer::MAX_TOKENIZER_BYTES)?)
        .map_err(|e| Error::invalid(&vocab_path, format!("not UTF-8: {e}")))?;
    let settings_path = dir.join("tokenizer_config.json");
    let settings = if settings_path.exists() {
        let bytes = read_bounded(&settings_path, config::MAX_CONFIG_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|e| Error::invalid(&settings_path, format!("not JSON: {e}")))?
    } else {
        serde_json::Value::Null
    };
    let json = tokenizer::from_vocab(&vocab_path, &vocab, &settings)?;
    Ok((vocab_path, json))
}

/// Opens the weight files of a directory, in order of preference.
pub(super) fn weight_files(dir: &Path) -> Result<Vec<WeightFile<'static>>> {
    let (single, index) = (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
    if single.exists() {
        return Ok(vec![WeightFile::open(&single)?]);
    }
    if index.exists() {
        return shards(dir, &index);
    }
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort_unstable();
    let is_pickle = |p: &&PathBuf| p.extension().and_then(|e| e.to_str()).is_some_and(|e| PICKLES.contains(&e));
    match paths.iter().find(is_pickle) {
        Some(pickle) => Err(Error::invalid(
            pickle,
            "a pickle can run code when it is read, so it was not opened; convert it to safetensors where you trust \
             it (in Python: safetensors.torch.save_file(torch.load(FILE, weights_only=True), \"model.safetensors\"))",
        )),
        None => Err(Error::invalid(dir, "holds neither model.safetensors nor model.safetensors.index.json")),
    }
}

fn shards(dir: &Path, index: &Path) -> Result<Vec<WeightFile<'static>>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bytes = read_bounded(index, tokenizer::MAX_TOKENIZER_BYTES)?;
    let parsed: Index = serde_json::from_slice(&bytes)
        .map_err(|e| Error::invalid(index, format!("not an index with a weight_map: {e}")))?;
    let names: BTreeSet<&String> = parsed.weight_map.values().collect();
    let mut files = BTreeMap::new();
    for name in names {
        if !Path::new(name).components().all(|c| matches!(c, Component::Normal(_))) || name.is_empty() {
            return Err(Error::invalid(index, format!("the shard {name:?} lies outside the directory")));
        }
        if !name.ends_with(".safetensors") {
            return Err(Error::invalid(index, format!("the shard {name:?} is no safetensors file")));
        }
        files.insert(name.as_str(), WeightFile::open(&dir.join(name))?);
    }
    for (tensor, file) in &parsed.weight_map {
        if files[file.as_str()].info(tensor).is_none() {
            return Err(Error::invalid(index, format!("says that {file} holds {tensor}, but it does not")));
        }
    }
    Ok(files.into_values().collect())
}
