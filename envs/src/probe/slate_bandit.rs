//! One decision over candidates with known click weights and rewards.

use crate::rec_sim::choice::pick;
use crate::rec_sim::shared::check_slate;
use retune::env::{
    ActionSpec, CandidateObs, CandidateSpec, Env, EnvError, EnvSpec, EnvState, Feedback, ItemOutcome, ObsSpec, Slate,
    Status, Step, TextId, TextTable,
};
use retune::rng::{Seed, StreamRng};
use serde::{Deserialize, Serialize};

const NUM_ITEMS: usize = 6;
const NUM_CANDIDATES: usize = 4;
const SLATE_SIZE: usize = 2;
/// Choice weight of each item. The most attractive items pay least, so that click probability misleads.
const WEIGHTS: [f64; NUM_ITEMS] = [2.0, 1.6, 1.2, 0.8, 0.5, 0.3];
/// Reward of each item when it is consumed.
const REWARDS: [f64; NUM_ITEMS] = [0.1, 0.2, 0.9, 0.3, 1.0, 0.6];
/// Choice weight of nothing, which pays nothing.
const NOTHING: f64 = 1.0;
const TEXTS: [&str; NUM_ITEMS] = [
    "red apple: a sweet fruit of the garden",
    "old anchor: holds a ship in the harbour",
    "blue whale: the largest animal of the sea",
    "oak table: furniture for a kitchen",
    "silver flute: a wind instrument",
    "snow storm: weather of the far north",
];

/// Four of six items are offered in random order, two are shown, at most one is consumed, and the episode ends.
///
/// Item i is consumed with probability `w_i / (Σ w + 1)` over the slate and then pays its reward, so the value of a
/// slate is `Σ w_i r_i / (Σ w + 1)`.
///
/// # Observation
/// `state` is `[1]`, a constant 1. Candidates show either the one-hot item, `[num_candidates, 6]`, or its text.
#[derive(Clone, Debug)]
pub struct SlateBandit {
    spec: EnvSpec,
    now: Now,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Now {
    /// Items on offer.
    offer: Vec<usize>,
    running: bool,
    /// Whether the episode has had its step.
    stepped: bool,
    /// Slate position consumed in it.
    chosen: Option<usize>,
    /// Reward of the last step.
    reward: f64,
    rng: StreamRng,
}

impl SlateBandit {
    /// Candidates show which item they are.
    #[must_use]
    pub fn features() -> Self {
        Self::new("probe/slate_bandit", false)
    }

    /// Candidates show a text.
    #[must_use]
    pub fn texts() -> Self {
        Self::new("probe/slate_bandit/text", true)
    }

    fn new(id: &str, has_text: bool) -> Self {
        let shape = CandidateSpec {
            num_candidates: NUM_CANDIDATES,
            state_dim: 1,
            candidate_dim: if has_text { 0 } else { NUM_ITEMS },
            has_text,
            history_len: 0,
            history_dim: 0,
            answers: 0..0,
            pool: if has_text { (0..NUM_ITEMS as u32).map(TextId).collect() } else { Vec::new() },
        };
        let texts = if has_text { TEXTS.iter().map(|&t| t.to_owned()).collect() } else { Vec::new() };
        let spec = EnvSpec {
            id: id.to_owned(),
            description: "Show two of four items; attractive ones pay least.".to_owned(),
            obs: ObsSpec::Candidates(shape),
            action: ActionSpec::Slate { size: SLATE_SIZE },
            reward_unit: "points",
            reward_range: (0.0, 1.0),
            time_limit: None,
            texts: TextTable::new(texts),
        };
        let now = Now { offer: Vec::new(), running: false, stepped: false, chosen: None, reward: 0.0, rng: stream(0) };
        Self { spec, now }
    }

    /// Items on offer, in candidate order; empty before the first reset.
    #[must_use]
    pub fn offer(&self) -> &[usize] {
        &self.now.offer
    }

    /// Exact expected reward of showing these items (numbers of items, not of candidates).
    ///
    /// # Panics
    /// If there is no such item.
    #[must_use]
    pub fn value(items: &[usize]) -> f64 {
        let paid: f64 = items.iter().map(|&i| WEIGHTS[i] * REWARDS[i]).sum();
        paid / (items.iter().map(|&i| WEIGHTS[i]).sum::<f64>() + NOTHING)
    }

    /// Exact expected reward per episode of the policy that shows the best pair of every offer.
    #[must_use]
    pub fn best_return() -> f64 {
        over_offers(|pairs| pairs.fold(f64::NEG_INFINITY, f64::max))
    }

    /// Exact expected reward per episode of the policy that shows a uniformly random pair.
    #[must_use]
    pub fn random_return() -> f64 {
        let pairs_per_offer = (NUM_CANDIDATES * (NUM_CANDIDATES - 1) / 2) as f64;
        over_offers(|pairs| pairs.sum::<f64>() / pairs_per_offer)
    }

    fn observe(&self) -> CandidateObs {
        let mut obs = CandidateObs { state: vec![1.0], mask: vec![true; NUM_CANDIDATES], ..CandidateObs::default() };
        if self.spec.texts.is_empty() {
            obs.candidate_features = vec![0.0; NUM_CANDIDATES * NUM_ITEMS];
            for (row, &item) in obs.candidate_features.chunks_exact_mut(NUM_ITEMS).zip(&self.now.offer) {
                row[item] = 1.0;
            }
        } else {
            obs.candidate_texts = self.now.offer.iter().map(|&item| TextId(item as u32)).collect();
        }
        obs.feedback = self.now.stepped.then(|| {
            let outcome = |i| {
                let clicked = self.now.chosen == Some(i);
                ItemOutcome { clicked, reward: if clicked { self.now.reward as f32 } else { 0.0 }, quality: None }
            };
            Feedback { outcomes: (0..SLATE_SIZE).map(outcome).collect(), best: None }
        });
        obs
    }
}

/// Mean over all offers of what `f` makes of the values of their pairs.
fn over_offers(f: impl Fn(&mut dyn Iterator<Item = f64>) -> f64) -> f64 {
    let chosen = |bits: u32| (0..NUM_ITEMS).filter(move |i| bits >> i & 1 == 1);
    let offers = || (0u32..1 << NUM_ITEMS).filter(|bits| bits.count_ones() as usize == NUM_CANDIDATES);
    let total: f64 = offers()
        .map(|offer| {
            let pairs = (0u32..1 << NUM_ITEMS).filter(|p| p.count_ones() as usize == SLATE_SIZE && p & !offer == 0);
            f(&mut pairs.map(|p| SlateBandit::value(&chosen(p).collect::<Vec<_>>())))
        })
        .sum();
    total / offers().count() as f64
}

fn stream(seed: u64) -> StreamRng {
    Seed::root(seed).child("probe").rng()
}

impl Env for SlateBandit {
    type Obs = CandidateObs;
    type Action = Slate;

    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: Option<u64>) -> Result<CandidateObs, EnvError> {
        if let Some(seed) = seed {
            self.now.rng = stream(seed);
        }
        self.now.offer.clear();
        while self.now.offer.len() < NUM_CANDIDATES {
            let item = self.now.rng.below(NUM_ITEMS);
            if !self.now.offer.contains(&item) {
                self.now.offer.push(item);
            }
        }
        (self.now.running, self.now.stepped) = (true, false);
        Ok(self.observe())
    }

    fn step(&mut self, action: &Slate) -> Result<Step<CandidateObs>, EnvError> {
        check_slate(&action.0, SLATE_SIZE, NUM_CANDIDATES)?;
        if !self.now.running {
            return Err(EnvError::EpisodeOver);
        }
        let items: Vec<usize> = action.0.iter().map(|&i| self.now.offer[i as usize]).collect();
        let weights: Vec<f64> = items.iter().map(|&i| WEIGHTS[i]).chain([NOTHING]).collect();
        let picked = pick(&weights, self.now.rng.uniform());
        self.now.chosen = (picked < SLATE_SIZE).then_some(picked);
        self.now.reward = items.get(picked).map_or(0.0, |&i| REWARDS[i]);
        (self.now.running, self.now.stepped) = (false, true);
        Ok(Step { obs: self.observe(), reward: self.now.reward, status: Status::Terminated })
    }

    fn save_state(&self) -> Result<EnvState, EnvError> {
        let state = serde_json::to_value(&self.now).map_err(|e| EnvError::State(e.to_string()))?;
        Ok(EnvState { env: self.spec.id.clone(), state })
    }

    fn restore_state(&mut self, state: &EnvState) -> Result<(), EnvError> {
        if state.env != self.spec.id {
            return Err(EnvError::State(format!("it belongs to {}, not to {}", state.env, self.spec.id)));
        }
        let now = Now::deserialize(&state.state).map_err(|e| EnvError::State(e.to_string()))?;
        let offer_fits = now.offer.len() == NUM_CANDIDATES || (now.offer.is_empty() && !now.running);
        let offer_fits = offer_fits && now.chosen.is_none_or(|i| i < SLATE_SIZE);
        if !offer_fits || now.offer.iter().any(|&item| item >= NUM_ITEMS) {
            return Err(EnvError::State(format!("{:?} is not an offer of this bandit", now.offer)));
        }
        self.now = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_have_the_value_of_the_slate() {
        let mut env = SlateBandit::features();
        let (mut got, mut want) = (0.0, 0.0);
        let n = 20_000;
        for i in 0..n {
            env.reset((i == 0).then_some(7)).unwrap();
            want += SlateBandit::value(&[env.offer()[3], env.offer()[1]]);
            let step = env.step(&Slate(vec![3, 1])).unwrap();
            assert_eq!(step.status, Status::Terminated);
            let feedback = step.obs.feedback.unwrap();
            assert_eq!(feedback.outcomes.iter().map(|o| o.reward).sum::<f32>(), step.reward as f32);
            got += step.reward;
        }
        // Rewards lie in [0, 1], so a standard error is below 0.5/√n.
        assert!(((got - want) / f64::from(n)).abs() < 4.0 * 0.5 / f64::from(n).sqrt());
        assert!((want / f64::from(n) - SlateBandit::random_return()).abs() < 0.01);
    }

    #[test]
    fn clicks_mislead() {
        let by_weight = over_offers(|pairs| pairs.next().unwrap_or(f64::NAN));
        // The first pair of an offer is its two most attractive items.
        assert!(by_weight < SlateBandit::random_return());
        assert!(SlateBandit::random_return() + 0.1 < SlateBandit::best_return());
    }

    #[test]
    fn both_forms_play_the_same_game_and_states_are_exact() {
        let (mut a, mut b) = (SlateBandit::features(), SlateBandit::texts());
        assert!(matches!(a.step(&Slate(vec![0, 1])), Err(EnvError::EpisodeOver)));
        for seed in 0..20 {
            let (oa, ob) = (a.reset(Some(seed)).unwrap(), b.reset(Some(seed)).unwrap());
            let items: Vec<usize> =
                oa.candidate_features.chunks(6).map(|r| r.iter().position(|&x| x == 1.0).unwrap()).collect();
            assert_eq!(items, a.offer());
            assert_eq!(ob.candidate_texts.iter().map(|t| t.0 as usize).collect::<Vec<_>>(), items);
            let saved = serde_json::to_string(&a.save_state().unwrap()).unwrap();
            assert!(matches!(a.step(&Slate(vec![1, 1])), Err(EnvError::Action { kind: "duplicate_item", .. })));
            let mut again = SlateBandit::features();
            again.restore_state(&serde_json::from_str(&saved).unwrap()).unwrap();
            let step = a.step(&Slate(vec![2, 0])).unwrap();
            assert_eq!(again.step(&Slate(vec![2, 0])).unwrap(), step);
            assert_eq!(b.step(&Slate(vec![2, 0])).unwrap().reward, step.reward);
            assert!(b.restore_state(&serde_json::from_str(&saved).unwrap()).is_err());
            assert_eq!(a.save_state().unwrap(), again.save_state().unwrap());
            let text = serde_json::to_string(&a.save_state().unwrap()).unwrap();
            assert_eq!(a.save_state().unwrap(), serde_json::from_str(&text).unwrap());
            assert_eq!(a.reset(None).unwrap(), again.reset(None).unwrap());
        }
    }
}
