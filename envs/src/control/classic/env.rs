//! What the classic control tasks share.

use retune::env::{ActionSpec, Env, EnvError, EnvSpec, EnvState, ObsSpec, Status, Step, TextTable};
use retune::rng::{Seed, StreamRng};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::marker::PhantomData;

/// Equations of motion, as functions without memory: nothing is allocated, nothing can fail.
pub trait Physics: Clone + Debug + Send + Sync + 'static {
    /// The numbers that the equations move, `f64`.
    type State: Copy + Default + Debug + PartialEq + AsRef<[f64]> + Serialize + DeserializeOwned + Send + Sync;
    /// What is seen of them, `f32`.
    type Obs: Copy + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Stable name of the environment.
    const ID: &str;
    /// One sentence for people.
    const DESCRIPTION: &str;
    /// Number of actions.
    const NUM_ACTIONS: u32;
    /// Env steps after which a wrapper truncates.
    const TIME_LIMIT: u64;
    /// Lowest and highest reward of one step.
    const REWARD_RANGE: (f64, f64);

    /// Lower and upper bound of each component of the observation.
    fn bounds() -> (Vec<f32>, Vec<f32>);

    /// A first state.
    fn start(rng: &mut StreamRng) -> Self::State;

    /// Moves `state` one step under `action`, which is below [`Physics::NUM_ACTIONS`]. Returns the reward and whether
    /// the task is over.
    fn advance(state: &mut Self::State, action: u32) -> (f64, bool);

    /// What is seen in `state`.
    fn observe(state: &Self::State) -> Self::Obs;
}

/// Plays a [`Physics`]. The time limit is declared in the spec and applied by a wrapper.
#[derive(Clone, Debug)]
pub struct Classic<P: Physics> {
    spec: EnvSpec,
    now: Now<P::State>,
    physics: PhantomData<P>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Now<S> {
    state: S,
    running: bool,
    rng: StreamRng,
}

impl<P: Physics> Classic<P> {
    /// The task, before its first reset.
    #[must_use]
    pub fn new() -> Self {
        let (low, high) = P::bounds();
        let spec = EnvSpec {
            id: P::ID.to_owned(),
            description: P::DESCRIPTION.to_owned(),
            obs: ObsSpec::Box { low, high },
            action: ActionSpec::Discrete { n: P::NUM_ACTIONS as usize },
            reward_unit: "points",
            reward_range: P::REWARD_RANGE,
            time_limit: Some(P::TIME_LIMIT),
            texts: TextTable::default(),
        };
        Self { spec, now: Now { state: P::State::default(), running: false, rng: stream(0) }, physics: PhantomData }
    }

    /// The exact state behind the observation.
    #[must_use]
    pub fn state(&self) -> &P::State {
        &self.now.state
    }

    /// Goes to `state`, as the first one of an episode.
    ///
    /// # Errors
    /// [`EnvError::State`] if a number of it is not finite.
    pub fn begin_at(&mut self, state: P::State) -> Result<P::Obs, EnvError> {
        require_finite(&self.spec, &state)?;
        (self.now.state, self.now.running) = (state, true);
        Ok(P::observe(&self.now.state))
    }
}

impl<P: Physics> Default for Classic<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Physics> Env for Classic<P> {
    type Obs = P::Obs;
    type Action = u32;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<P::Obs, EnvError> {
        if let Some(seed) = seed {
            self.now.rng = stream(seed);
        }
        self.now.state = P::start(&mut self.now.rng);
        self.now.running = true;
        Ok(P::observe(&self.now.state))
    }

    fn step(&mut self, action: &u32) -> Result<Step<P::Obs>, EnvError> {
        if *action >= P::NUM_ACTIONS {
            let message = format!("action {action}, expected one below {}", P::NUM_ACTIONS);
            return Err(EnvError::Action { kind: "index_out_of_range", message });
        }
        if !self.now.running {
            return Err(EnvError::EpisodeOver);
        }
        let (reward, over) = P::advance(&mut self.now.state, *action);
        self.now.running = !over;
        let status = if over { Status::Terminated } else { Status::Running };
        Ok(Step { obs: P::observe(&self.now.state), reward, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let state = serde_json::to_value(&self.now).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: self.spec.id.clone(), state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        if state.env != self.spec.id {
            return Err(EnvError::State(format!("it belongs to {}, not to {}", state.env, self.spec.id)));
        }
        let now: Now<P::State> =
            Now::deserialize(&state.state).map_err(|e| EnvError::State(format!("{}: {e}", self.spec.id)))?;
        require_finite(&self.spec, &now.state)?;
        self.now = now;
        Ok(())
    }
}

fn require_finite<S: AsRef<[f64]>>(spec: &EnvSpec, state: &S) -> Result<(), EnvError> {
    let values = state.as_ref();
    if values.iter().all(|x| x.is_finite()) {
        return Ok(());
    }
    Err(EnvError::State(format!("{}: state {values:?}, expected finite numbers", spec.id)))
}

fn stream(seed: u64) -> StreamRng {
    Seed::root(seed).child("control").rng()
}

/// A draw from U[low, high).
pub(super) fn between(rng: &mut StreamRng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.uniform()
}

#[cfg(test)]
mod tests {
    use super::super::{Acrobot, CartPole, CartPolePhysics, MountainCar};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_states_fill_the_published_ranges() {
        let mut lowest = [f64::INFINITY; 3];
        let mut highest = [f64::NEG_INFINITY; 3];
        let (mut pole, mut acrobot, mut car) = (CartPole::new(), Acrobot::new(), MountainCar::new());
        for seed in 0..500 {
            pole.reset(Some(seed)).unwrap();
            acrobot.reset(Some(seed)).unwrap();
            car.reset(Some(seed)).unwrap();
            assert_eq!(car.state()[1], 0.0);
            for (i, x) in [pole.state()[2], acrobot.state()[3], car.state()[0]].into_iter().enumerate() {
                (lowest[i], highest[i]) = (lowest[i].min(x), highest[i].max(x));
            }
        }
        for (i, (low, high)) in [(-0.05, 0.05), (-0.1, 0.1), (-0.6, -0.4)].into_iter().enumerate() {
            // The chance that 500 draws leave 3 % of the range empty at one end is 2e-7.
            let margin = 0.03 * (high - low);
            assert!(low - 1e-8 <= lowest[i] && lowest[i] < low + margin, "{i}: {lowest:?}");
            assert!(high - margin < highest[i] && highest[i] <= high + 1e-8, "{i}: {highest:?}");
        }
    }

    #[test]
    fn a_state_that_is_not_finite_is_refused() {
        let mut env = CartPole::new();
        env.reset(Some(1)).unwrap();
        let before = env.save_state().unwrap();
        assert!(matches!(env.begin_at([0.0, f64::NAN, 0.0, 0.0]), Err(EnvError::State(_))));
        assert_eq!(env.save_state().unwrap(), before);
        assert_eq!(env.begin_at([0.1, 0.0, 0.0, 0.0]).unwrap(), [0.1, 0.0, 0.0, 0.0]);
        assert!(MountainCar::new().restore_state(&before).is_err());
    }

    proptest! {
        /// The task is the same seen in a mirror: an equation with a wrong sign is not.
        #[test]
        fn the_cart_in_a_mirror_moves_the_other_way(
            state in prop::array::uniform4(-0.2..0.2f64),
            action in 0u32..2,
        ) {
            let (mut here, mut there) = (state, state.map(|x| -x));
            CartPolePhysics::advance(&mut here, action);
            CartPolePhysics::advance(&mut there, 1 - action);
            for (a, b) in here.iter().zip(there) {
                prop_assert!((a + b).abs() < 1e-12);
            }
        }
    }
}
