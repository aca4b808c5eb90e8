//! The folder of a run.

use crate::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// Names of arms are names of folders, so their length is limited.
const MAX_ARM_NAME: usize = 64;

/// The folder of a run and where things are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

/// Keeps other processes from writing to the same run; given up when dropped, and by the system when the process ends.
#[derive(Debug)]
pub struct RunLock {
    /// The lock belongs to the open file.
    _file: File,
}

impl RunDir {
    /// A new run at `path`, which must not exist or be an empty folder.
    ///
    /// # Errors
    /// [`Error::Config`] if `path` is a file or a folder with something in it; [`Error::Io`] if it cannot be made or
    /// written to.
    pub fn create(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Err(Error::config("out", path.display(), "this is a file; a new or an empty folder is needed"));
        }
        fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
        if fs::read_dir(path).map_err(|e| Error::io(path, e))?.next().is_some() {
            let expected =
                "this folder is not empty; a new or an empty one is needed, so that no run overwrites another";
            return Err(Error::config("out", path.display(), expected));
        }
        let run = Self(path.to_path_buf());
        // Finds out now, not after an hour of training, whether the folder can be written to.
        run.lock()?;
        Ok(run)
    }

    /// The run that is at `path`.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such folder; [`Error::Invalid`] if it is not the folder of a run.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::config("run", path.display(), "there is no such folder"));
        }
        let run = Self(path.to_path_buf());
        if !run.manifest().is_file() {
            return Err(Error::invalid(path, "this is not the folder of a run: it has no manifest.json"));
        }
        Ok(run)
    }

    /// Takes the lock for writing.
    ///
    /// # Errors
    /// [`Error::Config`] if another process holds it; [`Error::Io`] if the folder cannot be written to.
    pub fn lock(&self) -> Result<RunLock> {
        let path = self.0.join(".lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| Error::io(&path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(RunLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::config(
                "out",
                self.0.display(),
                "another process is writing to this run; wait until it ends",
            )),
            Err(TryLockError::Error(source)) => Err(Error::io(&path, source)),
        }
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `manifest.json`.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.0.join("manifest.json")
    }

    /// `summary.json`.
    #[must_use]
    pub fn summary(&self) -> PathBuf {
        self.0.join("summary.json")
    }

    /// `report.html`.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }

    /// `figures/`.
    #[must_use]
    pub fn figures(&self) -> PathBuf {
        self.0.join("figures")
    }

    /// `trials/<arm>/<seed>/`.
    ///
    /// # Errors
    /// [`Error::Config`] if the name of the arm cannot be the name of a folder.
    pub fn trial(&self, arm: &str, seed: u64) -> Result<PathBuf> {
        Ok(self.0.join("trials").join(checked_name(arm)?).join(seed.to_string()))
    }

    /// `trials/<arm>/<seed>/metrics.jsonl`.
    ///
    /// # Errors
    /// As [`RunDir::trial`].
    pub fn metrics(&self, arm: &str, seed: u64) -> Result<PathBuf> {
        Ok(self.trial(arm, seed)?.join("metrics.jsonl"))
    }

    /// `trials/<arm>/<seed>/episodes.jsonl`.
    ///
    /// # Errors
    /// As [`RunDir::trial`].
    pub fn episodes(&self, arm: &str, seed: u64) -> Result<PathBuf> {
        Ok(self.trial(arm, seed)?.join("episodes.jsonl"))
    }

    /// `trials/<arm>/<seed>/checkpoint/`.
    ///
    /// # Errors
    /// As [`RunDir::trial`].
    pub fn checkpoint(&self, arm: &str, seed: u64) -> Result<PathBuf> {
        Ok(self.trial(arm, seed)?.join("checkpoint"))
    }

    /// `tensorboard/<arm>/<seed>/`.
    ///
    /// # Errors
    /// As [`RunDir::trial`].
    pub fn tensorboard(&self, arm: &str, seed: u64) -> Result<PathBuf> {
        Ok(self.0.join("tensorboard").join(checked_name(arm)?).join(seed.to_string()))
    }
}

/// Refuses names that would leave the folder or that some file system does not know.
fn checked_name(arm: &str) -> Result<&str> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_-+.".contains(c);
    let usable = (1..=MAX_ARM_NAME).contains(&arm.len()) && arm.chars().all(known) && !arm.starts_with('.');
    if usable {
        return Ok(arm);
    }
    let expected = format!("1 to {MAX_ARM_NAME} letters, digits, '_', '-', '+' or '.' (not at the start) are needed");
    Err(Error::config("arm name", format!("{arm:?}"), expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_or_empty_folders_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(&folder.path().join("deep/er")).unwrap();
        assert!(run.path().is_dir());
        let message = RunDir::create(run.path()).unwrap_err().to_string();
        assert!(message.contains("not empty") && message.contains("er"), "{message}");

        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(RunDir::create(&file), Err(Error::Config { .. })));
        assert!(matches!(RunDir::create(&file.join("below")), Err(Error::Io { .. })));
    }

    #[test]
    fn only_run_folders_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(RunDir::open(&folder.path().join("none")), Err(Error::Config { .. })));
        assert!(RunDir::open(folder.path()).unwrap_err().to_string().contains("manifest.json"));
        fs::write(folder.path().join("manifest.json"), "{}").unwrap();
        assert!(RunDir::open(folder.path()).is_ok());
    }

    #[test]
    fn one_writer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        let lock = run.lock().unwrap();
        assert!(run.lock().unwrap_err().to_string().contains("another process"));
        drop(lock);
        run.lock().unwrap();
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let run = RunDir(PathBuf::from("run"));
        assert_eq!(run.metrics("dqn-lora_2.5", 3).unwrap(), Path::new("run/trials/dqn-lora_2.5/3/metrics.jsonl"));
        for name in ["", ".", "..", "a/b", "a\\b", "/etc", "a b", "ä", "nul\0", &"x".repeat(65)] {
            assert!(run.trial(name, 0).is_err(), "{name:?}");
        }
    }
}
