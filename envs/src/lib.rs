//! Simulators: recommendation with hidden user dynamics ([`rec_sim`]), asking before declaring ([`diag_query`]) and
//! tiny exact MDPs ([`probe`]).

#[cfg(test)]
mod conformance;
pub mod diag_query;
pub mod probe;
pub mod rec_sim;
