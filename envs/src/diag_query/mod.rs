//! Learning what to ask: a patient has a hidden diagnosis and findings; the agent pays for answers, then declares.
//!
//! A research simulator, not a medical device.

pub mod baselines;
pub mod bif;
pub mod cases;
pub mod composite;
pub mod ddxplus;
pub mod env;
pub mod gain;
pub mod generators;
pub mod inference;
pub mod metrics;
pub mod model;
pub mod network;
pub mod payoffs;
pub mod problem;
pub mod rates;
pub mod shipped;
#[cfg(test)]
pub(crate) mod testing;
