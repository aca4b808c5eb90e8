//! Several environments side by side.

use super::{Env, EnvError, EnvSpec, EnvState, EpisodeStats, EpisodeTotals, Status, TimeLimit};
use crate::rng::Seed;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Consecutive env slots that always have an observation to act on: *same-step auto-reset*.
///
/// A slot whose episode ends in a step is reset within that step. The step then reports the *final* observation of the
/// ended episode as [`SlotStep::next_obs`], and [`VecEnv::observations`] shows the first one of the next episode.
///
/// Episode `n` of slot `j` begins with `reset(Some(seed))` where the seed is the stream `env / j / episode / n` under
/// the seed given to [`VecEnv::new`]. So what a slot meets depends on neither its neighbours nor on the thread that
/// works on it. The time limit that the spec declares is applied ([`TimeLimit::from_spec`]).
#[derive(Debug)]
pub struct VecEnv<E: Env> {
    first_slot: usize,
    seed: Seed,
    slots: Vec<Slot<E>>,
    /// What to act on, `[num_slots]`. Apart from the slots so that an actor can be handed one slice.
    obs: Vec<Arc<E::Obs>>,
}

#[derive(Debug)]
struct Slot<E: Env> {
    env: EpisodeStats<TimeLimit<E>>,
    /// Number of the running episode, from 0.
    episode: u64,
}

/// What one step of one slot returned.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotStep<O> {
    /// Reward of the step.
    pub reward: f64,
    /// How the step left the episode.
    pub status: Status,
    /// Observation after the step; where the episode is over, its final one.
    pub next_obs: Arc<O>,
    /// The episode that the step ended, if it did.
    pub ended: Option<EndedEpisode>,
}

/// An episode that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndedEpisode {
    /// Its number within the slot, from 0.
    pub episode: u64,
    /// Return and length.
    pub totals: EpisodeTotals,
}

/// The saved form of one slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotState {
    /// Number of the slot.
    pub slot: usize,
    /// Number of the running episode.
    pub episode: u64,
    /// State of the environment, wrappers included.
    pub env: EnvState,
    /// The observation to act on.
    pub obs: serde_json::Value,
}

impl<E: Env> VecEnv<E> {
    /// Slots `first_slot, first_slot + 1, …`, one for each environment, each at the start of its episode 0.
    ///
    /// # Errors
    /// If an environment declares an impossible time limit or cannot be reset.
    pub fn new(envs: Vec<E>, first_slot: usize, seed: Seed) -> Result<Self> {
        let mut slots = Vec::with_capacity(envs.len());
        let mut obs = Vec::with_capacity(envs.len());
        for (i, env) in envs.into_iter().enumerate() {
            let mut slot = Slot { env: EpisodeStats::new(TimeLimit::from_spec(env)?), episode: 0 };
            obs.push(Arc::new(slot.begin(first_slot + i, &seed)?));
            slots.push(slot);
        }
        Ok(Self { first_slot, seed, slots, obs })
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Number of the first slot.
    #[must_use]
    pub fn first_slot(&self) -> usize {
        self.first_slot
    }

    /// The spec of the environments; `None` if there are no slots.
    #[must_use]
    pub fn spec(&self) -> Option<&EnvSpec> {
        self.slots.first().map(|s| s.env.spec())
    }

    /// What to act on next, `[num_slots]`.
    #[must_use]
    pub fn observations(&self) -> &[Arc<E::Obs>] {
        &self.obs
    }

    /// The environment at position `index` (slot `first_slot + index`).
    #[must_use]
    pub fn env(&self, index: usize) -> Option<&E> {
        self.slots.get(index).map(|s| s.env.inner().inner())
    }

    /// Steps the environment at position `index` and resets it if that ends its episode.
    ///
    /// # Errors
    /// [`Error::EnvSlot`] if the environment refuses; [`Error::State`] if there is no such position.
    pub fn step_slot(&mut self, index: usize, action: &E::Action) -> Result<SlotStep<E::Obs>> {
        let number = self.first_slot + index;
        let count = self.slots.len();
        let slot = self
            .slots
            .get_mut(index)
            .ok_or_else(|| Error::State(format!("there is no position {index} in a vector env of {count}")))?;
        let step = slot.env.step(action).map_err(|e| slot.refused(number, e))?;
        let next_obs = Arc::new(step.obs);
        let ended = if step.status.is_over() {
            let ended = EndedEpisode { episode: slot.episode, totals: slot.env.totals() };
            slot.episode += 1;
            self.obs[index] = Arc::new(slot.begin(number, &self.seed)?);
            Some(ended)
        } else {
            self.obs[index] = Arc::clone(&next_obs);
            None
        };
        Ok(SlotStep { reward: step.reward, status: step.status, next_obs, ended })
    }

    /// Steps all slots, `actions` is `[num_slots]`.
    ///
    /// # Errors
    /// [`Error::State`] if there is not one action per slot (nothing has changed then); [`Error::EnvSlot`] if an
    /// environment refuses. The slots before that one have moved on by then, so such an error ends the run.
    pub fn step(&mut self, actions: &[E::Action]) -> Result<Vec<SlotStep<E::Obs>>> {
        if actions.len() != self.len() {
            return Err(Error::State(format!("{} actions for {} env slots", actions.len(), self.len())));
        }
        actions.iter().enumerate().map(|(index, action)| self.step_slot(index, action)).collect()
    }

    /// The exact state of every slot, in slot order.
    ///
    /// # Errors
    /// If an environment cannot save itself, or an observation does not survive JSON (a number that is not finite).
    pub fn save(&self) -> Result<Vec<SlotState>> {
        self.slots
            .iter()
            .zip(&self.obs)
            .enumerate()
            .map(|(i, (slot, obs))| slot.save(self.first_slot + i, obs))
            .collect()
    }

    /// Goes back to a saved state.
    ///
    /// # Errors
    /// [`Error::State`] if it was made with other slots; [`Error::EnvSlot`] if an environment refuses its state. The
    /// slots before that one are then already restored.
    pub fn restore(&mut self, states: &[SlotState]) -> Result<()> {
        let numbers = self.first_slot..self.first_slot + self.slots.len();
        if !states.iter().map(|s| s.slot).eq(numbers.clone()) {
            let found: Vec<usize> = states.iter().map(|s| s.slot).collect();
            return Err(Error::State(format!("env slots {found:?} saved, {numbers:?} expected")));
        }
        for ((slot, obs), state) in self.slots.iter_mut().zip(&mut self.obs).zip(states) {
            let restored = E::Obs::deserialize(&state.obs)
                .map_err(|e| Error::State(format!("observation of env slot {}: {e}", state.slot)))?;
            slot.env.restore_state(&state.env).map_err(|e| slot.refused(state.slot, e))?;
            slot.episode = state.episode;
            *obs = Arc::new(restored);
        }
        Ok(())
    }
}

impl<E: Env> Slot<E> {
    /// Resets to the start of episode `self.episode`.
    fn begin(&mut self, number: usize, seed: &Seed) -> Result<E::Obs> {
        let stream = seed.child("env").index(number as u64).child("episode").index(self.episode);
        self.env.reset(Some(stream.to_u64())).map_err(|e| self.refused(number, e))
    }

    fn save(&self, number: usize, obs: &E::Obs) -> Result<SlotState> {
        let env = self.env.save_state().map_err(|e| self.refused(number, e))?;
        let name = || format!("observation of env slot {number}");
        let value = serde_json::to_value(obs).map_err(|e| Error::State(format!("{}: {e}", name())))?;
        // JSON writes NaN and infinities as null: better to find out now than when the checkpoint is needed.
        let again = E::Obs::deserialize(&value).map_err(|e| Error::State(format!("{}: {e}", name())))?;
        if again != *obs {
            return Err(Error::State(format!("{} changes when it is saved: {obs:?}", name())));
        }
        Ok(SlotState { slot: number, episode: self.episode, env, obs: value })
    }

    fn refused(&self, env: usize, source: EnvError) -> Error {
        Error::EnvSlot { env, episode: self.episode, source }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Counter;
    use super::*;

    fn two(goals: [u32; 2]) -> VecEnv<Counter> {
        VecEnv::new(goals.map(Counter::new).into(), 4, Seed::root(1)).unwrap()
    }

    #[test]
    fn a_finished_slot_reports_the_final_observation_and_shows_the_reset_one() {
        let mut envs = two([2, 3]);
        envs.step(&[1, 1]).unwrap();
        let steps = envs.step(&[1, 1]).unwrap();
        assert_eq!(steps[0].status, Status::Terminated);
        // Counter shows [count, noise of the episode]; the final count is 2, that of the next episode is 0.
        assert_eq!(steps[0].next_obs[0], 2.0);
        assert_eq!(envs.observations()[0][0], 0.0);
        assert_ne!(steps[0].next_obs[1], envs.observations()[0][1]);
        assert_eq!(steps[0].ended.map(|e| (e.episode, e.totals.length)), Some((0, 2)));
        // Negative control: the slot that goes on shows what it reported.
        assert_eq!(steps[1].ended, None);
        assert!(Arc::ptr_eq(&steps[1].next_obs, &envs.observations()[1]));
    }

    #[test]
    fn a_slot_meets_the_same_episodes_whatever_its_neighbours() {
        let mut pair = two([2, 3]);
        let mut alone = VecEnv::new(vec![Counter::new(3)], 5, Seed::root(1)).unwrap();
        for _ in 0..20 {
            let both = pair.step(&[1, 1]).unwrap();
            assert_eq!(both[1], alone.step(&[1]).unwrap()[0]);
        }
        // Negative control: another slot number meets other episodes.
        let other = VecEnv::new(vec![Counter::new(3)], 6, Seed::root(1)).unwrap();
        assert_ne!(other.observations(), two([2, 3]).observations().split_at(1).1);
    }

    #[test]
    fn the_declared_time_limit_holds() {
        let env = TimeLimit::new(Counter::new(9), 2).unwrap();
        let mut envs = VecEnv::new(vec![env], 0, Seed::root(1)).unwrap();
        envs.step(&[1]).unwrap();
        assert_eq!(envs.step(&[1]).unwrap()[0].status, Status::Truncated);
        assert_eq!(envs.step(&[1]).unwrap()[0].status, Status::Running);
    }

    #[test]
    fn a_saved_vector_env_continues_with_the_same_bits() {
        let mut envs = two([2, 3]);
        for _ in 0..5 {
            envs.step(&[1, 0]).unwrap();
        }
        let text = serde_json::to_string(&envs.save().unwrap()).unwrap();
        let saved: Vec<SlotState> = serde_json::from_str(&text).unwrap();
        let mut again = two([2, 3]);
        again.restore(&saved).unwrap();
        assert_eq!(again.observations(), envs.observations());
        for _ in 0..10 {
            assert_eq!(again.step(&[1, 1]).unwrap(), envs.step(&[1, 1]).unwrap());
        }
        let mut elsewhere = VecEnv::new(vec![Counter::new(2), Counter::new(3)], 0, Seed::root(1)).unwrap();
        assert!(elsewhere.restore(&saved).unwrap_err().to_string().contains("[4, 5]"));
    }

    #[test]
    fn a_refusal_names_slot_and_episode() {
        let mut envs = two([2, 3]);
        let error = envs.step(&[1, 7]).unwrap_err().to_string();
        assert!(error.starts_with("env slot 5, episode 0: illegal action"), "{error}");
        assert!(envs.step(&[1]).unwrap_err().to_string().contains("1 actions for 2 env slots"));
    }
}
