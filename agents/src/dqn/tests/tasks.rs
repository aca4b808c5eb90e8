//! Tasks whose values are known.

use retune::env::{
    ActionSpec, CandidateObs, CandidateSpec, Env, EnvError, EnvSpec, EnvState, ObsSpec, Slate, Status, Step, TextTable,
};
use retune::rng::{Seed, StreamRng};
use serde::{Deserialize, Serialize};

/// Discount of all tasks here.
pub const GAMMA: f64 = 0.9;

/// States of the walk that are not ends.
pub const STATES: usize = 3;

/// A walk on the places 0 to 4, begun at 1, 2 or 3: action 0 goes left, 1 right, 2 is not allowed. Both ends terminate;
/// the right one pays 1.
#[derive(Clone, Debug)]
pub struct Walk {
    spec: EnvSpec,
    rng: StreamRng,
    place: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct WalkState {
    rng: StreamRng,
    place: Option<usize>,
}

impl Walk {
    pub fn new() -> Self {
        Self { spec: spec("walk", STATES, 3), rng: Seed::root(0).rng(), place: None }
    }

    fn obs(place: usize) -> CandidateObs {
        let state = (1..=STATES).map(|s| f32::from(u8::from(s == place))).collect();
        CandidateObs { state, mask: vec![true, true, false], ..CandidateObs::default() }
    }

    /// Q of a policy that is given its values, by sweeps until nothing changes: `[state][action]`.
    pub fn exact(value: impl Fn([f64; 2]) -> f64) -> [[f64; 2]; STATES] {
        let mut q = [[0.0; 2]; STATES];
        for _ in 0..200 {
            let v: Vec<f64> = q.iter().map(|&q| value(q)).collect();
            for (s, q) in q.iter_mut().enumerate() {
                q[0] = if s == 0 { 0.0 } else { GAMMA * v[s - 1] };
                q[1] = if s + 1 == STATES { 1.0 } else { GAMMA * v[s + 1] };
            }
        }
        q
    }

    /// Observations of the three places that are not ends.
    pub fn all() -> Vec<CandidateObs> {
        (1..=STATES).map(Self::obs).collect()
    }
}

impl Env for Walk {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        if let Some(seed) = seed {
            self.rng = Seed::root(seed).rng();
        }
        let place = 1 + self.rng.below(STATES);
        self.place = Some(place);
        Ok(Self::obs(place))
    }

    fn step(&mut self, action: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        let place = self.place.ok_or(EnvError::EpisodeOver)?;
        let next = match action.0[..] {
            [0] => place - 1,
            [1] => place + 1,
            _ => return Err(EnvError::Action { kind: "illegal", message: format!("{action:?}") }),
        };
        let over = next == 0 || next == STATES + 1;
        self.place = (!over).then_some(next);
        let reward = if next == STATES + 1 { 1.0 } else { 0.0 };
        let status = if over { Status::Terminated } else { Status::Running };
        Ok(Step { obs: Self::obs(next), reward, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let state = WalkState { rng: self.rng.clone(), place: self.place };
        let state = serde_json::to_value(state).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: "walk".into(), state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        let state: WalkState =
            serde_json::from_value(state.state.clone()).map_err(|e| EnvError::State(e.to_string()))?;
        (self.rng, self.place) = (state.rng, state.place);
        Ok(())
    }
}

/// One state that pays 1 at each step for ever and is cut after 5: its value is 1 / (1 − γ).
#[derive(Clone, Debug)]
pub struct Forever {
    spec: EnvSpec,
    reward: f64,
    /// What the cut says; anything but [`Status::Truncated`] is a mistake.
    cut: Status,
    steps: Option<u64>,
}

impl Forever {
    pub fn new(cut: Status, reward: f64) -> Self {
        Self { spec: spec("forever", 1, 2), reward, cut, steps: None }
    }

    pub fn obs() -> CandidateObs {
        CandidateObs { state: vec![1.0], mask: vec![true, true], ..CandidateObs::default() }
    }
}

impl Env for Forever {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, _: Option<u64>) -> Result<CandidateObs, EnvError> {
        self.steps = Some(0);
        Ok(Self::obs())
    }

    fn step(&mut self, _: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        let steps = self.steps.ok_or(EnvError::EpisodeOver)? + 1;
        self.steps = (steps < 5).then_some(steps);
        let status = if steps < 5 { Status::Running } else { self.cut };
        Ok(Step { obs: Self::obs(), reward: self.reward, status })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        Ok(EnvState { env: "forever".into(), state: serde_json::json!(self.steps) })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        self.steps = serde_json::from_value(state.state.clone()).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(())
    }
}

fn spec(id: &str, state_dim: usize, num_candidates: usize) -> EnvSpec {
    EnvSpec {
        id: id.into(),
        description: "A task whose values are known.".into(),
        obs: ObsSpec::Candidates(CandidateSpec {
            num_candidates,
            state_dim,
            candidate_dim: 0,
            has_text: false,
            history_len: 0,
            history_dim: 0,
            answers: 0..0,
            pool: Vec::new(),
        }),
        action: ActionSpec::Slate { size: 1 },
        reward_unit: "points",
        reward_range: (0.0, f64::MAX),
        time_limit: None,
        texts: TextTable::default(),
    }
}
