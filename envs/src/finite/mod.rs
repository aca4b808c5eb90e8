//! Finite Markov decision processes: a table of transitions, its exact solution, and the environment that plays it.

mod env;
mod mdp;

pub use env::Finite;
pub(crate) use env::{Place, spec};
pub use mdp::{Mdp, Outcome};
