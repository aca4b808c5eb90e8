//! Fully connected networks on numbers, without a tensor in sight until parameters are published.
//!
//! The input is the state with the numbers of the history, and for heads per candidate the candidate's features behind
//! it. Where candidates have no features (a fixed set of actions), a head per candidate is one layer with an output for
//! each candidate. Texts are not looked at.

mod actor;
mod combine;
mod features;
mod model;
mod network;
mod noise;
mod plan;
#[cfg(test)]
mod tests;

pub use actor::MlpPredictor;
pub(super) use combine::Dueling;
pub use network::MlpNetwork;

/// All parameters begin with this.
pub const PREFIX: &str = "net.";
