//! Laws of the memories, over random traces.

use super::*;
use crate::agent::{Rollout, Segment, Transition};
use crate::env::testing::{Counter, Shop};
use crate::env::{CandidateObs, Env, Feedback, HistoryEvent, ItemOutcome, Slate, Status, TextId};
use crate::persist::StateDict;
use crate::rng::{Seed, StreamRng};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const ENVS: usize = 3;

fn rng() -> StreamRng {
    Seed::root(11).rng()
}

/// An observation that [`Shop`] could show; `state[0]` is `mark`, by which tests recognise it.
fn obs(mark: f32, after_step: bool, rng: &mut StreamRng) -> Arc<CandidateObs> {
    let events = rng.below(4);
    let event = |i| HistoryEvent { text: (i != 1).then_some(TextId(i)), features: vec![i as f32, mark] };
    let feedback = after_step.then(|| {
        let mut outcomes = vec![ItemOutcome::default(); 2];
        if let Some(outcome) = outcomes.get_mut(rng.below(3)) {
            *outcome = ItemOutcome { clicked: true, reward: mark + 0.25, quality: Some(mark - 0.5) };
        }
        Feedback { outcomes, best: None }
    });
    Arc::new(CandidateObs {
        state: vec![mark, 1.0],
        history: (0..events as u32).map(event).collect(),
        candidate_features: (0..5).map(|_| rng.uniform() as f32).collect(),
        candidate_texts: (0..5).map(|_| TextId(rng.below(10) as u32)).collect(),
        mask: vec![true, true, true, true, false],
        feedback,
    })
}

/// Rounds of transitions that follow one another as a runner's do. The mark of an observation is unique.
fn trace(rounds: u64, steps: usize, rng: &mut StreamRng) -> Vec<Rollout<CandidateObs, Slate>> {
    let mut mark = 0.0;
    let mut fresh = |after_step, rng: &mut StreamRng| {
        mark += 1.0;
        obs(mark, after_step, rng)
    };
    let mut shown: Vec<Arc<CandidateObs>> = (0..ENVS).map(|_| fresh(false, rng)).collect();
    let mut step = |env: usize, rng: &mut StreamRng| {
        let status = [Status::Running, Status::Running, Status::Terminated, Status::Truncated][rng.below(4)];
        let first = rng.below(4) as u32;
        let obs = shown[env].clone();
        let next_obs = fresh(true, rng);
        shown[env] = if status == Status::Running { next_obs.clone() } else { fresh(false, rng) };
        let action = Slate(vec![first, (first + 1) % 4]);
        Transition { reward: f64::from(obs.state[0]) / 8.0, obs, action, log_prob: -0.5, status, next_obs }
    };
    let mut round = |round| Rollout {
        round,
        version: round,
        segments: (0..ENVS).map(|env| Segment { env, steps: (0..steps).map(|_| step(env, rng)).collect() }).collect(),
    };
    (0..rounds).map(&mut round).collect()
}

fn memory(capacity: usize, needs_next_action: bool) -> CandidateReplay {
    let config = CandidateReplayConfig { capacity, num_envs: ENVS, needs_next_action };
    CandidateReplay::new(Shop::new().spec(), &config).unwrap()
}

/// Every transition of a trace by the mark of its observation, with the action taken next in its slot.
type Known<'a> = BTreeMap<u32, (&'a Transition<CandidateObs, Slate>, Option<&'a Slate>)>;

fn known(rounds: &[Rollout<CandidateObs, Slate>]) -> Known<'_> {
    let mut known = BTreeMap::new();
    for env in 0..ENVS {
        let steps: Vec<_> = rounds.iter().flat_map(|r| &r.segments[env].steps).collect();
        for (t, step) in steps.iter().enumerate() {
            let next = steps.get(t + 1).map(|s| &s.action);
            known.insert(step.obs.state[0] as u32, (*step, next));
        }
    }
    known
}

/// That row `b` of a batch is this transition, in every field.
fn assert_row(batch: &CandidateBatch, b: usize, step: &Transition<CandidateObs, Slate>) {
    for (side, obs) in [(&batch.obs, &step.obs), (&batch.next_obs, &step.next_obs)] {
        assert_eq!(side.state[b * 2..][..2], obs.state);
        assert_eq!(side.candidate_features[b * 5..][..5], obs.candidate_features);
        let texts: Vec<u32> = obs.candidate_texts.iter().map(|t| t.0).collect();
        assert_eq!(side.candidate_texts[b * 5..][..5], texts);
        assert_eq!(side.mask[b * 5..][..5], [1, 1, 1, 1, 0]);
        assert_eq!(side.history_len[b] as usize, obs.history.len());
        for i in 0..3 {
            let event = obs.history.get(i);
            let text = event.and_then(|e| e.text).map_or(NO_TEXT, |t| t.0);
            assert_eq!(side.history_texts[b * 3 + i], text);
            let features = event.map_or(vec![0.0, 0.0], |e| e.features.clone());
            assert_eq!(side.history_features[(b * 3 + i) * 2..][..2], features);
        }
    }
    let feedback = step.next_obs.feedback.as_ref().unwrap();
    let consumed = feedback.chosen().map(|k| feedback.outcomes[k]);
    assert_eq!(batch.slate[b * 2..][..2], step.action.0);
    assert_eq!(batch.chosen[b] as usize, feedback.chosen().unwrap_or(2));
    assert_eq!(batch.item_reward[b], consumed.map_or(0.0, |o| o.reward));
    assert_eq!(batch.quality[b], consumed.and_then(|o| o.quality).unwrap_or(0.0));
    assert_eq!(batch.quality_known[b], if consumed.is_some() { 1.0 } else { 0.0 });
    assert_eq!((batch.reward[b], batch.log_prob[b], batch.status[b]), (step.reward as f32, -0.5, step.status));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_ring_holds_the_last_values_and_never_more(capacity in 1usize..9, pushed in 0u32..40, seed: u64) {
        let mut ring = Replay::new(capacity).unwrap();
        let mut oracle = VecDeque::new();
        for value in 0..pushed {
            ring.push(value);
            oracle.push_back(value);
            if oracle.len() > capacity {
                oracle.pop_front();
            }
            prop_assert!(ring.iter().eq(&oracle));
        }
        let mut state = StateDict::default();
        ring.save(&mut state, "m/").unwrap();
        let mut again = Replay::new(capacity).unwrap();
        again.load(&state, "m/").unwrap();
        prop_assert_eq!(&again, &ring);
        let mut rng = Seed::root(seed).rng();
        let whole = ring.sample(ring.len(), Sampling::WithoutReplacement, &mut rng).unwrap();
        prop_assert_eq!(whole.iter().copied().collect::<BTreeSet<_>>(), oracle.iter().collect::<BTreeSet<_>>());
        prop_assert!(ring.sample(ring.len() + 1, Sampling::WithoutReplacement, &mut rng).is_err());
    }

    #[test]
    fn every_row_is_one_true_transition(
        capacity in 1usize..40, rounds in 1u64..5, steps in 1usize..7, next: bool, seed: u64,
    ) {
        let mut rng = Seed::root(seed).rng();
        let rounds = trace(rounds, steps, &mut rng);
        let known = known(&rounds);
        let mut memory = memory(capacity, next);
        let bytes = memory.bytes();
        for rollout in &rounds {
            memory.push(rollout).unwrap();
            prop_assert!(memory.len() <= capacity);
        }
        prop_assert_eq!(memory.bytes(), bytes, "nothing is allocated after the start");
        let batch = memory.gather(&(0..memory.len()).collect::<Vec<_>>()).unwrap();
        for b in 0..batch.size {
            let (step, following) = known[&(batch.obs.state[b * 2] as u32)];
            assert_row(&batch, b, step);
            if next {
                prop_assert_ne!(step.status, Status::Truncated);
                let expected = if step.status == Status::Running { following.unwrap().0.clone() } else { vec![0, 0] };
                prop_assert_eq!(&batch.next_slate[b * 2..][..2], &expected);
            }
        }
        // How many there must be, counted independently.
        let eligible = known.values().filter(|(step, following)| match step.status {
            Status::Running => following.is_some(),
            Status::Terminated => true,
            Status::Truncated => false,
        });
        let expected = if next { eligible.count() } else { known.len() };
        prop_assert_eq!(memory.len(), expected.min(capacity));
    }

    #[test]
    fn a_saved_memory_goes_on_with_the_same_bits(capacity in 1usize..40, next: bool, cut in 1usize..4, seed: u64) {
        let mut rng = Seed::root(seed).rng();
        let rounds = trace(4, 5, &mut rng);
        let mut memory = memory(capacity, next);
        rounds[..cut].iter().for_each(|r| memory.push(r).unwrap());
        let mut state = StateDict::default();
        memory.save(&mut state, "m/").unwrap();
        let mut again = self::memory(capacity, next);
        again.load(&state, "m/").unwrap();
        for memory in [&mut memory, &mut again] {
            rounds[cut..].iter().for_each(|r| memory.push(r).unwrap());
        }
        prop_assert_eq!(again.len(), memory.len());
        if !memory.is_empty() {
            let mut rngs = [rng.clone(), rng];
            let batch = memory.sample(16, Sampling::WithReplacement, &mut rngs[0]).unwrap();
            prop_assert_eq!(again.sample(16, Sampling::WithReplacement, &mut rngs[1]).unwrap(), batch);
        }
    }
}

#[test]
fn sampling_is_uniform_either_way() {
    let mut rng = rng();
    for sampling in [Sampling::WithReplacement, Sampling::WithoutReplacement] {
        // Counts of each value at each place of a batch of three out of five.
        let mut counts = [[0usize; 5]; 3];
        for _ in 0..20_000 {
            let drawn = sampling.draw(5, 3, &mut rng).unwrap();
            assert!(sampling == Sampling::WithReplacement || drawn.iter().collect::<BTreeSet<_>>().len() == 3);
            drawn.iter().enumerate().for_each(|(place, &value)| counts[place][value] += 1);
        }
        // Standard deviation of a count is about 57; five of them.
        assert!(counts.iter().flatten().all(|c| c.abs_diff(4_000) < 285), "{sampling:?} {counts:?}");
    }
    assert!(Sampling::WithReplacement.draw(0, 1, &mut rng).is_err());
    assert!(Sampling::WithReplacement.draw(0, 0, &mut rng).unwrap().is_empty());
}

#[test]
fn terminated_and_truncated_stay_apart() {
    let rounds = trace(3, 6, &mut rng());
    let count = |status| known(&rounds).values().filter(|(s, _)| s.status == status).count();
    let mut all = memory(100, false);
    let mut chained = memory(100, true);
    for rollout in &rounds {
        all.push(rollout).unwrap();
        chained.push(rollout).unwrap();
    }
    let batch = all.gather(&(0..all.len()).collect::<Vec<_>>()).unwrap();
    assert!(count(Status::Truncated) > 0 && count(Status::Terminated) > 0, "the test needs both");
    assert_eq!(batch.status.iter().filter(|s| **s == Status::Truncated).count(), count(Status::Truncated));
    assert_eq!(batch.bootstrap().iter().filter(|f| **f == 0.0).count(), count(Status::Terminated));
    assert_eq!(chained.left_out() as usize, count(Status::Truncated));
    assert!(batch.next_slate.is_empty());
}

#[test]
fn a_gap_between_rounds_forgets_what_waits() {
    let mut rounds = trace(3, 1, &mut rng());
    rounds.iter_mut().flat_map(|r| &mut r.segments).for_each(|s| s.steps[0].status = Status::Running);
    let mut whole = memory(100, true);
    rounds.iter().for_each(|r| whole.push(r).unwrap());
    assert_eq!(whole.len(), 2 * ENVS);
    // Round 1 is missing, so round 2 does not tell what followed round 0.
    let mut gap = memory(100, true);
    [0, 2].iter().for_each(|&r| gap.push(&rounds[r]).unwrap());
    assert_eq!(gap.len(), 0);
}

#[test]
fn what_does_not_fit_is_refused_and_the_oldest_row_stays_whole() {
    type Change = fn(&mut CandidateObs);
    let rounds = trace(1, 2, &mut rng());
    let mut memory = memory(2, false);
    memory.push(&rounds[0]).unwrap();
    let before = memory.gather(&[0, 1]).unwrap();
    let spoil = |change: Change| {
        let mut rollout = rounds[0].clone();
        change(Arc::make_mut(&mut rollout.segments[0].steps[0].next_obs));
        rollout
    };
    let cases: [(Change, &str); 6] = [
        (|o| o.state.clear(), "next_obs.state has 0 values, expected 2"),
        (|o| o.candidate_texts.clear(), "next_obs.candidate_texts has 0 values, expected 5"),
        (|o| o.mask.push(true), "next_obs.mask has 6 values, expected 5"),
        (
            |o| o.history = vec![HistoryEvent { text: None, features: vec![0.0; 2] }; 4],
            "the history has 4 events, expected at most 3",
        ),
        (|o| o.history = vec![HistoryEvent { text: None, features: vec![] }], "event 0 of the history has 0 numbers"),
        (|o| o.feedback = None, "no feedback on a slate of 2"),
    ];
    for (change, message) in cases {
        let error = memory.push(&spoil(change)).unwrap_err().to_string();
        assert!(error.contains(message) && error.contains("env slot 0, step 0"), "{error}");
        assert_eq!(memory.gather(&[0, 1]).unwrap(), before);
    }
    let mut elsewhere = rounds[0].clone();
    elsewhere.segments[0].env = 3;
    assert!(memory.push(&elsewhere).unwrap_err().to_string().contains("env slot 3 in a memory for 3 slots"));
    assert!(memory.gather(&[2]).is_err());
}

#[test]
fn impossible_settings_and_foreign_states_are_refused() {
    let config = CandidateReplayConfig { capacity: 4, num_envs: 1, needs_next_action: true };
    let shop = Shop::new();
    let refused = |config: &CandidateReplayConfig| CandidateReplay::new(shop.spec(), config).unwrap_err().to_string();
    assert!(refused(&CandidateReplayConfig { capacity: 0, ..config.clone() }).starts_with("capacity = 0"));
    assert!(refused(&CandidateReplayConfig { num_envs: 0, ..config.clone() }).starts_with("num_envs = 0"));
    assert!(refused(&CandidateReplayConfig { capacity: usize::MAX, ..config.clone() }).starts_with("capacity ="));
    assert!(refused(&CandidateReplayConfig { capacity: usize::MAX / 16, ..config.clone() }).starts_with("capacity ="));
    assert!(CandidateReplay::new(Counter::new(3).spec(), &config).is_err());
    assert!(Replay::<u8>::new(0).is_err());

    let mut state = StateDict::default();
    let rounds = trace(2, 3, &mut rng());
    let mut saved = memory(8, true);
    rounds.iter().for_each(|r| saved.push(r).unwrap());
    saved.save(&mut state, "").unwrap();
    assert!(memory(9, true).load(&state, "").unwrap_err().to_string().contains("capacity: 8"));
    let mut short = state.clone();
    short.put_f32s("replay.reward", &[0.0]);
    assert!(memory(8, true).load(&short, "").unwrap_err().to_string().contains("replay.reward has 1 values"));
    let codes = state.u8s("replay.status").unwrap().len();
    state.put_u8s("replay.status", &vec![7; codes]);
    assert!(memory(8, true).load(&state, "").unwrap_err().to_string().contains("status code 7"));
}

#[test]
fn observations_lie_side_by_side_as_in_a_memory() {
    let rounds = trace(1, 3, &mut rng());
    let steps = &rounds[0].segments[0].steps;
    let crate::env::ObsSpec::Candidates(spec) = Shop::new().spec().obs.clone() else { panic!("a shop has candidates") };
    let mut memory = memory(100, false);
    memory.push(&rounds[0]).unwrap();
    let of = ObsBatch::of(&spec, steps.iter().map(|s| s.obs.as_ref())).unwrap();
    assert_eq!(of, memory.gather(&[0, 1, 2]).unwrap().obs);
}
