//! Learning targets as pure functions: returns, advantages, λ-returns and one-step targets.
//!
//! A rollout is a table `[num_steps, num_envs]`, step by step, of rewards and of [`Status`]es ([`Steps`]); one env
//! slot's segment is the case `num_envs = 1`. Three rules hold in every function, and every one of them has a negative
//! control in the tests:
//!
//! * Only [`Status::Terminated`] removes the bootstrap.
//! * Either way of ending an episode ends the recursion: the following row belongs to the next episode.
//! * A truncated step goes on with the value of the observation that ended its episode, never with that of the
//!   following row. [`following_values`] is the one place that decides this.
//!
//! Sums are made in double precision whatever type the tables have ([`Real`]). Names and formulas: Sutton and Barto,
//! *Reinforcement Learning*, 2nd edition, and the papers named at each function.

mod corrected;
mod one_step;
mod real;
mod returns;
mod steps;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod traces;

pub use corrected::{VTrace, VTraceConfig, VTraceTargets, retrace, v_trace};
pub use one_step::{
    best_action, double_value, epsilon_greedy, expected_value, greedy_value, one_step_target, one_step_targets,
};
pub use real::Real;
pub use returns::{Advantages, NStep, discounted_returns, gae, n_step};
pub use steps::{Steps, following_values};
pub use traces::{TraceCut, q_lambda, td_lambda};

#[cfg(doc)]
use retune::env::Status;
