//! Tiny Markov decision processes with known values, as [`retune::env::Env`], for tests of runners and agents.
