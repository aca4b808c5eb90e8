//! Simulators: recommendation with hidden user dynamics ([`rec_sim`]), asking before declaring ([`diag_query`]), the
//! classic control tasks ([`control`]) and tiny exact MDPs ([`probe`]); [`finite`] plays any table of transitions,
//! [`AsCandidates`] shows any of them as candidates.

mod as_candidates;
#[cfg(test)]
mod conformance;
pub mod control;
pub mod diag_query;
pub mod finite;
pub mod probe;
pub mod rec_sim;

pub use as_candidates::{AsCandidates, StateFeatures};
