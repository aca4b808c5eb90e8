//! The classic control tasks, to Gymnasium's equations: [`ControlTask`] knows them all.
//!
//! [`CartPole`], [`Acrobot`] and [`MountainCar`] show vectors; FrozenLake, CliffWalking and Taxi are [`Finite`] tables.
//! [`ControlTask::candidates`] gives any of them in the form that deep agents see. What they do is compared with the
//! Python package step by step (`tests/golden/control/`).

mod classic;
mod tables;

pub use classic::{
    Acrobot, AcrobotPhysics, CartPole, CartPolePhysics, Classic, MountainCar, MountainCarPhysics, Physics,
};
pub use tables::{LakeMap, cliff_walking, frozen_lake, taxi, taxi_mask};

use crate::AsCandidates;
use crate::finite::Finite;
use retune::env::check::{CheckConfig, CheckReport, DiscreteSampler, check_env};
use retune::env::{CandidateObs, Env, EnvError, Slate};

/// An environment with candidates, of a kind known at run time.
pub type CandidateEnv = Box<dyn Env<Obs = CandidateObs, Action = Slate>>;

/// A control task by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlTask {
    /// [`CartPole`].
    CartPole,
    /// [`Acrobot`].
    Acrobot,
    /// [`MountainCar`].
    MountainCar,
    /// [`frozen_lake`].
    FrozenLake {
        /// Which map.
        map: LakeMap,
        /// Whether moves go astray.
        slippery: bool,
    },
    /// [`cliff_walking`].
    CliffWalking {
        /// Whether moves go astray.
        slippery: bool,
    },
    /// [`taxi`]. Its candidate form masks the actions that change nothing.
    Taxi,
}

impl ControlTask {
    /// Every task, in the order in which they are listed.
    pub const ALL: [Self; 10] = [
        Self::CartPole,
        Self::Acrobot,
        Self::MountainCar,
        Self::FrozenLake { map: LakeMap::Small, slippery: true },
        Self::FrozenLake { map: LakeMap::Small, slippery: false },
        Self::FrozenLake { map: LakeMap::Large, slippery: true },
        Self::FrozenLake { map: LakeMap::Large, slippery: false },
        Self::CliffWalking { slippery: false },
        Self::CliffWalking { slippery: true },
        Self::Taxi,
    ];

    /// The task whose [`ControlTask::name`] is `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name)
    }

    /// Stable name, [`retune::env::EnvSpec::id`] of the environment.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CartPole => CartPolePhysics::ID,
            Self::Acrobot => AcrobotPhysics::ID,
            Self::MountainCar => MountainCarPhysics::ID,
            Self::FrozenLake { map: LakeMap::Small, slippery: true } => "control/frozen_lake/4x4",
            Self::FrozenLake { map: LakeMap::Small, slippery: false } => "control/frozen_lake/4x4/not_slippery",
            Self::FrozenLake { map: LakeMap::Large, slippery: true } => "control/frozen_lake/8x8",
            Self::FrozenLake { map: LakeMap::Large, slippery: false } => "control/frozen_lake/8x8/not_slippery",
            Self::CliffWalking { slippery: false } => "control/cliff_walking",
            Self::CliffWalking { slippery: true } => "control/cliff_walking/slippery",
            Self::Taxi => "control/taxi",
        }
    }

    /// One sentence for people, with Gymnasium's name.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::CartPole => "CartPole-v1: keep a pole upright on a cart.",
            Self::Acrobot => "Acrobot-v1: swing the tip of two linked rods above a line.",
            Self::MountainCar => "MountainCar-v0: rock a weak car out of a valley.",
            Self::FrozenLake { map: LakeMap::Small, slippery: true } => "FrozenLake-v1: cross slippery ice.",
            Self::FrozenLake { map: LakeMap::Small, slippery: false } => "FrozenLake-v1 with is_slippery=False.",
            Self::FrozenLake { map: LakeMap::Large, slippery: true } => "FrozenLake8x8-v1: cross more slippery ice.",
            Self::FrozenLake { map: LakeMap::Large, slippery: false } => "FrozenLake8x8-v1 with is_slippery=False.",
            Self::CliffWalking { slippery: false } => "CliffWalking-v1: walk along a cliff.",
            Self::CliffWalking { slippery: true } => "CliffWalkingSlippery-v1: walk along a cliff in the wet.",
            Self::Taxi => "Taxi-v3: fetch a passenger and bring them to their destination.",
        }
    }

    /// Mean return from which Gymnasium calls the task solved, where it says so (MountainCar and the others by their
    /// registered `reward_threshold`).
    #[must_use]
    pub fn solved_at(self) -> Option<f64> {
        match self {
            Self::CartPole => Some(475.0),
            Self::Acrobot => Some(-100.0),
            Self::MountainCar => Some(-110.0),
            Self::FrozenLake { map: LakeMap::Small, slippery: true } => Some(0.70),
            Self::FrozenLake { map: LakeMap::Large, slippery: true } => Some(0.85),
            Self::Taxi => Some(8.0),
            Self::FrozenLake { .. } | Self::CliffWalking { .. } => None,
        }
    }

    /// The task as a table, where its states are finite.
    #[must_use]
    pub fn finite(self) -> Option<Finite> {
        match self {
            Self::CartPole | Self::Acrobot | Self::MountainCar => None,
            Self::FrozenLake { map, slippery } => Some(Finite::new(frozen_lake(map, slippery))),
            Self::CliffWalking { slippery } => Some(Finite::new(cliff_walking(slippery))),
            Self::Taxi => Some(Finite::new(taxi()).with_mask(taxi_mask()).expect("driving is possible everywhere")),
        }
    }

    /// The task as an environment with candidates, [`AsCandidates`].
    ///
    /// # Errors
    /// None for these tasks; the type leaves room.
    pub fn candidates(self) -> Result<CandidateEnv, EnvError> {
        Ok(match self {
            Self::CartPole => Box::new(AsCandidates::new(CartPole::new())?),
            Self::Acrobot => Box::new(AsCandidates::new(Acrobot::new())?),
            Self::MountainCar => Box::new(AsCandidates::new(MountainCar::new())?),
            Self::Taxi => {
                let env = Finite::new(taxi()).with_mask(taxi_mask())?;
                Box::new(AsCandidates::new(env)?.masked(|env, &state| env.mask(state as usize).map(<[bool]>::to_vec)))
            }
            Self::FrozenLake { map, slippery } => Box::new(AsCandidates::new(Finite::new(frozen_lake(map, slippery)))?),
            Self::CliffWalking { slippery } => Box::new(AsCandidates::new(Finite::new(cliff_walking(slippery)))?),
        })
    }

    /// Whether the task keeps the laws of environments, and how fast it is.
    ///
    /// # Errors
    /// If a setting of the check is out of range.
    pub fn check(self, config: &CheckConfig) -> retune::Result<CheckReport> {
        let sampler = &DiscreteSampler;
        match self {
            Self::CartPole => check_env(|| Ok(CartPole::new()), sampler, config),
            Self::Acrobot => check_env(|| Ok(Acrobot::new()), sampler, config),
            Self::MountainCar => check_env(|| Ok(MountainCar::new()), sampler, config),
            Self::FrozenLake { map, slippery } => {
                check_env(|| Ok(Finite::new(frozen_lake(map, slippery))), sampler, config)
            }
            Self::CliffWalking { slippery } => {
                // Without a time limit a random walk takes thousands of steps to get past the cliff, now and then
                // some ten thousands.
                let config = CheckConfig { max_steps: config.max_steps.max(1_000_000), ..config.clone() };
                check_env(|| Ok(Finite::new(cliff_walking(slippery))), sampler, &config)
            }
            Self::Taxi => check_env(|| Ok(Finite::new(taxi())), sampler, config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_environments_and_lead_back() {
        for task in ControlTask::ALL {
            assert_eq!(ControlTask::from_name(task.name()), Some(task));
            assert_eq!(task.finite().map_or(task.name().to_owned(), |env| env.spec().id.clone()), task.name());
            let env = task.candidates().unwrap();
            assert!(env.spec().id.starts_with(&format!("{}/candidates", task.name())), "{}", env.spec().id);
        }
        assert_eq!(ControlTask::from_name("control/cart_pole"), None);
    }
}
