//! Runners: actors, vector envs, and the flow of experience to the learner.
//!
//! [`Runner::collect`] plays one round in every env slot and returns it in slot order. The slots are cut into
//! [shards](RunnerConfig::shard_size), the unit of work; a shard is played in the caller's thread or by any of a number
//! of actor threads, and gives the same bits either way. [`FreeRunner`] lets the actor threads play on while the learner
//! learns, with parameters that are at most a given number of rounds old. [`evaluate`] plays a given list of episodes and leaves no
//! trace in training state.

mod config;
mod evaluate;
mod free;
mod panics;
mod patience;
mod pool;
mod record;
mod runner;
mod shard;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use config::RunnerConfig;
pub use evaluate::{Evaluation, EvaluationRecord, Observed, evaluate};
pub use free::{FreeConfig, FreeRound, FreeRunner, LagHistogram, Origin};
pub use panics::catch_panic;
pub use record::EpisodeRecord;
pub use runner::{Round, Runner};
