//! A task that only the meaning of two words together solves.

use crate::rec_sim::shared::check_slate;
use retune::env::{
    ActionSpec, CandidateObs, CandidateSpec, Env, EnvError, EnvSpec, EnvState, Feedback, ItemOutcome, ObsSpec, Slate,
    Status, Step, TextId, TextTable,
};
use retune::rng::{Seed, StreamRng};
use serde::{Deserialize, Serialize};

/// The first and the last pay.
const TEXTS: [&str; 4] = ["good film", "bad film", "good day", "bad day"];
const PAYS: [bool; 4] = [true, false, false, true];

/// Two texts are offered in random order, one that pays 1 and one that pays nothing; the one that is chosen ends the
/// episode.
///
/// A text pays if exactly the first of two properties fits the second: `good film` and `bad day` do, `bad film` and
/// `good day` do not. Every word is in one text that pays and in one that does not, so no sum over words tells them
/// apart: on vectors of single words a linear score earns 0.5 whatever its weights, and what is missing must come from
/// the encoder. With a tiny random encoder, whose vectors of the four texts differ by little, an agent that trains it
/// and an agent that does not are told apart by how fast they get to 1.
///
/// # Observation
/// `state` is `[1]`, a constant 1; the two candidates have a text and no features.
#[derive(Clone, Debug)]
pub struct TextProbe {
    spec: EnvSpec,
    now: Now,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Now {
    /// Texts on offer.
    offer: [usize; 2],
    running: bool,
    /// Reward of the last step of this episode.
    reward: Option<f32>,
    rng: StreamRng,
}

impl TextProbe {
    /// Expected return of the best policy.
    pub const BEST_RETURN: f64 = 1.0;
    /// Expected return of a uniformly random policy.
    pub const RANDOM_RETURN: f64 = 0.5;

    /// The task, before its first reset.
    #[must_use]
    pub fn new() -> Self {
        let shape = CandidateSpec {
            num_candidates: 2,
            state_dim: 1,
            candidate_dim: 0,
            has_text: true,
            history_len: 0,
            history_dim: 0,
            answers: 0..0,
            pool: (0..TEXTS.len() as u32).map(TextId).collect(),
        };
        let spec = EnvSpec {
            id: "probe/text".to_owned(),
            description: "Choose the text whose two words fit.".to_owned(),
            obs: ObsSpec::Candidates(shape),
            action: ActionSpec::Slate { size: 1 },
            reward_unit: "points",
            reward_range: (0.0, 1.0),
            time_limit: None,
            texts: TextTable::new(TEXTS.map(str::to_owned).to_vec()),
        };
        Self { spec, now: Now { offer: [0, 1], running: false, reward: None, rng: stream(0) } }
    }

    fn observe(&self) -> CandidateObs {
        let outcome = |reward| ItemOutcome { clicked: true, reward, quality: None };
        CandidateObs {
            state: vec![1.0],
            candidate_texts: self.now.offer.iter().map(|&text| TextId(text as u32)).collect(),
            mask: vec![true; 2],
            feedback: self.now.reward.map(|reward| Feedback { outcomes: vec![outcome(reward)], best: None }),
            ..CandidateObs::default()
        }
    }
}

impl Default for TextProbe {
    fn default() -> Self {
        Self::new()
    }
}

fn stream(seed: u64) -> StreamRng {
    Seed::root(seed).child("probe").rng()
}

impl Env for TextProbe {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        if let Some(seed) = seed {
            self.now.rng = stream(seed);
        }
        let (paying, other) = ([0, 3][self.now.rng.below(2)], [1, 2][self.now.rng.below(2)]);
        self.now.offer = if self.now.rng.below(2) == 0 { [paying, other] } else { [other, paying] };
        (self.now.running, self.now.reward) = (true, None);
        Ok(self.observe())
    }

    fn step(&mut self, action: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        check_slate(&action.0, 1, 2)?;
        if !self.now.running {
            return Err(EnvError::EpisodeOver);
        }
        let reward = f32::from(u8::from(PAYS[self.now.offer[action.0[0] as usize]]));
        (self.now.running, self.now.reward) = (false, Some(reward));
        Ok(Step { obs: self.observe(), reward: f64::from(reward), status: Status::Terminated })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let state = serde_json::to_value(&self.now).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: self.spec.id.clone(), state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        if state.env != self.spec.id {
            return Err(EnvError::State(format!("it belongs to {}, not to {}", state.env, self.spec.id)));
        }
        let now = Now::deserialize(&state.state).map_err(|e| EnvError::State(format!("{}: {e}", self.spec.id)))?;
        if now.offer.iter().any(|&text| text >= TEXTS.len()) {
            return Err(EnvError::State(format!("texts {:?} of {}", now.offer, TEXTS.len())));
        }
        self.now = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_word_pays_half_of_the_time() {
        let mut words = BTreeMap::<&str, Vec<bool>>::new();
        for (text, pays) in TEXTS.iter().zip(PAYS) {
            text.split(' ').for_each(|word| words.entry(word).or_default().push(pays));
        }
        assert_eq!(words.len(), 4);
        assert!(words.values().all(|pays| pays.len() == 2 && pays[0] != pays[1]));
    }

    #[test]
    fn one_of_two_pays_wherever_it_stands() {
        let mut env = TextProbe::new();
        let mut first = 0;
        for seed in 0..200 {
            let obs = env.reset(Some(seed)).unwrap();
            let saved = env.save_state().unwrap();
            let paid: Vec<f64> = [0, 1]
                .map(|i| {
                    env.restore_state(&saved).unwrap();
                    env.step(&Slate(vec![i])).unwrap().reward
                })
                .to_vec();
            assert_eq!(paid.iter().sum::<f64>(), 1.0);
            let best = obs.candidate_texts.iter().position(|t| PAYS[t.0 as usize]).unwrap();
            assert_eq!(paid[best], 1.0);
            first += best;
        }
        // Five standard deviations of a count of 200 coins.
        assert!((65..=135).contains(&first), "{first}");
    }
}
