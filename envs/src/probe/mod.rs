//! Tiny Markov decision processes with known values, as [`retune::env::Env`], for tests of runners and agents.
//!
//! A test that trains on one of these can compare with the exact answer instead of with "it got better": [`Mdp`]
//! solves itself, and [`SlateBandit`] knows the value of every slate. [`Probe`]s and [`TextProbe`] isolate one part of a
//! learner each.

mod aliased;
mod probes;
mod processes;
mod slate_bandit;
mod tabular;
mod text_probe;

pub use crate::finite::{Mdp, Outcome};
pub use aliased::{Aliased, aliased};
pub use probes::Probe;
pub use slate_bandit::SlateBandit;
pub use tabular::{CandidateTabular, Tabular};
pub use text_probe::TextProbe;
