//! Environments around an environment: a time limit and the totals of an episode.

use super::{Env, EnvError, EnvSpec, EnvState, Status, Step};
use serde::{Deserialize, Serialize};

/// Ends an episode with [`Status::Truncated`] after a number of env steps.
///
/// If the wrapped environment terminates in the very step that reaches the limit, [`Status::Terminated`] wins: there
/// is nothing left to bootstrap from.
#[derive(Clone, Debug)]
pub struct TimeLimit<E> {
    env: E,
    spec: EnvSpec,
    clock: Clock,
}

/// How far the episode of a [`TimeLimit`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    /// Env steps of the episode so far.
    elapsed: u64,
    /// Whether the limit ended it. The wrapped environment does not know and would step on.
    expired: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeLimitState {
    clock: Clock,
    inner: EnvState,
}

impl<E: Env> TimeLimit<E> {
    /// Truncates episodes of `env` after `limit` env steps; the spec then says so.
    ///
    /// # Errors
    /// If `limit` is zero.
    pub fn new(env: E, limit: u64) -> Result<Self, EnvError> {
        let mut spec = env.spec().clone();
        spec.time_limit = Some(limit);
        Self::with_spec(env, spec)
    }

    /// Applies the limit that the environment itself declares in [`EnvSpec::time_limit`]; none if it declares none.
    /// Doing so twice changes nothing.
    ///
    /// # Errors
    /// If the declared limit is zero.
    pub fn from_spec(env: E) -> Result<Self, EnvError> {
        let spec = env.spec().clone();
        Self::with_spec(env, spec)
    }

    /// The wrapped environment.
    pub fn inner(&self) -> &E {
        &self.env
    }

    fn with_spec(env: E, spec: EnvSpec) -> Result<Self, EnvError> {
        if spec.time_limit == Some(0) {
            return Err(EnvError::Config {
                key: "time_limit".to_owned(),
                value: "0".to_owned(),
                expected: "at least 1 env step".to_owned(),
            });
        }
        Ok(Self { env, spec, clock: Clock::default() })
    }
}

impl<E: Env> Env for TimeLimit<E> {
    type Obs = E::Obs;
    type Action = E::Action;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<Self::Obs, EnvError> {
        let obs = self.env.reset(seed)?;
        self.clock = Clock::default();
        Ok(obs)
    }

    fn step(&mut self, action: &Self::Action) -> Result<Step<Self::Obs>, EnvError> {
        if self.clock.expired {
            return Err(EnvError::EpisodeOver);
        }
        let mut step = self.env.step(action)?;
        self.clock.elapsed += 1;
        if step.status == Status::Running && self.spec.time_limit.is_some_and(|limit| self.clock.elapsed >= limit) {
            step.status = Status::Truncated;
            self.clock.expired = true;
        }
        Ok(step)
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        pack(&self.spec, &TimeLimitState { clock: self.clock, inner: self.env.save_state()? })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let saved: TimeLimitState = unpack(&self.spec, state)?;
        self.env.restore_state(&saved.inner)?;
        self.clock = saved.clock;
        Ok(())
    }
}

/// Sum of rewards and number of steps of one episode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeTotals {
    /// Sum of the rewards, undiscounted, in the unit of [`EnvSpec::reward_unit`].
    pub episode_return: f64,
    /// Env steps.
    pub length: u64,
}

/// Adds up what an episode yields; changes nothing that the agent sees.
#[derive(Clone, Debug)]
pub struct EpisodeStats<E> {
    env: E,
    totals: EpisodeTotals,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EpisodeStatsState {
    totals: EpisodeTotals,
    inner: EnvState,
}

impl<E: Env> EpisodeStats<E> {
    /// Counts from the next reset on.
    #[must_use]
    pub fn new(env: E) -> Self {
        Self { env, totals: EpisodeTotals::default() }
    }

    /// Totals of the running episode, or of the last one if it is over.
    #[must_use]
    pub fn totals(&self) -> EpisodeTotals {
        self.totals
    }

    /// The wrapped environment.
    pub fn inner(&self) -> &E {
        &self.env
    }
}

impl<E: Env> Env for EpisodeStats<E> {
    type Obs = E::Obs;
    type Action = E::Action;

    fn spec(&self) -> &EnvSpec {
        self.env.spec()
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<Self::Obs, EnvError> {
        let obs = self.env.reset(seed)?;
        self.totals = EpisodeTotals::default();
        Ok(obs)
    }

    fn step(&mut self, action: &Self::Action) -> Result<Step<Self::Obs>, EnvError> {
        let step = self.env.step(action)?;
        self.totals.episode_return += step.reward;
        self.totals.length += 1;
        Ok(step)
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        pack(self.spec(), &EpisodeStatsState { totals: self.totals, inner: self.env.save_state()? })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let saved: EpisodeStatsState = unpack(self.spec(), state)?;
        self.env.restore_state(&saved.inner)?;
        self.totals = saved.totals;
        Ok(())
    }
}

fn pack<S: Serialize>(spec: &EnvSpec, state: &S) -> Result<EnvState, EnvError> {
    let state = serde_json::to_value(state).map_err(|e| EnvError::State(e.to_string()))?;
    Ok(EnvState { env: spec.id.clone(), state })
}

fn unpack<S: for<'de> Deserialize<'de>>(spec: &EnvSpec, state: &EnvState) -> Result<S, EnvError> {
    if state.env != spec.id {
        return Err(EnvError::State(format!("the state belongs to {}, this is {}", state.env, spec.id)));
    }
    S::deserialize(&state.state).map_err(|e| EnvError::State(format!("{}: {e}", spec.id)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Counter;
    use super::*;

    fn statuses<E: Env<Action = u32>>(env: &mut E, steps: usize) -> Vec<Status> {
        (0..steps).map(|_| env.step(&1).unwrap().status).collect()
    }

    #[test]
    fn the_limit_truncates_and_the_episode_is_then_over() {
        let mut env = TimeLimit::new(Counter::new(10), 3).unwrap();
        env.reset(Some(1)).unwrap();
        assert_eq!(statuses(&mut env, 3), [Status::Running, Status::Running, Status::Truncated]);
        assert!(matches!(env.step(&1), Err(EnvError::EpisodeOver)));
        env.reset(None).unwrap();
        assert_eq!(env.step(&1).unwrap().status, Status::Running);
        assert_eq!(env.spec().time_limit, Some(3));
    }

    #[test]
    fn termination_at_the_limit_wins() {
        let mut env = TimeLimit::new(Counter::new(3), 3).unwrap();
        env.reset(Some(1)).unwrap();
        assert_eq!(statuses(&mut env, 3).last(), Some(&Status::Terminated));
        // Negative control: one step more to go and it is a truncation.
        let mut env = TimeLimit::new(Counter::new(4), 3).unwrap();
        env.reset(Some(1)).unwrap();
        assert_eq!(statuses(&mut env, 3).last(), Some(&Status::Truncated));
    }

    #[test]
    fn a_declared_limit_is_applied_and_applying_it_twice_is_harmless() {
        let declared = || TimeLimit::new(Counter::new(10), 2).unwrap();
        let mut env = TimeLimit::from_spec(declared()).unwrap();
        env.reset(Some(1)).unwrap();
        assert_eq!(statuses(&mut env, 2), [Status::Running, Status::Truncated]);
        let mut endless = TimeLimit::from_spec(Counter::new(5)).unwrap();
        endless.reset(Some(1)).unwrap();
        assert_eq!(statuses(&mut endless, 5).last(), Some(&Status::Terminated));
        assert!(TimeLimit::new(Counter::new(5), 0).is_err());
    }

    #[test]
    fn both_wrappers_continue_from_a_saved_state() {
        let build = || EpisodeStats::new(TimeLimit::new(Counter::new(10), 4).unwrap());
        let mut env = build();
        env.reset(Some(7)).unwrap();
        statuses(&mut env, 3);
        let state = env.save_state().unwrap();
        let mut other = build();
        other.restore_state(&state).unwrap();
        assert_eq!(other.totals(), env.totals());
        assert_eq!(other.step(&1).unwrap(), env.step(&1).unwrap());
        assert_eq!(other.totals(), EpisodeTotals { episode_return: env.totals().episode_return, length: 4 });
        // The expired clock is part of the state.
        let over = other.save_state().unwrap();
        let mut third = build();
        third.restore_state(&over).unwrap();
        assert!(matches!(third.step(&1), Err(EnvError::EpisodeOver)));
    }

    #[test]
    fn a_state_of_another_environment_is_refused_and_nothing_changes() {
        let mut env = TimeLimit::new(Counter::new(10), 4).unwrap();
        env.reset(Some(7)).unwrap();
        let before = env.save_state().unwrap();
        let foreign = EnvState { env: "other".to_owned(), state: before.state.clone() };
        assert!(matches!(env.restore_state(&foreign), Err(EnvError::State(_))));
        let unwrapped = env.inner().save_state().unwrap();
        assert!(matches!(env.restore_state(&unwrapped), Err(EnvError::State(_))));
        assert_eq!(env.save_state().unwrap(), before);
    }
}
