//! A folder with the last few checkpoints.

use super::atomic::TEMP_SUFFIX;
use super::{StateDict, load_file, save_file};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

const PREFIX: &str = "checkpoint-";
const BEST: &str = "best-";
const SUFFIX: &str = ".safetensors";

/// A folder that keeps the newest checkpoints of one thing. One process at a time may use it.
///
/// Files are called `checkpoint-<step>.safetensors`. If the newest cannot be read, the one before is used; the next
/// [`CheckpointDir::save`] then renames the unusable one to `….aside`, so that it neither counts as kept nor is lost
/// to whoever wants to find out what happened. One more, `best-<step>.safetensors`, may be kept whatever its age.
#[derive(Clone, Debug)]
pub struct CheckpointDir {
    folder: PathBuf,
    kind: String,
    keep: usize,
}

/// What [`CheckpointDir::load_latest`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedCheckpoint {
    /// The step it was saved at.
    pub step: u64,
    /// The file.
    pub path: PathBuf,
    /// Its content.
    pub state: StateDict,
    /// Newer checkpoints that could not be used, newest first. Whoever continues should say so.
    pub damaged: Vec<DamagedCheckpoint>,
}

/// A checkpoint that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedCheckpoint {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, the path included.
    pub message: String,
}

impl CheckpointDir {
    /// Opens the folder, creates it if need be, and removes what a killed process left half-written. `kind` as in
    /// [`save_file`]; `keep` is how many checkpoints stay, at least 1. Two or more survive a damaged file.
    ///
    /// # Errors
    /// If `keep` is zero or the folder cannot be used.
    pub fn open(folder: &Path, kind: &str, keep: usize) -> Result<Self> {
        if keep == 0 {
            return Err(Error::config("keep_checkpoints", 0, "expected at least 1"));
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let dir = Self { folder: folder.to_path_buf(), kind: kind.to_owned(), keep };
        let ours = |name: &str| [PREFIX, BEST].iter().any(|prefix| name.starts_with(&format!(".{prefix}")));
        let half_written = |name: &str| ours(name) && name.ends_with(TEMP_SUFFIX);
        for name in dir.names()?.iter().filter(|name| half_written(name)) {
            let path = folder.join(name);
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        }
        Ok(dir)
    }

    /// Saves a checkpoint, then removes all but the newest `keep`. Checkpoints of a later step are set aside: going on
    /// from an earlier one means that they could not be used.
    ///
    /// # Errors
    /// If the file cannot be written; the earlier checkpoints are then all still there.
    pub fn save(&self, step: u64, state: &StateDict) -> Result<PathBuf> {
        let path = self.path(step);
        save_file(&path, &self.kind, state)?;
        let (later, kept): (Vec<u64>, Vec<u64>) = self.steps()?.into_iter().partition(|&s| s > step);
        for path in later.into_iter().map(|s| self.path(s)) {
            let aside = path.with_extension("safetensors.aside");
            std::fs::rename(&path, aside).map_err(|e| Error::io(&path, e))?;
        }
        for path in kept.iter().rev().skip(self.keep).map(|&s| self.path(s)) {
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        }
        Ok(path)
    }

    /// Saves a checkpoint as the best so far, then removes the best before it.
    ///
    /// # Errors
    /// If the file cannot be written; the best before it is then still there.
    pub fn save_best(&self, step: u64, state: &StateDict) -> Result<PathBuf> {
        let path = self.best_path(step);
        save_file(&path, &self.kind, state)?;
        for path in self.steps_of(BEST)?.into_iter().filter(|&s| s != step).map(|s| self.best_path(s)) {
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        }
        Ok(path)
    }

    /// The best checkpoint; `None` if none was ever called so.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn load_best(&self) -> Result<Option<LoadedCheckpoint>> {
        let Some(step) = self.steps_of(BEST)?.pop() else { return Ok(None) };
        let path = self.best_path(step);
        let state = load_file(&path, &self.kind)?;
        Ok(Some(LoadedCheckpoint { step, path, state, damaged: Vec::new() }))
    }

    /// The newest checkpoint that can be used; `None` if there has never been one.
    ///
    /// # Errors
    /// If there are checkpoints but none can be used.
    pub fn load_latest(&self) -> Result<Option<LoadedCheckpoint>> {
        let mut damaged = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            let path = self.path(step);
            match load_file(&path, &self.kind) {
                Ok(state) => return Ok(Some(LoadedCheckpoint { step, path, state, damaged })),
                Err(error) => damaged.push(DamagedCheckpoint { path, message: error.to_string() }),
            }
        }
        if damaged.is_empty() {
            return Ok(None);
        }
        let messages: Vec<String> = damaged.into_iter().map(|d| d.message).collect();
        Err(Error::invalid(&self.folder, format!("no checkpoint can be used: {}", messages.join("; "))))
    }

    /// Steps of the checkpoints that are there, oldest first.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>> {
        self.steps_of(PREFIX)
    }

    fn steps_of(&self, prefix: &str) -> Result<Vec<u64>> {
        let mut steps: Vec<u64> = self.names()?.iter().filter_map(|name| step_of(prefix, name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn best_path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{BEST}{step:012}{SUFFIX}"))
    }

    /// The file of the checkpoint at `step`. Numbers are padded so that file names sort as the steps do.
    #[must_use]
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{step:012}{SUFFIX}"))
    }

    /// Names in the folder; ours are all valid Unicode.
    fn names(&self) -> Result<Vec<String>> {
        let io = |e| Error::io(&self.folder, e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(io)? {
            names.extend(entry.map_err(io)?.file_name().into_string().ok());
        }
        Ok(names)
    }
}

fn step_of(prefix: &str, name: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.strip_suffix(SUFFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(step: u64) -> StateDict {
        let mut state = StateDict::default();
        state.put("step", &step).unwrap();
        state.put_f32s("weights", &[step as f32; 8]);
        state
    }

    fn dir(folder: &Path, keep: usize) -> CheckpointDir {
        CheckpointDir::open(folder, "trial", keep).unwrap()
    }

    fn damage(path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_newest_are_kept_and_the_newest_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(folder.path(), 2);
        assert_eq!(dir.load_latest().unwrap(), None);
        for step in [9, 10, 100] {
            dir.save(step, &state(step)).unwrap();
        }
        assert_eq!(dir.steps().unwrap(), [10, 100]);
        let loaded = dir.load_latest().unwrap().unwrap();
        assert_eq!((loaded.step, &loaded.state, loaded.damaged.len()), (100, &state(100), 0));
    }

    #[test]
    fn a_damaged_newest_falls_back_and_is_reported_and_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(folder.path(), 2);
        dir.save(10, &state(10)).unwrap();
        damage(&dir.save(20, &state(20)).unwrap());
        let loaded = dir.load_latest().unwrap().unwrap();
        assert_eq!((loaded.step, loaded.state), (10, state(10)));
        assert_eq!(loaded.damaged[0].path, dir.path(20));
        assert!(loaded.damaged[0].message.contains("checkpoint-000000000020.safetensors: the content has SHA-256"));
        // Looking changes nothing; going on sets the damaged file aside, so that the good ones are kept.
        assert_eq!(dir.steps().unwrap(), [10, 20]);
        dir.save(15, &state(15)).unwrap();
        assert_eq!(dir.steps().unwrap(), [10, 15]);
        assert!(folder.path().join("checkpoint-000000000020.safetensors.aside").exists());
        assert_eq!(dir.load_latest().unwrap().unwrap().step, 15);
    }

    #[test]
    fn the_best_is_kept_beside_the_newest_until_a_better_one_comes() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(folder.path(), 1);
        assert_eq!(dir.load_best().unwrap(), None);
        dir.save_best(10, &state(10)).unwrap();
        for step in [10, 20, 30] {
            dir.save(step, &state(step)).unwrap();
        }
        assert_eq!((dir.steps().unwrap(), dir.load_best().unwrap().unwrap().step), (vec![30], 10));
        let newer = dir.save_best(30, &state(30)).unwrap();
        assert_eq!(dir.load_best().unwrap().unwrap().state, state(30));
        let mut names = dir.names().unwrap();
        names.sort();
        assert_eq!(names, ["best-000000000030.safetensors", "checkpoint-000000000030.safetensors"]);
        // It plays no part in going on, and a damaged one is named.
        damage(&newer);
        assert_eq!(dir.load_latest().unwrap().unwrap().step, 30);
        assert!(dir.load_best().unwrap_err().to_string().contains("best-000000000030.safetensors"));
    }

    #[test]
    fn nothing_usable_is_an_error_that_names_every_file() {
        let folder = tempfile::tempdir().unwrap();
        let dir = dir(folder.path(), 3);
        for step in [1, 2] {
            damage(&dir.save(step, &state(step)).unwrap());
        }
        let error = dir.load_latest().unwrap_err().to_string();
        assert!(error.contains("000000000001") && error.contains("000000000002"), "{error}");
        // Of another kind is not usable either.
        let other = CheckpointDir::open(folder.path(), "study", 3).unwrap();
        other.save(3, &state(3)).unwrap();
        assert_eq!(other.load_latest().unwrap().unwrap().step, 3);
        assert!(dir.load_latest().is_err());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".checkpoint-000000000007.safetensors.Ab3xY.tmp");
        let foreign = folder.path().join("notes.tmp");
        for path in [&left, &foreign] {
            std::fs::write(path, "half").unwrap();
        }
        let dir = dir(folder.path(), 1);
        assert!(!left.exists() && foreign.exists());
        dir.save(8, &state(8)).unwrap();
        let mut names = dir.names().unwrap();
        names.sort();
        assert_eq!(names, ["checkpoint-000000000008.safetensors", "notes.tmp"]);
        assert!(CheckpointDir::open(folder.path(), "trial", 0).is_err());
        assert!(CheckpointDir::open(&foreign, "trial", 1).is_err());
    }
}
