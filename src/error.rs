//! The error type of the core library.

use std::path::{Path, PathBuf};

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the core library. Every variant carries the facts a person needs to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An environment refused.
    #[error(transparent)]
    Env(#[from] crate::env::EnvError),
    /// An environment of a vector env or an evaluation refused.
    #[error("env slot {env}, episode {episode}: {source}")]
    EnvSlot {
        /// Number of the env slot.
        env: usize,
        /// Number of the episode within the slot.
        episode: u64,
        /// What it said.
        source: crate::env::EnvError,
    },
    /// A slate cannot be selected.
    #[error(transparent)]
    Slate(#[from] crate::slate::SlateError),
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A setting is out of range or contradicts another.
    #[error("{key} = {value}: {expected}")]
    Config {
        /// The setting.
        key: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file can be read but is not what it should be.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and what would be right.
        message: String,
    },
    /// A number that must be finite is not.
    #[error("non-finite value in {name} at update {update}: {detail}")]
    NonFinite {
        /// Tensor or metric.
        name: String,
        /// Learner update at which it appeared.
        update: u64,
        /// What else helps to find the cause.
        detail: String,
    },
    /// A parameter that is declared trainable does not get a gradient.
    #[error("gradient coverage: {0}")]
    Coverage(String),
    /// A saved state that does not belong here.
    #[error("cannot restore: {0}")]
    State(String),
    /// A worker thread ended with an error or a panic.
    #[error("actor thread {actor}: {message}")]
    Actor {
        /// Number of the thread.
        actor: usize,
        /// Error or panic message.
        message: String,
    },
    /// The person asked to stop. Everything since the last checkpoint can be done again.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// An [`Error::Io`] for this path.
    #[must_use]
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    /// An [`Error::Invalid`] for this path.
    #[must_use]
    pub fn invalid(path: &Path, message: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_path_buf(), message: message.into() }
    }

    /// An [`Error::Config`].
    #[must_use]
    pub fn config(key: &str, value: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Self::Config { key: key.to_owned(), value: value.to_string(), expected: expected.into() }
    }
}
