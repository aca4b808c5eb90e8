//! A finite Markov decision process as an environment whose observation is the number of the state.

use super::mdp::Mdp;
use retune::env::{ActionSpec, Env, EnvError, EnvSpec, EnvState, ObsSpec, Status, Step, TextTable};
use retune::rng::{Seed, StreamRng};
use serde::{Deserialize, Serialize};

/// Where an episode stands, with its randomness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub state: usize,
    pub running: bool,
    /// Action and reward of the last step of this episode.
    pub last: Option<(u32, f64)>,
    rng: StreamRng,
}

impl Place {
    /// Before the first reset; `name` names the stream.
    pub fn new(name: &str) -> Self {
        Self { state: 0, running: false, last: None, rng: stream(0, name) }
    }

    pub fn reset(&mut self, mdp: &Mdp, seed: Option<u64>, name: &str) {
        if let Some(seed) = seed {
            self.rng = stream(seed, name);
        }
        let certain = mdp.start().iter().position(|&p| p == 1.0);
        self.state = certain.unwrap_or_else(|| mdp.first_state(self.rng.uniform()));
        (self.running, self.last) = (true, None);
    }

    /// Moves on and returns the reward. An action that leads to one thing only consumes no draw.
    pub fn step(&mut self, mdp: &Mdp, action: u32) -> Result<(f64, Status), EnvError> {
        if action as usize >= mdp.num_actions() {
            let message = format!("action {action}, expected one below {}", mdp.num_actions());
            return Err(EnvError::Action { kind: "index_out_of_range", message });
        }
        if !self.running {
            return Err(EnvError::EpisodeOver);
        }
        let outcome = match mdp.outcomes(self.state, action as usize) {
            [only] => only,
            _ => mdp.outcome(self.state, action as usize, self.rng.uniform()),
        };
        self.state = outcome.next;
        self.running = !outcome.terminated;
        self.last = Some((action, outcome.reward));
        Ok((outcome.reward, if outcome.terminated { Status::Terminated } else { Status::Running }))
    }

    pub fn save(&self, id: &str) -> Result<EnvState, EnvError> {
        let state = serde_json::to_value(self).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: id.to_owned(), state })
    }

    pub fn restore(&mut self, mdp: &Mdp, id: &str, saved: &EnvState) -> Result<(), EnvError> {
        if saved.env != id {
            return Err(EnvError::State(format!("it belongs to {}, not to {id}", saved.env)));
        }
        let place = Self::deserialize(&saved.state).map_err(|e| EnvError::State(format!("{id}: {e}")))?;
        if place.state >= mdp.num_states() || place.last.is_some_and(|(a, _)| a as usize >= mdp.num_actions()) {
            return Err(EnvError::State(format!("state {} with {:?} is not in {id}", place.state, place.last)));
        }
        *self = place;
        Ok(())
    }
}

fn stream(seed: u64, name: &str) -> StreamRng {
    Seed::root(seed).child(name).rng()
}

pub(crate) fn spec(mdp: &Mdp, suffix: &str, obs: ObsSpec, action: ActionSpec) -> EnvSpec {
    EnvSpec {
        id: format!("{}{suffix}", mdp.name()),
        description: mdp.description().to_owned(),
        obs,
        action,
        reward_unit: "points",
        reward_range: mdp.reward_range(),
        time_limit: mdp.time_limit(),
        texts: TextTable::default(),
    }
}

/// Plays an [`Mdp`]. The observation is the number of the state, the action a number.
///
/// What is seen last in an episode is [`super::Outcome::next`] of the outcome that ended it.
#[derive(Clone, Debug)]
pub struct Finite {
    mdp: Mdp,
    spec: EnvSpec,
    place: Place,
    /// Which actions have an effect, `[num_states][num_actions]`; `None` if that is not known.
    legal: Option<Vec<Vec<bool>>>,
}

impl Finite {
    const STREAM: &str = "finite";

    /// The process as an environment.
    #[must_use]
    pub fn new(mdp: Mdp) -> Self {
        let obs = ObsSpec::Discrete { n: mdp.num_states() };
        let spec = spec(&mdp, "", obs, ActionSpec::Discrete { n: mdp.num_actions() });
        Self { mdp, spec, place: Place::new(Self::STREAM), legal: None }
    }

    /// The same with a table of the actions that are worth trying, `[num_states][num_actions]`. The environment itself
    /// accepts the others too; [`crate::AsCandidates::masked`] does not.
    ///
    /// # Errors
    /// [`EnvError::Config`] if the table has another shape or leaves a state without any action.
    pub fn with_mask(mut self, legal: Vec<Vec<bool>>) -> Result<Self, EnvError> {
        let fits = |row: &Vec<bool>| row.len() == self.mdp.num_actions() && row.contains(&true);
        if legal.len() != self.mdp.num_states() || !legal.iter().all(fits) {
            let (states, actions) = (self.mdp.num_states(), self.mdp.num_actions());
            let expected = format!("{states} rows of {actions}, each with an action that is allowed");
            return Err(crate::rec_sim::shared::config_error("mask", format!("{} rows", legal.len()), expected));
        }
        self.legal = Some(legal);
        Ok(self)
    }

    /// The process, with its exact values.
    #[must_use]
    pub fn mdp(&self) -> &Mdp {
        &self.mdp
    }

    /// Which actions are worth trying in `state`, `[num_actions]`; `None` without a mask.
    #[must_use]
    pub fn mask(&self, state: usize) -> Option<&[bool]> {
        self.legal.as_ref().and_then(|rows| rows.get(state)).map(Vec::as_slice)
    }
}

impl Env for Finite {
    type Obs = u32;
    type Action = u32;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<u32, EnvError> {
        self.place.reset(&self.mdp, seed, Self::STREAM);
        Ok(self.place.state as u32)
    }

    fn step(&mut self, action: &u32) -> Result<Step<u32>, EnvError> {
        let (reward, status) = self.place.step(&self.mdp, *action)?;
        Ok(Step { obs: self.place.state as u32, reward, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        self.place.save(&self.spec.id)
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.place.restore(&self.mdp, &self.spec.id, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_numbers_and_certain_steps_consume_no_draw() {
        let mut env = Finite::new(Mdp::chain(3));
        assert!(matches!(env.step(&1), Err(EnvError::EpisodeOver)));
        assert_eq!(env.reset(Some(0)).unwrap(), 0);
        let fresh = env.place.rng.clone();
        assert_eq!(env.step(&1).unwrap(), Step { obs: 1, reward: 0.0, status: Status::Running });
        env.step(&1).unwrap();
        assert_eq!(env.step(&1).unwrap(), Step { obs: 2, reward: 1.0, status: Status::Terminated });
        assert_eq!(env.place.rng, fresh);
        assert!(matches!(env.step(&2), Err(EnvError::Action { .. })));
    }

    #[test]
    fn a_mask_must_leave_something_to_do() {
        let open = vec![vec![true, false]; 2];
        let env = Finite::new(Mdp::chain(2)).with_mask(open).unwrap();
        assert_eq!(env.mask(1), Some([true, false].as_slice()));
        assert_eq!(env.mask(2), None);
        for closed in [vec![vec![false, false]; 2], vec![vec![true, true]; 3], vec![vec![true]; 2]] {
            assert!(Finite::new(Mdp::chain(2)).with_mask(closed).is_err());
        }
    }
}
