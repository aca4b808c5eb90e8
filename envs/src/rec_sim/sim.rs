//! The core simulator: the loop over a [`Model`] without building observations.

use super::shared::{LoopConfig, Model, Outcome, StepFacts, check_slate};
use retune::env::{EnvError, EnvState, Status};
use retune::rng::{Seed, StreamRng};
use serde::{Deserialize, Serialize};

/// Everything a continuation depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Running<U, D> {
    /// Seed that the streams come from.
    seed: u64,
    /// Number of the episode within the seed, from 0.
    episode: u64,
    /// Steps taken in it.
    steps: u64,
    status: Status,
    user: U,
    candidates: Vec<D>,
    candidate_rng: StreamRng,
    dynamics_rng: StreamRng,
    last: Option<StepFacts>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved<S> {
    fingerprint: String,
    running: Option<S>,
}

/// A user who is offered candidates and shown slates.
///
/// Randomness comes from the streams `users`, `candidates` and `dynamics`, keyed by seed and episode. Each step takes
/// the same numbers from each stream whatever the slate, so every policy meets the same users and candidates.
#[derive(Clone, Debug)]
pub struct Sim<M: Model> {
    model: M,
    running: Option<Running<M::User, M::Doc>>,
    scores: Vec<f64>,
}

impl<M: Model> Sim<M> {
    /// A simulator without a user: [`Sim::reset`] first.
    #[must_use]
    pub fn new(model: M) -> Self {
        Self { model, running: None, scores: Vec::new() }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The user with everything that is hidden; `None` before the first reset.
    #[must_use]
    pub fn user(&self) -> Option<&M::User> {
        self.running.as_ref().map(|r| &r.user)
    }

    /// The current candidates with everything that is hidden; empty before the first reset.
    #[must_use]
    pub fn candidates(&self) -> &[M::Doc] {
        self.running.as_ref().map_or(&[], |r| &r.candidates)
    }

    /// What happened in the last step of this episode; `None` right after a reset.
    #[must_use]
    pub fn last_step(&self) -> Option<&StepFacts> {
        self.running.as_ref().and_then(|r| r.last.as_ref())
    }

    /// Steps taken in this episode.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.running.as_ref().map_or(0, |r| r.steps)
    }

    /// How the last step left the episode; `None` before the first reset.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.running.as_ref().map(|r| r.status)
    }

    /// Begins an episode: a new user, then new candidates.
    ///
    /// `Some(seed)` begins episode 0 of that seed, `None` the next one of the current seed (episode 0 of the
    /// configured seed if there was none).
    pub fn reset(&mut self, seed: Option<u64>) {
        let LoopConfig { seed: default, resample_documents, .. } = *self.model.loop_config();
        let (seed, episode, kept) = match (seed, self.running.take()) {
            (Some(seed), old) => (seed, 0, old.map(|r| (r.candidates, r.candidate_rng, false))),
            (None, None) => (default, 0, None),
            (None, Some(old)) => {
                (old.seed, old.episode.wrapping_add(1), Some((old.candidates, old.candidate_rng, !resample_documents)))
            }
        };
        let root = Seed::root(seed).child("rec_sim");
        let user = self.model.sample_user(&mut root.child("users").index(episode).rng());
        let (candidates, candidate_rng) = match kept {
            // One set of candidates for the whole life of a seed.
            Some((candidates, rng, true)) => (candidates, rng),
            other => {
                let mut candidates = other.map(|(buffer, ..)| buffer).unwrap_or_default();
                let mut rng = root.child("candidates").index(episode).rng();
                self.model.sample_candidates(&mut rng, &mut candidates);
                (candidates, rng)
            }
        };
        let dynamics_rng = root.child("dynamics").index(episode).rng();
        let status = Status::Running;
        self.running = Some(Running {
            seed,
            episode,
            steps: 0,
            status,
            user,
            candidates,
            candidate_rng,
            dynamics_rng,
            last: None,
        });
    }

    /// Shows `slate`.
    ///
    /// # Errors
    /// [`EnvError::Action`] (see [`check_slate`]), then [`EnvError::EpisodeOver`]; nothing has then changed.
    pub fn step(&mut self, slate: &[u32]) -> Result<Outcome, EnvError> {
        let LoopConfig { num_candidates, slate_size, resample_documents, .. } = *self.model.loop_config();
        check_slate(slate, slate_size, num_candidates)?;
        let running = self.running.as_mut().filter(|r| r.status == Status::Running).ok_or(EnvError::EpisodeOver)?;
        self.model.score(&running.user, &running.candidates, slate, &mut self.scores)?;
        let draws = self.model.draw(&mut running.dynamics_rng);
        let outcome = self.model.transition(&mut running.user, &running.candidates, slate, &self.scores, draws);
        let last = running.last.get_or_insert_default();
        last.slate.clear();
        last.slate.extend(slate.iter().map(|&i| self.model.facts(&running.candidates[i as usize])));
        (last.chosen, last.reward) = (outcome.chosen, outcome.reward);
        running.steps += 1;
        if outcome.terminated {
            running.status = Status::Terminated;
        }
        if resample_documents {
            self.model.sample_candidates(&mut running.candidate_rng, &mut running.candidates);
        }
        Ok(outcome)
    }

    /// The exact state.
    ///
    /// # Errors
    /// If it cannot be expressed.
    pub fn save(&self) -> Result<EnvState, EnvError> {
        let saved = Saved { fingerprint: self.model.fingerprint().to_owned(), running: self.running.as_ref() };
        let state = serde_json::to_value(&saved).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: self.model.spec().id.clone(), state })
    }

    /// Goes back to a saved state.
    ///
    /// # Errors
    /// [`EnvError::State`] if it belongs to another environment, other settings or other items; the current state is
    /// then kept.
    pub fn restore(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let id = &self.model.spec().id;
        if state.env != *id {
            return Err(EnvError::State(format!("it belongs to {}, not to {id}", state.env)));
        }
        let saved: Saved<Running<M::User, M::Doc>> = serde::Deserialize::deserialize(&state.state)
            .map_err(|e: serde_json::Error| EnvError::State(e.to_string()))?;
        if saved.fingerprint != self.model.fingerprint() {
            return Err(EnvError::State(format!(
                "it was saved with other settings or items: {}, not {}",
                saved.fingerprint,
                self.model.fingerprint()
            )));
        }
        if let Some(running) = &saved.running {
            let expected = self.model.loop_config().num_candidates;
            if running.candidates.len() != expected {
                let actual = running.candidates.len();
                return Err(EnvError::State(format!("{actual} candidates, expected {expected}")));
            }
            self.model.check(&running.user, &running.candidates).map_err(EnvError::State)?;
        }
        self.running = saved.running;
        Ok(())
    }
}
