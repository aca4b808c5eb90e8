//! Tiny Markov decision processes with known values, as [`retune::env::Env`], for tests of runners and agents.
//!
//! A test that trains on one of these can compare with the exact answer instead of with "it got better": [`Mdp`]
//! solves itself, and [`SlateBandit`] knows the value of every slate.

mod processes;
mod slate_bandit;
mod tabular;

pub use crate::finite::{Mdp, Outcome};
pub use slate_bandit::SlateBandit;
pub use tabular::{CandidateTabular, Tabular};
