//! Collecting experience, in the caller's thread or in actor threads.

use super::config::RunnerConfig;
use super::pool::{Pool, Returned};
use super::record::EpisodeRecord;
use super::shard::{Shard, ShardRound, ShardState};
use crate::agent::{Actor, Rollout, Snapshot, Stop};
use crate::env::{Env, EnvSpec, VecEnv};
use crate::persist::StateDict;
use crate::rng::Seed;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What one round gives: the transitions in slot order, and the episodes that ended, by the env step at which they
/// ended and then by slot.
pub type Round<O, A> = (Rollout<O, A>, Vec<EpisodeRecord>);

/// Plays rounds of experience.
///
/// One interface, two executions: with [`RunnerConfig::actors`]` = 0` everything happens in the caller's thread, else
/// that many actor threads play the shards and the caller waits for all of them:
///
/// ```text
///   Learner::snapshot ──Arc<Snapshot>──▶ Runner::collect ──Shard, Arc<Snapshot>──▶ actor threads
///         ▲                                     │    ▲                                  │
///         └─────────Rollout, in slot order──────┘    └───────────Shard, segments────────┘
/// ```
///
/// The result is the same to the bit for either execution and any number of threads: every slot has its own random
/// streams, the shards (and so the shapes of the tensors that actors compute with) depend on the settings only, and
/// what comes back is put in slot order.
pub struct Runner<E: Env> {
    config: RunnerConfig,
    spec: EnvSpec,
    seed: Seed,
    stop: Stop,
    round: u64,
    /// In shard order; empty only after a panic took one.
    shards: Vec<Shard<E>>,
    pool: Option<Pool<E>>,
    /// Whether all shards are between two rounds. After an error they are not, until a state is loaded.
    between_rounds: bool,
}

/// The saved form of a runner, apart from its shards.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunnerState {
    env: String,
    num_envs: usize,
    shard_size: usize,
    steps_per_round: usize,
    seed: Seed,
    round: u64,
}

impl<E: Env + 'static> Runner<E> {
    /// Builds all environments (`make_env(j)` for slot `j`), one actor per shard, and the threads.
    ///
    /// `seed` is the node under which all streams of this runner lie. `stop` is looked at before every env step.
    ///
    /// # Errors
    /// If a setting is out of range, or an environment, an actor or a thread cannot be made.
    pub fn new(
        make_env: impl FnMut(usize) -> Result<E>,
        make_actor: impl FnMut() -> Result<Box<dyn Actor<E::Obs, E::Action>>>,
        config: &RunnerConfig,
        seed: Seed,
        stop: &Stop,
    ) -> Result<Self> {
        config.validate()?;
        let shards = make_shards(make_env, make_actor, config, seed)?;
        let spec = common_spec(&shards)?;
        let pool = if config.actors == 0 { None } else { Some(Pool::new(config.actors, shards.len())?) };
        Ok(Self {
            config: config.clone(),
            spec,
            seed,
            stop: stop.clone(),
            round: 0,
            shards,
            pool,
            between_rounds: true,
        })
    }

    /// What all env slots have in common.
    #[must_use]
    pub fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &RunnerConfig {
        &self.config
    }

    /// Rounds played so far.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.round
    }

    /// Plays one round with the parameters of `snapshot`: `steps_per_round` env steps in every slot.
    ///
    /// # Errors
    /// [`Error::Interrupted`] between two env steps after a request to stop; [`Error::Actor`] with the message of an
    /// actor thread that failed or panicked (of the first such shard in order); without threads the error itself.
    /// After any error the round is lost: the runner collects and saves again only after [`Runner::load`].
    pub fn collect(&mut self, snapshot: &Arc<Snapshot>) -> Result<Round<E::Obs, E::Action>> {
        self.require_between_rounds()?;
        // Before anything has moved: this interruption loses nothing.
        self.stop.check()?;
        self.between_rounds = false;
        let rounds = self.play(snapshot)?;
        let mut rollout = Rollout { round: self.round, version: snapshot.version, segments: Vec::new() };
        let mut records = Vec::new();
        for (number, shard) in rounds.into_iter().enumerate() {
            require_version(number, &shard, snapshot)?;
            rollout.segments.extend(shard.segments);
            records.extend(shard.records);
        }
        // Stable, and shards are in slot order: episodes that end at the same step stay in slot order.
        records.sort_by_key(|r: &EpisodeRecord| r.slot_steps);
        self.round += 1;
        self.between_rounds = true;
        Ok((rollout, records))
    }

    /// Puts the complete state (environments, episodes half played, streams) into `state`, under names that begin with
    /// `prefix`.
    ///
    /// # Errors
    /// If an environment cannot save itself, or the last round failed.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.require_between_rounds()?;
        let shards = self.shards.iter().map(|s| s.save()).collect::<Result<Vec<ShardState>>>()?;
        state.put(format!("{prefix}runner"), &self.header())?;
        state.put(format!("{prefix}shards"), &shards)
    }

    /// Continues from a saved state: what is collected from now on has the same bits as if nothing had happened in
    /// between. The number of actor threads may differ, everything else must agree.
    ///
    /// # Errors
    /// [`Error::State`] if the state belongs to another environment, seed or setting; nothing has changed then. If an
    /// environment refuses its part, the runner must be loaded again before it is used.
    pub fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let header: RunnerState = state.get(&format!("{prefix}runner"))?;
        let expected = RunnerState { round: header.round, ..self.header() };
        if header != expected {
            return Err(Error::State(format!("the state was saved with {header:?}, this runner has {expected:?}")));
        }
        let shards: Vec<ShardState> = state.get(&format!("{prefix}shards"))?;
        if self.shards.is_empty() {
            return Err(Error::State(
                "a panic took a shard of this runner; build a new one and load into it".to_owned(),
            ));
        }
        if shards.len() != self.shards.len() {
            let (found, expected) = (shards.len(), self.shards.len());
            return Err(Error::State(format!("the state has {found} shards, this runner {expected}")));
        }
        self.between_rounds = false;
        for (shard, saved) in self.shards.iter_mut().zip(&shards) {
            shard.restore(saved)?;
        }
        self.round = header.round;
        self.between_rounds = true;
        Ok(())
    }

    /// Plays one round in every shard, here or in the threads.
    fn play(&mut self, snapshot: &Arc<Snapshot>) -> Result<Vec<ShardRound<E::Obs, E::Action>>> {
        let steps = self.config.steps_per_round;
        let Some(pool) = &self.pool else {
            return self.shards.iter_mut().map(|s| s.collect(snapshot, steps, &self.stop)).collect();
        };
        let returned = pool.collect(std::mem::take(&mut self.shards), snapshot, steps, &self.stop)?;
        let (shards, outcomes): (Vec<_>, Vec<_>) =
            returned.into_iter().map(|Returned { shard, outcome }| (shard, outcome)).unzip();
        self.shards = shards.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default();
        first_error_or_all(outcomes)
    }

    fn header(&self) -> RunnerState {
        RunnerState {
            env: self.spec.id.clone(),
            num_envs: self.config.num_envs,
            shard_size: self.config.shard_size,
            steps_per_round: self.config.steps_per_round,
            seed: self.seed,
            round: self.round,
        }
    }

    fn require_between_rounds(&self) -> Result<()> {
        if self.between_rounds {
            return Ok(());
        }
        Err(Error::State("the last round of this runner failed half-way; load a saved state first".to_owned()))
    }
}

/// All environments (`make_env(j)` for slot `j`) in shards, with one actor each.
pub(super) fn make_shards<E: Env>(
    mut make_env: impl FnMut(usize) -> Result<E>,
    mut make_actor: impl FnMut() -> Result<Box<dyn Actor<E::Obs, E::Action>>>,
    config: &RunnerConfig,
    seed: Seed,
) -> Result<Vec<Shard<E>>> {
    let mut shards = Vec::with_capacity(config.num_shards());
    for number in 0..config.num_shards() {
        let first = number * config.shard_size;
        let last = (first + config.shard_size).min(config.num_envs);
        let envs = (first..last).map(&mut make_env).collect::<Result<Vec<E>>>()?;
        let envs = VecEnv::new(envs, first, seed)?;
        shards.push(Shard::new(number, envs, make_actor()?, &seed));
    }
    Ok(shards)
}

/// The spec of slot 0, if all others say the same.
pub(super) fn common_spec<E: Env>(shards: &[Shard<E>]) -> Result<EnvSpec> {
    let mut specs = shards.iter().flat_map(|s| (0..s.envs().len()).filter_map(|i| s.envs().env(i)).map(Env::spec));
    let first = specs.next().ok_or_else(|| Error::State("a runner without env slots".to_owned()))?;
    match specs.find(|other| *other != first) {
        None => Ok(first.clone()),
        Some(other) => Err(Error::State(format!(
            "all env slots of a runner must have the same spec; one is {}, another {} with different shapes or texts",
            first.id, other.id
        ))),
    }
}

/// All rounds, or the error of the first shard that has one other than an interruption: errors are facts about the
/// work, an interruption is only about when it ended.
fn first_error_or_all<T>(outcomes: Vec<Result<T>>) -> Result<Vec<T>> {
    let mut rounds = Vec::with_capacity(outcomes.len());
    let mut interrupted = false;
    for outcome in outcomes {
        match outcome {
            Ok(round) => rounds.push(round),
            Err(Error::Interrupted) => interrupted = true,
            Err(error) => return Err(error),
        }
    }
    if interrupted { Err(Error::Interrupted) } else { Ok(rounds) }
}

/// That a shard acted with the parameters it was sent.
fn require_version<O, A>(number: usize, round: &ShardRound<O, A>, sent: &Snapshot) -> Result<()> {
    if round.version == sent.version && round.checksum == sent.checksum {
        return Ok(());
    }
    Err(Error::State(format!(
        "shard {number} acted with parameters version {} ({}), sent were version {} ({})",
        round.version, round.checksum, sent.version, sent.checksum
    )))
}

#[cfg(test)]
mod tests {
    use super::super::testing::snapshot;
    use super::*;

    #[test]
    fn a_shard_that_acted_with_other_parameters_is_noticed() {
        let round = |version, checksum: &str| ShardRound::<(), ()> {
            segments: Vec::new(),
            records: Vec::new(),
            version,
            checksum: checksum.to_owned(),
        };
        let sent = snapshot(3);
        require_version(0, &round(3, "sum-3"), &sent).unwrap();
        let stale = require_version(1, &round(2, "sum-2"), &sent).unwrap_err().to_string();
        assert!(stale.contains("shard 1 acted with parameters version 2 (sum-2), sent were version 3"), "{stale}");
        require_version(1, &round(3, "sum-2"), &sent).unwrap_err();
    }

    #[test]
    fn an_error_outranks_an_interruption_and_the_first_shard_outranks_later_ones() {
        let failed = |message: &str| Err(Error::State(message.to_owned()));
        let error = first_error_or_all(vec![Ok(0), Err(Error::Interrupted), failed("a"), failed("b")]).unwrap_err();
        assert_eq!(error.to_string(), "cannot restore: a");
        assert!(matches!(first_error_or_all(vec![Err(Error::Interrupted), Ok(0)]), Err(Error::Interrupted)));
        assert_eq!(first_error_or_all(vec![Ok(1), Ok(2)]).unwrap(), [1, 2]);
    }
}
