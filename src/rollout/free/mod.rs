//! Collecting experience while the learner learns.

mod lag;
mod runner;
#[cfg(test)]
mod tests;
mod worker;

pub use lag::LagHistogram;
pub use runner::{FreeConfig, FreeRound, FreeRunner, Origin};
