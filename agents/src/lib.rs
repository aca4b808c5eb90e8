//! Learning algorithms and supervised baselines, one folder each. They see [`retune::env::CandidateObs`] and answer
//! with a [`retune::env::Slate`] (those of [`tabular`] see and answer with numbers); none of them names an environment.
//!
//! [`build_agent`] makes any of them by [`AgentKind`]. What they share: [`scorer`] (the model that scores a candidate
//! in a state), [`learning`] (one update and everything around it, the same budget for all), and for agents that choose one
//! candidate [`net`] (networks as numbers and gradients), [`losses`] and [`targets`].

mod acting;
mod answers;
mod config;
pub mod dqn;
pub mod inquirer;
pub mod learning;
pub mod losses;
pub mod net;
pub mod policy_gradient;
pub mod popular;
pub mod q_learning;
pub mod random;
pub mod reinforce;
pub mod sac;
pub mod sarsa;
pub mod scorer;
pub mod supervised;
pub mod supervised_planner;
pub mod supervised_then_q_learning;
pub mod tabular;
pub mod targets;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod top_k_reinforce;

pub use config::{AgentConfig, AgentKind, Role, build_agent};
pub use learning::{LearningConfig, Setup, TextModel};
