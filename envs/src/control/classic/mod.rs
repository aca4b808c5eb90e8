//! Continuous dynamics with a few actions: the equations of each task as plain functions on its state ([`Physics`]),
//! and the environment that plays them ([`Classic`]).

mod acrobot;
mod cart_pole;
mod env;
#[cfg(test)]
mod golden;
mod mountain_car;

pub use acrobot::AcrobotPhysics;
pub use cart_pole::CartPolePhysics;
pub use env::{Classic, Physics};
pub use mountain_car::MountainCarPhysics;

/// CartPole-v1: keep a pole upright on a cart. See [`CartPolePhysics`].
pub type CartPole = Classic<CartPolePhysics>;
/// Acrobot-v1: swing the tip of two links up. See [`AcrobotPhysics`].
pub type Acrobot = Classic<AcrobotPhysics>;
/// MountainCar-v0: rock a weak car out of a valley. See [`MountainCarPhysics`].
pub type MountainCar = Classic<MountainCarPhysics>;
