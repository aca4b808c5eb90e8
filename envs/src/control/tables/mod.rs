//! The tasks with a finite number of states, as tables of transitions: [`crate::finite::Finite`] plays them, and value
//! iteration solves them.

mod cliff_walking;
mod frozen_lake;
#[cfg(test)]
mod golden;
mod grid;
mod taxi;

pub use cliff_walking::cliff_walking;
pub use frozen_lake::{LakeMap, frozen_lake};
pub use taxi::{taxi, taxi_mask};
