//! The core of retune: does reinforcement learning make a pretrained model better at a sequential decision task than
//! supervised learning does, by how much, how surely, and at what cost?
//!
//! Modules in reading order: [`rng`] (named random streams), [`env`] (tasks), [`slate`] (slate values), [`agent`] (actor, learner, snapshot),
//! [`rollout`] (runners), [`replay`] (memories), [`nn`] (parameters, operations, optimizers), [`backbone`]
//! (pretrained text encoders), [`stats`] (statistics over seeds), [`track`] (what a run writes), [`report`] (figures
//! and pages), [`persist`] (saved state). This crate names no concrete environment and no concrete agent.

pub mod agent;
pub mod backbone;
pub mod env;
mod error;
pub mod nn;
pub mod persist;
pub mod replay;
pub mod report;
pub mod rng;
pub mod rollout;
pub mod slate;
pub mod stats;
pub mod track;

pub use error::{Error, Result};
