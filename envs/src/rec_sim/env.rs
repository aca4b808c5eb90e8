//! The agent's view of a simulator.

use super::shared::{Model, Reveals, StepFacts};
use super::sim::Sim;
use retune::env::{
    CandidateObs, Env, EnvError, EnvSpec, EnvState, Feedback, HistoryEvent, ItemOutcome, ObsSpec, Slate, Status, Step,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Numbers per history event: whether something was consumed (0 or 1), its reward as the response reports it, and the
/// quality seen; all 0 where nothing was chosen.
pub const HISTORY_DIM: usize = 3;

/// A recommendation environment: [`Sim`] with observations.
///
/// The action is exactly `slate_size` distinct indices into the current candidates. Refused in this order:
/// `wrong_slate_length`, `index_out_of_range`, `duplicate_item` (all [`EnvError::Action`]), then
/// [`EnvError::EpisodeOver`]. There is no time limit inside.
///
/// `obs.feedback` has one response per slate position. Its `quality` is that of every item shown where items have no
/// text, as in RecSim, and only that of the consumed item in the text form.
#[derive(Clone, Debug)]
pub struct RecSim<M: Model> {
    sim: Sim<M>,
    history: VecDeque<HistoryEvent>,
    history_len: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    sim: serde_json::Value,
    history: VecDeque<HistoryEvent>,
}

impl<M: Model> RecSim<M> {
    /// The environment of this model.
    #[must_use]
    pub fn from_model(model: M) -> Self {
        let history_len = match &model.spec().obs {
            ObsSpec::Candidates(spec) => spec.history_len,
            _ => 0,
        };
        Self { sim: Sim::new(model), history: VecDeque::with_capacity(history_len), history_len }
    }

    /// The simulator with everything that is hidden from agents: for references and evaluation only.
    #[must_use]
    pub fn sim(&self) -> &Sim<M> {
        &self.sim
    }

    fn observe(&self) -> Result<CandidateObs, EnvError> {
        let user = self.sim.user().ok_or(EnvError::EpisodeOver)?;
        let mut obs = self.sim.model().observe(user, self.sim.candidates());
        obs.history = self.history.iter().cloned().collect();
        obs.feedback = self.sim.last_step().map(|facts| feedback(self.sim.model(), facts));
        Ok(obs)
    }

    fn remember(&mut self) {
        let Some(facts) = self.sim.last_step().filter(|_| self.history_len > 0) else { return };
        let event = match facts.consumed() {
            Some(item) => HistoryEvent {
                text: item.text,
                features: vec![1.0, self.sim.model().reported(facts.reward) as f32, item.quality as f32],
            },
            None => HistoryEvent { text: None, features: vec![0.0; HISTORY_DIM] },
        };
        if self.history.len() == self.history_len {
            self.history.pop_front();
        }
        self.history.push_back(event);
    }
}

fn feedback<M: Model>(model: &M, facts: &StepFacts) -> Feedback {
    let outcomes = facts.slate.iter().enumerate().map(|(i, item)| {
        let clicked = facts.chosen == Some(i);
        let revealed = match model.reveals() {
            Reveals::Shown => true,
            Reveals::Consumed => clicked,
            Reveals::Nothing => false,
        };
        ItemOutcome {
            clicked,
            reward: if clicked { model.reported(facts.reward) as f32 } else { 0.0 },
            quality: revealed.then_some(item.quality as f32),
        }
    });
    Feedback { outcomes: outcomes.collect(), best: None }
}

impl<M: Model> Env for RecSim<M> {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        self.sim.model().spec()
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        self.sim.reset(seed);
        self.history.clear();
        self.observe()
    }

    fn step(&mut self, action: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        let outcome = self.sim.step(&action.0)?;
        self.remember();
        let status = if outcome.terminated { Status::Terminated } else { Status::Running };
        Ok(Step { obs: self.observe()?, reward: outcome.reward, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let EnvState { env, state } = self.sim.save()?;
        let saved = Saved { sim: state, history: self.history.clone() };
        let state = serde_json::to_value(&saved).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env, state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let saved = Saved::deserialize(&state.state).map_err(|e| EnvError::State(e.to_string()))?;
        let texts = self.spec().texts.len();
        let fits = |event: &HistoryEvent| {
            event.features.len() == HISTORY_DIM && event.text.is_none_or(|id| (id.0 as usize) < texts)
        };
        if saved.history.len() > self.history_len || !saved.history.iter().all(fits) {
            return Err(EnvError::State("its history does not fit this environment".to_owned()));
        }
        self.sim.restore(&EnvState { env: state.env.clone(), state: saved.sim })?;
        self.history = saved.history;
        Ok(())
    }
}
