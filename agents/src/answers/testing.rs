//! A tiny task with answers.

use retune::env::{
    ActionSpec, CandidateObs, CandidateSpec, Env, EnvError, EnvSpec, EnvState, Feedback, ItemOutcome, ObsSpec, Slate,
    Status, Step, TextTable,
};
use retune::rng::{Seed, StreamRng};
use serde::{Deserialize, Serialize};

/// Price of a question.
pub(crate) const COST: f64 = 0.05;

/// A fair coin lies hidden. Question 0 shows it, question 1 shows another coin, each once; candidates 2 and 3 say what
/// it shows, +1 if right and −1 if wrong. Best: ask question 0, then answer: 1 − [`COST`]. Answering at once earns 0.
#[derive(Clone, Debug)]
pub(crate) struct Riddle {
    spec: EnvSpec,
    state: RiddleState,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RiddleState {
    coins: [usize; 2],
    asked: [bool; 2],
    over: bool,
    reward: Option<f32>,
    rng: StreamRng,
}

impl Riddle {
    pub(crate) fn new() -> Self {
        let candidates = CandidateSpec {
            num_candidates: 4,
            state_dim: 2,
            candidate_dim: 0,
            has_text: false,
            history_len: 0,
            history_dim: 0,
            answers: 2..4,
            pool: Vec::new(),
        };
        let spec = EnvSpec {
            id: "test/riddle".to_owned(),
            description: "Says what a hidden coin shows.".to_owned(),
            obs: ObsSpec::Candidates(candidates),
            action: ActionSpec::Slate { size: 1 },
            reward_unit: "points",
            reward_range: (-1.0, 1.0),
            time_limit: None,
            texts: TextTable::default(),
        };
        let rng = Seed::root(0).rng();
        let state = RiddleState { coins: [0; 2], asked: [false; 2], over: true, reward: None, rng };
        Self { spec, state }
    }

    fn obs(&self) -> CandidateObs {
        let s = &self.state;
        let shown = |q: usize| if s.asked[q] { [-1.0, 1.0][s.coins[q]] } else { 0.0 };
        let outcome = |reward| ItemOutcome { clicked: true, reward, quality: None };
        let best = s.over.then_some(2 + s.coins[0] as u32);
        CandidateObs {
            state: vec![shown(0), shown(1)],
            mask: vec![!s.asked[0], !s.asked[1], true, true],
            feedback: s.reward.map(|reward| Feedback { outcomes: vec![outcome(reward)], best }),
            ..CandidateObs::default()
        }
    }
}

impl Env for Riddle {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        if let Some(seed) = seed {
            self.state.rng = Seed::root(seed).rng();
        }
        let s = &mut self.state;
        s.coins = [s.rng.below(2), s.rng.below(2)];
        (s.asked, s.over, s.reward) = ([false; 2], false, None);
        Ok(self.obs())
    }

    fn step(&mut self, action: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        let s = &mut self.state;
        let reward = match action.0[0] as usize {
            q if q < 2 => {
                s.asked[q] = true;
                -COST
            }
            answer => {
                s.over = true;
                if answer - 2 == s.coins[0] { 1.0 } else { -1.0 }
            }
        };
        s.reward = Some(reward as f32);
        let status = if s.over { Status::Terminated } else { Status::Running };
        Ok(Step { obs: self.obs(), reward, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let state = serde_json::to_value(&self.state).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: self.spec.id.clone(), state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.state = RiddleState::deserialize(&state.state).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(())
    }
}
