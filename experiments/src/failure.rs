//! How a command ends, and with which exit code.

use retune::Error;
use retune::env::EnvError;
use std::process::ExitCode;

/// How a command that could be started ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything asked for is done.
    Done,
    /// A trial failed, a check did not pass, or two runs disagree; what could be done was done.
    Failed,
    /// Asked to stop, after a clean checkpoint.
    Interrupted,
}

impl Outcome {
    /// The exit code that says so.
    #[must_use]
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Interrupted => 130,
        })
    }
}

/// What a person asked for cannot be done as asked. The message says which file, key and value, and what would be
/// right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

/// A [`BadInput`] as an error.
pub fn bad_input(message: impl Into<String>) -> anyhow::Error {
    BadInput(message.into()).into()
}

/// 2 if the cause is what was put in, 130 after a request to stop, 1 otherwise.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let mut code = 1;
    for cause in error.chain() {
        if cause.is::<BadInput>() {
            code = 2;
        } else if let Some(cause) = cause.downcast_ref::<Error>() {
            code = match cause {
                Error::Config { .. } | Error::Io { .. } | Error::Invalid { .. } => 2,
                Error::Env(cause) => env_code(cause),
                Error::Interrupted => 130,
                _ => code,
            };
        } else if let Some(cause) = cause.downcast_ref::<EnvError>() {
            code = env_code(cause);
        }
    }
    ExitCode::from(code)
}

fn env_code(error: &EnvError) -> u8 {
    if matches!(error, EnvError::Config { .. } | EnvError::Data { .. }) { 2 } else { 1 }
}
