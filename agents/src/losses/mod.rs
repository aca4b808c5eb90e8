//! Losses as pure functions on slices, each with its analytic gradient with respect to what the network puts out.
//!
//! A network of any kind needs nothing but that gradient: see [`crate::learning`] for those with a candle graph. Sums
//! are made in double precision.

mod categorical;
pub mod policy;
mod ppo;
mod quantile;
mod td;
#[cfg(test)]
mod tests;

pub use categorical::{Support, cross_entropy, softmax};
pub use ppo::{PolicyBatch, PolicyLoss, PolicyReport, Surrogate, policy_loss};
pub use quantile::{quantile_huber, quantile_huber_undivided};
pub use td::TdLoss;
