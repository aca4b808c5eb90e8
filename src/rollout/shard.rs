//! A fixed group of env slots with the actor that decides for them.

use super::record::{ActionDigest, EpisodeRecord};
use crate::agent::{Actor, Decision, Mode, Segment, Snapshot, Stop, Transition};
use crate::env::{Env, SlotState, SlotStep, VecEnv};
use crate::rng::{Seed, StreamRng};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The unit of work of a runner. Which slots belong to a shard depends on the settings only, so the tensors that its
/// actor computes with have the same shapes, and the results the same bits, whatever thread plays it.
pub(super) struct Shard<E: Env> {
    number: usize,
    envs: VecEnv<E>,
    actor: Box<dyn Actor<E::Obs, E::Action>>,
    /// What the actor loaded last. Held so that comparing addresses is safe.
    loaded: Option<Arc<Snapshot>>,
    /// Stream that decisions of a slot draw from, `[num_slots]`.
    streams: Vec<StreamRng>,
    /// Actions of the running episode of a slot, `[num_slots]`.
    digests: Vec<ActionDigest>,
    /// Env steps each slot has taken.
    slot_steps: u64,
}

/// What a shard did in one round, and with which parameters.
pub(super) struct ShardRound<O, A> {
    pub segments: Vec<Segment<O, A>>,
    pub records: Vec<EpisodeRecord>,
    /// Version the actor holds.
    pub version: u64,
    /// Checksum of the parameters the actor holds.
    pub checksum: String,
}

/// The saved form of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShardState {
    slots: Vec<SlotState>,
    streams: Vec<StreamRng>,
    digests: Vec<ActionDigest>,
    slot_steps: u64,
}

impl<E: Env> Shard<E> {
    /// Decisions of slot `j` draw from the stream `env / j / action` under `seed`.
    pub fn new(number: usize, envs: VecEnv<E>, actor: Box<dyn Actor<E::Obs, E::Action>>, seed: &Seed) -> Self {
        let slots = envs.first_slot()..envs.first_slot() + envs.len();
        let streams = slots.map(|j| seed.child("env").index(j as u64).child("action").rng()).collect();
        let digests = vec![ActionDigest::default(); envs.len()];
        Self { number, envs, actor, loaded: None, streams, digests, slot_steps: 0 }
    }

    pub fn number(&self) -> usize {
        self.number
    }

    pub fn envs(&self) -> &VecEnv<E> {
        &self.envs
    }

    /// Plays `steps` env steps in every slot. After an error the shard is in the middle of a round.
    pub fn collect(
        &mut self,
        snapshot: &Arc<Snapshot>,
        steps: usize,
        stop: &Stop,
    ) -> Result<ShardRound<E::Obs, E::Action>> {
        self.load(snapshot)?;
        let first = self.envs.first_slot();
        let mut segments: Vec<_> =
            (0..self.envs.len()).map(|i| Segment { env: first + i, steps: Vec::with_capacity(steps) }).collect();
        let mut records = Vec::new();
        for _ in 0..steps {
            stop.check()?;
            self.step(&mut segments, &mut records)?;
        }
        let held = self.loaded.as_ref().unwrap_or(snapshot);
        Ok(ShardRound { segments, records, version: held.version, checksum: held.checksum.clone() })
    }

    pub fn save(&self) -> Result<ShardState> {
        Ok(ShardState {
            slots: self.envs.save()?,
            streams: self.streams.clone(),
            digests: self.digests.clone(),
            slot_steps: self.slot_steps,
        })
    }

    pub fn restore(&mut self, state: &ShardState) -> Result<()> {
        let expected = self.envs.len();
        if state.streams.len() != expected || state.digests.len() != expected {
            return Err(Error::State(format!(
                "shard {} has {expected} env slots, the state {} action streams and {} digests",
                self.number,
                state.streams.len(),
                state.digests.len()
            )));
        }
        self.envs.restore(&state.slots)?;
        self.streams.clone_from(&state.streams);
        self.digests.clone_from(&state.digests);
        self.slot_steps = state.slot_steps;
        Ok(())
    }

    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        if self.loaded.as_ref().is_some_and(|held| Arc::ptr_eq(held, snapshot)) {
            return Ok(());
        }
        // Forgotten first: an actor that fails half-way holds neither the old parameters nor the new ones.
        self.loaded = None;
        self.actor.load(snapshot)?;
        self.loaded = Some(Arc::clone(snapshot));
        Ok(())
    }

    fn step(&mut self, segments: &mut [Segment<E::Obs, E::Action>], records: &mut Vec<EpisodeRecord>) -> Result<()> {
        let decisions = self.actor.act(self.envs.observations(), &mut self.streams, Mode::Train)?;
        if decisions.len() != self.envs.len() {
            let (found, expected) = (decisions.len(), self.envs.len());
            return Err(Error::State(format!("the actor made {found} decisions for {expected} observations")));
        }
        self.slot_steps += 1;
        for (index, decision) in decisions.into_iter().enumerate() {
            records.extend(self.step_slot(index, decision, &mut segments[index].steps)?);
        }
        Ok(())
    }

    /// Steps one slot, appends the transition, and returns the record of the episode if that ended it.
    fn step_slot(
        &mut self,
        index: usize,
        decision: Decision<E::Action>,
        transitions: &mut Vec<Transition<E::Obs, E::Action>>,
    ) -> Result<Option<EpisodeRecord>> {
        let env = self.envs.first_slot() + index;
        let obs = Arc::clone(&self.envs.observations()[index]);
        let Decision { action, log_prob } = decision;
        self.require_finite("log_prob", f64::from(log_prob), env)?;
        let SlotStep { reward, status, next_obs, ended } = self.envs.step_slot(index, &action)?;
        self.require_finite("reward", reward, env)?;
        self.digests[index].push(&action)?;
        transitions.push(Transition { obs, action, log_prob, reward, status, next_obs });
        Ok(ended.map(|ended| EpisodeRecord {
            env,
            episode: ended.episode,
            slot_steps: self.slot_steps,
            episode_return: ended.totals.episode_return,
            length: ended.totals.length,
            status,
            actions: self.digests[index].finish(),
        }))
    }

    fn require_finite(&self, name: &str, value: f64, env: usize) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        Err(Error::NonFinite {
            name: name.to_owned(),
            update: self.loaded.as_ref().map_or(0, |s| s.version),
            detail: format!("{value} in env slot {env} at its env step {}", self.slot_steps),
        })
    }
}
