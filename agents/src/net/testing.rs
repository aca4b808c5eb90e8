//! Observations for the tests of networks.

use retune::env::{CandidateObs, CandidateSpec, HistoryEvent, TextId};
use retune::rng::{Seed, StreamRng};

/// A fixed set of actions in states of numbers; some actions may be illegal.
pub(crate) fn actions_spec(num_candidates: usize, state_dim: usize) -> CandidateSpec {
    CandidateSpec {
        num_candidates,
        state_dim,
        candidate_dim: 0,
        has_text: false,
        history_len: 0,
        history_dim: 0,
        answers: 0..0,
        pool: Vec::new(),
    }
}

/// Candidates with features and texts, and a history.
pub(crate) fn shop_spec() -> CandidateSpec {
    CandidateSpec { candidate_dim: 2, has_text: true, history_len: 3, history_dim: 2, ..actions_spec(4, 3) }
}

/// Random observations of this shape, about one candidate in four illegal.
pub(crate) fn observations(spec: &CandidateSpec, count: usize) -> Vec<CandidateObs> {
    (0..count).map(|i| observation(spec, &mut Seed::root(11).index(i as u64).rng())).collect()
}

/// Random observations of the shop.
pub(crate) fn shop_spec_and_observations(count: usize) -> (CandidateSpec, Vec<CandidateObs>) {
    let spec = shop_spec();
    let observations = observations(&spec, count);
    (spec, observations)
}

fn observation(spec: &CandidateSpec, rng: &mut StreamRng) -> CandidateObs {
    let n = spec.num_candidates;
    let events = if spec.history_len > 0 { rng.below(spec.history_len + 1) } else { 0 };
    let mut mask: Vec<bool> = (0..n).map(|_| rng.uniform() < 0.75).collect();
    mask[rng.below(n)] = true;
    let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.normal() as f32).collect() };
    CandidateObs {
        state: numbers(spec.state_dim),
        history: (0..events)
            .map(|i| HistoryEvent { text: (i != 1).then_some(TextId(i as u32)), features: numbers(spec.history_dim) })
            .collect(),
        candidate_features: numbers(n * spec.candidate_dim),
        candidate_texts: if spec.has_text { (0..n as u32).map(TextId).collect() } else { Vec::new() },
        mask,
        feedback: None,
    }
}
