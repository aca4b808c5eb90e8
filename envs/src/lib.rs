//! Simulators: recommendation with hidden user dynamics ([`rec_sim`]) and tiny exact MDPs ([`probe`]).

#[cfg(test)]
mod conformance;
pub mod probe;
pub mod rec_sim;
