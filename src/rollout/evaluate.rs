//! Measuring an actor on a given list of episodes.

use super::record::ActionDigest;
use crate::agent::{Actor, Decision, Mode, Snapshot, Stop};
use crate::env::{Env, EpisodeStats, Status, Step, TimeLimit};
use crate::rng::{Seed, StreamRng};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which episodes are played, and how.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// Episode `i` begins with `reset(Some(seeds[i]))`, and its decisions draw from a stream that this seed alone
    /// determines: every actor that is given the same seeds meets the same users (common random numbers).
    pub seeds: &'a [u64],
    /// Episodes played side by side, at least 1. When one ends, its place goes to the next seed of the list.
    pub batch: usize,
    /// [`Mode::Evaluate`] to measure what was learnt, [`Mode::Train`] to measure the exploring policy.
    pub mode: Mode,
    /// Env steps after which an episode is cut, beside the limit its spec may declare: a safeguard against episodes
    /// without an end. A cut episode is recorded as [`Status::Truncated`].
    pub time_limit: Option<u64>,
}

/// One evaluated episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRecord {
    /// Position in [`Evaluation::seeds`].
    pub episode: usize,
    /// Its seed.
    pub seed: u64,
    /// Sum of the rewards, undiscounted, in the unit of [`crate::env::EnvSpec::reward_unit`].
    #[serde(rename = "return")]
    pub episode_return: f64,
    /// Env steps.
    pub length: u64,
    /// How it ended: terminated or truncated.
    pub status: Status,
    /// Digest of the actions in order, as in [`super::EpisodeRecord::actions`].
    pub actions: String,
}

/// One step of an evaluated episode, for measures that only the caller knows.
#[derive(Debug)]
pub struct Observed<'a, E: Env> {
    /// Position in [`Evaluation::seeds`].
    pub episode: usize,
    /// The environment after the step, before any reset.
    pub env: &'a E,
    /// What the actor saw.
    pub obs: &'a E::Obs,
    /// What it did.
    pub action: &'a E::Action,
    /// What came of it.
    pub step: &'a Step<E::Obs>,
}

/// Plays exactly the given episodes and returns their records in the order of the seeds.
///
/// Nothing is shared with training: environments are built for the purpose (`make_env(i)` for place `i`), and the
/// random streams depend on the seeds of the episodes alone. So the result does not depend on the batch, as far as the
/// actor's decision for an observation does not depend on the others in the same call (matrix products may round
/// differently in another shape). `observer` sees every step; within an episode in time order, while the steps of
/// several episodes alternate.
///
/// # Errors
/// If a setting is out of range, an environment or the actor fails, a reward or log-probability is not finite, or
/// `observer` returns an error; [`Error::Interrupted`] between two env steps after a request to stop.
pub fn evaluate<E: Env>(
    make_env: impl FnMut(usize) -> Result<E>,
    actor: &mut dyn Actor<E::Obs, E::Action>,
    snapshot: &Arc<Snapshot>,
    evaluation: &Evaluation<'_>,
    stop: &Stop,
    observer: &mut dyn FnMut(Observed<'_, E>) -> Result<()>,
) -> Result<Vec<EvaluationRecord>> {
    if evaluation.batch == 0 {
        return Err(Error::config("batch", 0, "expected at least 1 episode side by side"));
    }
    actor.load(snapshot)?;
    let mut table = Table::new(make_env, evaluation)?;
    let mut records: Vec<Option<EvaluationRecord>> = vec![None; evaluation.seeds.len()];
    while !table.places.is_empty() {
        stop.check()?;
        let decisions = actor.act(&table.obs, &mut table.streams, evaluation.mode)?;
        if decisions.len() != table.places.len() {
            let (found, expected) = (decisions.len(), table.places.len());
            return Err(Error::State(format!("the actor made {found} decisions for {expected} observations")));
        }
        for record in table.step(decisions, evaluation, observer)? {
            let episode = record.episode;
            records[episode] = Some(record);
        }
    }
    // The table is empty only when every seed has been played to its end.
    Ok(records.into_iter().flatten().collect())
}

/// The episodes that are being played.
struct Table<E: Env> {
    places: Vec<Place<E>>,
    /// What each place shows, `[num_places]`.
    obs: Vec<Arc<E::Obs>>,
    /// Action stream of the episode at each place, `[num_places]`.
    streams: Vec<StreamRng>,
    /// Position of the next seed to be played.
    next: usize,
}

struct Place<E> {
    env: EpisodeStats<TimeLimit<E>>,
    episode: usize,
    digest: ActionDigest,
}

impl<E: Env> Table<E> {
    fn new(mut make_env: impl FnMut(usize) -> Result<E>, evaluation: &Evaluation<'_>) -> Result<Self> {
        let size = evaluation.batch.min(evaluation.seeds.len());
        let mut table = Self { places: Vec::with_capacity(size), obs: Vec::new(), streams: Vec::new(), next: size };
        for (i, &seed) in evaluation.seeds.iter().enumerate().take(size) {
            let env = EpisodeStats::new(with_limit(make_env(i)?, evaluation.time_limit)?);
            let mut place = Place { env, episode: i, digest: ActionDigest::default() };
            table.obs.push(place.begin(i, seed)?);
            table.streams.push(action_stream(seed));
            table.places.push(place);
        }
        Ok(table)
    }

    /// Steps every place; episodes that end are recorded and make room for the next seeds.
    fn step(
        &mut self,
        decisions: Vec<Decision<E::Action>>,
        evaluation: &Evaluation<'_>,
        observer: &mut dyn FnMut(Observed<'_, E>) -> Result<()>,
    ) -> Result<Vec<EvaluationRecord>> {
        let mut records = Vec::new();
        let mut ended = Vec::new();
        for (i, decision) in decisions.into_iter().enumerate() {
            let place = &mut self.places[i];
            let step = place.step(&decision, &self.obs[i], observer)?;
            if step.status.is_over() {
                records.push(place.record(evaluation.seeds[place.episode], step.status));
                ended.push(i);
            } else {
                self.obs[i] = Arc::new(step.obs);
            }
        }
        // From the back, so that removing a place does not move those still to be handled. The earliest place gets the
        // last of the new seeds then, which nobody can tell from the records.
        for i in ended.into_iter().rev() {
            self.replace(i, evaluation.seeds)?;
        }
        Ok(records)
    }

    fn replace(&mut self, i: usize, seeds: &[u64]) -> Result<()> {
        if let Some(&seed) = seeds.get(self.next) {
            self.obs[i] = self.places[i].begin(self.next, seed)?;
            self.streams[i] = action_stream(seed);
            self.next += 1;
        } else {
            self.places.remove(i);
            self.obs.remove(i);
            self.streams.remove(i);
        }
        Ok(())
    }
}

impl<E: Env> Place<E> {
    fn begin(&mut self, episode: usize, seed: u64) -> Result<Arc<E::Obs>> {
        self.episode = episode;
        self.digest = ActionDigest::default();
        self.env.reset(Some(seed)).map(Arc::new).map_err(|e| self.refused(e))
    }

    fn step(
        &mut self,
        decision: &Decision<E::Action>,
        obs: &E::Obs,
        observer: &mut dyn FnMut(Observed<'_, E>) -> Result<()>,
    ) -> Result<Step<E::Obs>> {
        self.require_finite("log_prob", f64::from(decision.log_prob))?;
        let step = self.env.step(&decision.action).map_err(|e| self.refused(e))?;
        self.require_finite("reward", step.reward)?;
        self.digest.push(&decision.action)?;
        let env = self.env.inner().inner();
        observer(Observed { episode: self.episode, env, obs, action: &decision.action, step: &step })?;
        Ok(step)
    }

    fn record(&mut self, seed: u64, status: Status) -> EvaluationRecord {
        let totals = self.env.totals();
        EvaluationRecord {
            episode: self.episode,
            seed,
            episode_return: totals.episode_return,
            length: totals.length,
            status,
            actions: self.digest.finish(),
        }
    }

    fn require_finite(&self, name: &str, value: f64) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        let detail =
            format!("{value} in evaluation episode {}, after {} steps", self.episode, self.env.totals().length);
        Err(Error::NonFinite { name: name.to_owned(), update: 0, detail })
    }

    fn refused(&self, source: crate::env::EnvError) -> Error {
        Error::EnvSlot { env: self.episode, episode: 0, source }
    }
}

/// The tighter of the limit that the spec declares and the one asked for.
fn with_limit<E: Env>(env: E, limit: Option<u64>) -> Result<TimeLimit<E>> {
    let declared = env.spec().time_limit;
    Ok(match limit {
        Some(limit) => TimeLimit::new(env, declared.map_or(limit, |d| d.min(limit)))?,
        None => TimeLimit::from_spec(env)?,
    })
}

/// The stream that decisions of the episode with this seed draw from.
fn action_stream(seed: u64) -> StreamRng {
    Seed::root(seed).child("evaluation").child("action").rng()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ShopActor, snapshot};
    use super::*;
    use crate::env::testing::{Counter, Shop};
    use crate::env::{CandidateObs, Slate};

    const SEEDS: [u64; 7] = [3, 1, 4, 15, 9, 2, 6];

    fn play(batch: usize, seeds: &[u64]) -> Vec<EvaluationRecord> {
        let mut actor = ShopActor::default();
        let plan = Evaluation { seeds, batch, mode: Mode::Evaluate, time_limit: None };
        evaluate(|_| Ok(Shop::new()), &mut actor, &snapshot(1), &plan, &Stop::new(), &mut |_| Ok(())).unwrap()
    }

    #[test]
    fn records_do_not_depend_on_the_batch_or_the_order() {
        let one = play(1, &SEEDS);
        assert_eq!(one.iter().map(|r| r.seed).collect::<Vec<_>>(), SEEDS);
        for batch in [2, 3, 7, 100] {
            assert_eq!(play(batch, &SEEDS), one);
        }
        let mut reversed = SEEDS;
        reversed.reverse();
        for (a, b) in play(3, &reversed).iter().rev().zip(&one) {
            assert_eq!((a.seed, a.episode_return, &a.actions), (b.seed, b.episode_return, &b.actions));
        }
        // Negative control: other seeds are other episodes.
        assert_ne!(play(3, &[16; 7])[0].actions, one[0].actions);
        assert!(play(3, &[]).is_empty());
    }

    #[test]
    fn the_observer_sees_every_step_in_time_order() {
        let mut lengths = [0u64; SEEDS.len()];
        let mut returns = [0.0; SEEDS.len()];
        let mut last: Vec<Option<CandidateObs>> = vec![None; SEEDS.len()];
        let plan = Evaluation { seeds: &SEEDS, batch: 3, mode: Mode::Evaluate, time_limit: None };
        let mut observer = |seen: Observed<'_, Shop>| {
            if let Some(previous) = last[seen.episode].replace(seen.step.obs.clone()) {
                assert_eq!(&previous, seen.obs);
            }
            assert_eq!(seen.env.save_state()?.state["obs"], serde_json::to_value(&seen.step.obs).unwrap());
            lengths[seen.episode] += 1;
            returns[seen.episode] += seen.step.reward;
            Ok(())
        };
        let mut actor = ShopActor::default();
        let records =
            evaluate(|_| Ok(Shop::new()), &mut actor, &snapshot(1), &plan, &Stop::new(), &mut observer).unwrap();
        assert!(records.iter().all(|r| r.length == lengths[r.episode] && r.episode_return == returns[r.episode]));
    }

    /// Never takes action 1, so the counter never ends.
    struct Idle;

    impl Actor<Vec<f32>, u32> for Idle {
        fn load(&mut self, _: &Arc<Snapshot>) -> Result<()> {
            Ok(())
        }

        fn act(&mut self, obs: &[Arc<Vec<f32>>], _: &mut [StreamRng], _: Mode) -> Result<Vec<Decision<u32>>> {
            Ok(obs.iter().map(|_| Decision { action: 0, log_prob: 0.0 }).collect())
        }
    }

    fn idle(time_limit: Option<u64>, batch: usize, stop: &Stop) -> Result<Vec<EvaluationRecord>> {
        let plan = Evaluation { seeds: &SEEDS, batch, mode: Mode::Evaluate, time_limit };
        evaluate(|_| Ok(Counter::new(3)), &mut Idle, &snapshot(1), &plan, stop, &mut |_| Ok(()))
    }

    #[test]
    fn the_safeguard_cuts_endless_episodes_and_says_so() {
        let records = idle(Some(5), 2, &Stop::new()).unwrap();
        assert!(records.iter().all(|r| r.status == Status::Truncated && r.length == 5));
    }

    #[test]
    fn a_request_to_stop_and_bad_settings_end_it() {
        let stop = Stop::new();
        stop.request();
        assert!(matches!(idle(None, 2, &stop), Err(Error::Interrupted)));
        assert!(idle(Some(5), 0, &Stop::new()).unwrap_err().to_string().starts_with("batch = 0"));
        assert!(idle(Some(0), 2, &Stop::new()).unwrap_err().to_string().starts_with("time_limit = 0"));
    }

    #[test]
    fn a_slate_the_env_refuses_names_the_episode() {
        struct Bad;
        impl Actor<CandidateObs, Slate> for Bad {
            fn load(&mut self, _: &Arc<Snapshot>) -> Result<()> {
                Ok(())
            }
            fn act(&mut self, o: &[Arc<CandidateObs>], _: &mut [StreamRng], _: Mode) -> Result<Vec<Decision<Slate>>> {
                Ok(o.iter().map(|_| Decision { action: Slate(vec![0, 0]), log_prob: 0.0 }).collect())
            }
        }
        let plan = Evaluation { seeds: &SEEDS, batch: 2, mode: Mode::Evaluate, time_limit: None };
        let error = evaluate(|_| Ok(Shop::new()), &mut Bad, &snapshot(1), &plan, &Stop::new(), &mut |_| Ok(()));
        assert!(error.unwrap_err().to_string().contains("duplicate_item"));
    }
}
