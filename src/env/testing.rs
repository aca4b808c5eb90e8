//! Tiny environments for the tests of this crate.

use super::{
    ActionSpec, CandidateObs, CandidateSpec, Env, EnvError, EnvSpec, EnvState, Feedback, HistoryEvent, ItemOutcome,
    ObsSpec, Slate, Status, Step, TextId, TextTable,
};
use crate::rng::{Seed, StreamRng};
use serde::{Deserialize, Serialize};

/// Counts how often action 1 was taken and terminates at `goal`. Action 0 does nothing.
///
/// Shows `[count, noise]`, where the noise is drawn once per episode; the reward is the count plus a draw from U[0, 1).
#[derive(Clone, Debug)]
pub struct Counter {
    spec: EnvSpec,
    goal: u32,
    state: CounterState,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CounterState {
    count: u32,
    noise: f32,
    running: bool,
    rng: StreamRng,
}

impl Counter {
    /// A counter that terminates at `goal`.
    pub fn new(goal: u32) -> Self {
        let spec = EnvSpec {
            id: "test/counter".to_owned(),
            description: "Counts to a goal.".to_owned(),
            obs: ObsSpec::Box { low: vec![0.0, 0.0], high: vec![1e6, 1.0] },
            action: ActionSpec::Discrete { n: 2 },
            reward_unit: "counts",
            reward_range: (0.0, 1e6),
            time_limit: None,
            texts: TextTable::default(),
        };
        let state = CounterState { count: 0, noise: 0.0, running: false, rng: Seed::root(0).rng() };
        Self { spec, goal, state }
    }

    fn obs(&self) -> Vec<f32> {
        vec![self.state.count as f32, self.state.noise]
    }
}

impl Env for Counter {
    type Obs = Vec<f32>;
    type Action = u32;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<Vec<f32>, EnvError> {
        if let Some(seed) = seed {
            self.state.rng = Seed::root(seed).rng();
        }
        self.state.count = 0;
        self.state.noise = self.state.rng.uniform() as f32;
        self.state.running = true;
        Ok(self.obs())
    }

    fn step(&mut self, action: &u32) -> Result<Step<Vec<f32>>, EnvError> {
        if !self.state.running {
            return Err(EnvError::EpisodeOver);
        }
        if *action > 1 {
            return Err(EnvError::Action { kind: "out_of_range", message: format!("{action}, expected 0 or 1") });
        }
        self.state.count += action;
        let reward = f64::from(self.state.count) + self.state.rng.uniform();
        let status = if self.state.count >= self.goal { Status::Terminated } else { Status::Running };
        self.state.running = status == Status::Running;
        Ok(Step { obs: self.obs(), reward, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let state = serde_json::to_value(&self.state).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: self.spec.id.clone(), state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        if state.env != self.spec.id {
            return Err(EnvError::State(state.env.clone()));
        }
        self.state = CounterState::deserialize(&state.state).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(())
    }
}

/// A user who takes one of the offered items or none, and leaves with probability 0.15 after each step.
///
/// Five candidates from ten texts, slate of two, history of three events with two numbers each.
#[derive(Clone, Debug)]
pub struct Shop {
    spec: EnvSpec,
    state: ShopState,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ShopState {
    obs: CandidateObs,
    running: bool,
    rng: StreamRng,
}

impl Shop {
    const CANDIDATES: usize = 5;
    const SLATE: usize = 2;
    const HISTORY: usize = 3;

    /// A shop without a visitor.
    pub fn new() -> Self {
        let candidates = CandidateSpec {
            num_candidates: Self::CANDIDATES,
            state_dim: 2,
            candidate_dim: 1,
            has_text: true,
            history_len: Self::HISTORY,
            history_dim: 2,
            answers: 0..0,
            pool: (0..10).map(TextId).collect(),
        };
        let spec = EnvSpec {
            id: "test/shop".to_owned(),
            description: "Sells ten things.".to_owned(),
            obs: ObsSpec::Candidates(candidates),
            action: ActionSpec::Slate { size: Self::SLATE },
            reward_unit: "coins",
            reward_range: (0.0, 1.0),
            time_limit: None,
            texts: TextTable::new((0..10).map(|i| format!("thing {i}")).collect()),
        };
        let state = ShopState { obs: CandidateObs::default(), running: false, rng: Seed::root(0).rng() };
        Self { spec, state }
    }

    fn restock(&mut self) {
        let rng = &mut self.state.rng;
        let obs = &mut self.state.obs;
        obs.state = vec![rng.uniform() as f32, rng.uniform() as f32];
        obs.candidate_texts = (0..Self::CANDIDATES).map(|_| TextId(rng.below(10) as u32)).collect();
        obs.candidate_features = (0..Self::CANDIDATES).map(|_| rng.uniform() as f32).collect();
        // The last candidate is sometimes sold out.
        obs.mask = vec![true; Self::CANDIDATES];
        obs.mask[Self::CANDIDATES - 1] = rng.uniform() < 0.5;
    }

    fn check(&self, slate: &Slate) -> Result<(), EnvError> {
        let refuse = |kind, message: String| Err(EnvError::Action { kind, message });
        if slate.0.len() != Self::SLATE {
            return refuse("slate_size", format!("{} items, expected {}", slate.0.len(), Self::SLATE));
        }
        if let Some(bad) = slate.0.iter().find(|&&i| !self.state.obs.mask.get(i as usize).copied().unwrap_or(false)) {
            return refuse("not_offered", format!("candidate {bad} cannot be chosen"));
        }
        if slate.0[0] == slate.0[1] {
            return refuse("duplicate_item", format!("candidate {} is in the slate twice", slate.0[0]));
        }
        Ok(())
    }
}

impl Env for Shop {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        if let Some(seed) = seed {
            self.state.rng = Seed::root(seed).rng();
        }
        self.state.obs = CandidateObs::default();
        self.restock();
        self.state.running = true;
        Ok(self.state.obs.clone())
    }

    fn step(&mut self, slate: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        if !self.state.running {
            return Err(EnvError::EpisodeOver);
        }
        self.check(slate)?;
        let mut outcomes = vec![ItemOutcome::default(); Self::SLATE];
        let mut event = HistoryEvent { text: None, features: vec![0.0, 0.0] };
        let choice = self.state.rng.below(Self::SLATE + 1);
        let mut reward = 0.0;
        if let Some(outcome) = outcomes.get_mut(choice) {
            let item = slate.0[choice] as usize;
            reward = self.state.obs.candidate_features[item];
            *outcome = ItemOutcome { clicked: true, reward, quality: Some(0.5) };
            event = HistoryEvent { text: Some(self.state.obs.candidate_texts[item]), features: vec![1.0, reward] };
        }
        let left = self.state.rng.uniform() < 0.15;
        self.state.obs.history.push(event);
        if self.state.obs.history.len() > Self::HISTORY {
            self.state.obs.history.remove(0);
        }
        self.state.obs.feedback = Some(Feedback { outcomes, best: None });
        self.restock();
        self.state.running = !left;
        let status = if left { Status::Terminated } else { Status::Running };
        Ok(Step { obs: self.state.obs.clone(), reward: f64::from(reward), status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let state = serde_json::to_value(&self.state).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: self.spec.id.clone(), state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        if state.env != self.spec.id {
            return Err(EnvError::State(state.env.clone()));
        }
        self.state = ShopState::deserialize(&state.state).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(())
    }
}
