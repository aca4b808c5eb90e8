//! Simulators: recommendation with hidden user dynamics ([`rec_sim`]) and tiny exact MDPs ([`probe`]).

pub mod probe;
pub mod rec_sim;
