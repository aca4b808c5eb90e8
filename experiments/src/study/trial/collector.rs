//! Where experience comes from: actors that take turns with the learner, or actors that run freely.

use crate::study::{Collection, Plan, TrainMode};
use retune::Result;
use retune::agent::{Actor, Metrics, Rollout, Snapshot, Stop};
use retune::env::Env;
use retune::persist::StateDict;
use retune::rng::Seed;
use retune::rollout::{EpisodeRecord, FreeConfig, FreeRunner, LagHistogram, Runner, RunnerConfig};
use std::sync::Arc;

/// A runner of either kind.
pub enum Collector<E: Env> {
    /// The same bits for any number of threads.
    InTurn(Runner<E>),
    /// Faster where env steps are slow.
    Free(FreeRunner<E>),
}

/// One round.
pub struct Collected<O, A> {
    /// What all env slots did.
    pub rollout: Rollout<O, A>,
    /// Episodes that ended.
    pub episodes: Vec<EpisodeRecord>,
    /// What there is to say about free-running actors: `policy_lag_mean` and `policy_lag_max` over the transitions of
    /// the round (rounds of learning that the acting parameters lacked), `policy_lag_waits` (shards that had to wait
    /// for newer parameters).
    pub metrics: Metrics,
    /// Policy lag of the transitions; empty where actors take turns with the learner.
    pub lags: LagHistogram,
}

impl<E: Env + 'static> Collector<E> {
    /// A runner as `plan` asks for.
    ///
    /// # Errors
    /// As [`Runner::new`] and [`FreeRunner::new`].
    pub fn new(
        make_env: impl Fn() -> Result<E>,
        make_actor: impl FnMut() -> Result<Box<dyn Actor<E::Obs, E::Action>>>,
        plan: &Plan,
        collection: Collection,
        seed: Seed,
        stop: &Stop,
    ) -> Result<Self> {
        let Collection { num_envs, shard_size, steps_per_round } = collection;
        let config = RunnerConfig { num_envs, shard_size, steps_per_round, actors: plan.actors };
        Ok(match plan.train.mode {
            TrainMode::Deterministic => Self::InTurn(Runner::new(|_| make_env(), make_actor, &config, seed, stop)?),
            TrainMode::Free => {
                let rounds = plan.train.env_steps.div_ceil(collection.env_steps_per_round().max(1));
                let free = FreeConfig { max_lag: plan.train.max_lag, rounds };
                Self::Free(FreeRunner::new(|_| make_env(), make_actor, &config, free, seed, stop)?)
            }
        })
    }

    /// Plays or fetches the next round.
    ///
    /// # Errors
    /// As [`Runner::collect`] and [`FreeRunner::collect`].
    pub fn collect(&mut self, snapshot: &Arc<Snapshot>) -> Result<Collected<E::Obs, E::Action>> {
        match self {
            Self::InTurn(runner) => {
                let (rollout, episodes) = runner.collect(snapshot)?;
                Ok(Collected { rollout, episodes, metrics: Metrics::new(), lags: LagHistogram::default() })
            }
            Self::Free(runner) => {
                let round = runner.collect(snapshot)?;
                let metrics = Metrics::from([
                    ("policy_lag_mean".to_owned(), round.lags.mean()),
                    ("policy_lag_max".to_owned(), round.lags.max() as f64),
                    ("policy_lag_waits".to_owned(), round.refused as f64),
                ]);
                Ok(Collected { rollout: round.rollout, episodes: round.records, metrics, lags: round.lags })
            }
        }
    }

    /// Brings everything home, so that it can be saved once [`Collector::buffered`] is 0.
    ///
    /// # Errors
    /// As [`FreeRunner::settle`].
    pub fn settle(&mut self) -> Result<()> {
        match self {
            Self::InTurn(_) => Ok(()),
            Self::Free(runner) => runner.settle(),
        }
    }

    /// Rounds that were played and not yet collected.
    pub fn buffered(&self) -> usize {
        match self {
            Self::InTurn(_) => 0,
            Self::Free(runner) => runner.buffered(),
        }
    }

    /// Puts the complete state into `state`.
    ///
    /// # Errors
    /// As [`Runner::save`] and [`FreeRunner::save`].
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        match self {
            Self::InTurn(runner) => runner.save(state, prefix),
            Self::Free(runner) => runner.save(state, prefix),
        }
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// As [`Runner::load`] and [`FreeRunner::load`].
    pub fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        match self {
            Self::InTurn(runner) => runner.load(state, prefix),
            Self::Free(runner) => runner.load(state, prefix),
        }
    }
}
