//! Exact values, gradients by finite differences, and labels across rounds.

use super::testing::Riddle;
use super::*;
use crate::net::Batcher;
use retune::agent::{Rollout, Segment, Transition};
use retune::env::{CandidateSpec, Env, EnvSpec, ObsSpec, Slate};
use std::sync::Arc;

fn candidates(spec: &EnvSpec) -> &CandidateSpec {
    let ObsSpec::Candidates(candidates) = &spec.obs else { panic!("no candidates") };
    candidates
}

/// Five candidates, of which 1, 2 and 3 are answers.
fn group() -> AnswerGroup {
    let spec = CandidateSpec { num_candidates: 5, answers: 1..4, ..candidates(Riddle::new().spec()).clone() };
    AnswerGroup::new(&spec, "key", 1).unwrap()
}

#[test]
fn answers_are_one_action() {
    let group = group();
    assert_eq!((group.num_actions(), group.answer()), (3, 1));
    assert_eq!([0, 1, 2, 3, 4].map(|c| group.action_of(c)), [0, 1, 1, 1, 2]);
    assert_eq!([0, 2].map(|a| group.candidate_of(a)), [0, 4]);
    let mut grouped = Grouped::default();
    let logits = [0.5, 1.0, 2.0, 9.0, -1.0];
    group.group(&logits, &[1, 1, 1, 0, 0], &mut grouped);
    let mean = ((1f64.exp() + 2f64.exp()) / 2.0).ln() as f32;
    assert_eq!(grouped.mask, [1, 1, 0]);
    assert!((grouped.logits[1] - mean).abs() < 1e-6 && grouped.logits[0] == 0.5 && grouped.logits[2] == -1.0);
    assert_eq!(group.likeliest(&logits, |i| i != 3), Some(2));
    assert_eq!(group.likeliest(&logits, |i| i == 0), None);
    // Without a legal answer there is nothing to group.
    group.group(&logits, &[1, 0, 0, 0, 0], &mut grouped);
    assert_eq!((grouped.mask[1], grouped.logits[1]), (0, 0.0));
}

#[test]
fn tasks_without_answers_are_refused_by_the_key() {
    let spec = CandidateSpec { answers: 0..0, ..candidates(Riddle::new().spec()).clone() };
    let error = AnswerGroup::new(&spec, "ppo.label_coef", 1.0).unwrap_err().to_string();
    assert!(error.starts_with("ppo.label_coef = 1"), "{error}");
}

#[test]
fn gradients_of_actions_reach_the_candidates() {
    let group = group();
    let logits = [0.3f32, -0.4, 0.9, 0.1, 0.6, 0.2, 0.0, -0.7, 1.1, 0.5];
    let mask = [1, 1, 1, 0, 1, 1, 1, 1, 1, 1];
    let weights = [0.7f32, -1.3, 0.4, -0.2, 0.8, 0.5];
    let value = |logits: &[f32]| {
        let mut grouped = Grouped::default();
        group.group(logits, &mask, &mut grouped);
        grouped.logits.iter().zip(&weights).map(|(l, w)| f64::from(l * w)).sum::<f64>()
    };
    let mut grads = [9.0f32; 10];
    group.spread(&weights, &logits, &mask, &mut grads, &mut Grouped::default()).unwrap();
    for i in 0..10 {
        let (mut up, mut down) = (logits, logits);
        up[i] += 1e-2;
        down[i] -= 1e-2;
        let numeric = (value(&up) - value(&down)) / 2e-2;
        assert!((numeric - f64::from(grads[i])).abs() < 1e-3, "{i}: {} not {numeric}", grads[i]);
    }
    assert_eq!(grads[3], 0.0, "an illegal answer has no share");
}

#[test]
fn the_loss_of_the_classifier_has_its_exact_value() {
    let group = group();
    let mut grads = [7.0f32; 5];
    // Two legal answers with odds of 3 to 1.
    let logits = [5.0, 3f32.ln(), 0.0, 99.0, 5.0];
    let report = answer_loss(&group, &logits, &[1, 1, 1, 0, 1], &[2], 2.0, &mut grads).unwrap();
    assert!((report.cross_entropy - 4f64.ln()).abs() < 1e-6 && report.accuracy == 0.0);
    let expected = [0.0, 1.5, -1.5, 0.0, 0.0];
    assert!(grads.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-6), "{grads:?}");
    let report = answer_loss(&group, &logits, &[1, 1, 1, 0, 1], &[1], 2.0, &mut grads).unwrap();
    assert_eq!(report.accuracy, 1.0);
    for label in [0, 3] {
        let error = answer_loss(&group, &logits, &[1, 1, 1, 0, 1], &[label], 1.0, &mut grads).unwrap_err();
        assert!(error.to_string().contains("no legal answer"), "{error}");
    }
}

/// One episode: both questions, then an answer.
fn episode() -> Vec<Transition<retune::env::CandidateObs, Slate>> {
    let mut env = Riddle::new();
    let mut obs = Arc::new(env.reset(Some(4)).unwrap());
    let mut steps = Vec::new();
    for candidate in [0, 1, 3] {
        let action = Slate(vec![candidate]);
        let step = env.step(&action).unwrap();
        let next_obs = Arc::new(step.obs);
        let (reward, status) = (step.reward, step.status);
        steps.push(Transition { obs, action, log_prob: 0.0, reward, status, next_obs: Arc::clone(&next_obs) });
        obs = next_obs;
    }
    steps
}

#[test]
fn labels_reach_the_states_of_earlier_rounds() {
    let env = Riddle::new();
    let batcher = Batcher::new(candidates(env.spec()));
    let steps = episode();
    let label = steps[2].next_obs.feedback.as_ref().unwrap().best.unwrap();
    let round =
        |steps: &[_]| Rollout { round: 0, version: 0, segments: vec![Segment { env: 0, steps: steps.to_vec() }] };
    let (mut whole, mut cut) = (LabelledRows::default(), LabelledRows::default());
    LabelQueue::default().push(&batcher, &round(&steps), &mut whole).unwrap();
    let mut queue = LabelQueue::default();
    for t in 0..3 {
        queue.push(&batcher, &round(&steps[t..=t]), &mut cut).unwrap();
        assert_eq!(cut.len(), if t < 2 { 0 } else { 3 }, "a label is known at the end only");
        queue = serde_json::from_str(&serde_json::to_string(&queue).unwrap()).unwrap();
    }
    assert_eq!((&whole.obs, &whole.labels, whole.episodes), (&cut.obs, &vec![label; 3], cut.episodes));
    assert_eq!((whole.actions, whole.goes_on), (vec![0, 1, 3], vec![true, true, false]));
    // Negative control: an episode whose answer stays hidden teaches nothing.
    let mut hidden = steps;
    let mut last = hidden[2].next_obs.as_ref().clone();
    last.feedback.as_mut().unwrap().best = None;
    hidden[2].next_obs = Arc::new(last);
    let mut none = LabelledRows::default();
    LabelQueue::default().push(&batcher, &round(&hidden), &mut none).unwrap();
    assert_eq!((none.len(), none.episodes), (0, 0));
}

#[test]
fn a_memory_keeps_the_states_of_the_last_answers_exactly() {
    use retune::persist::StateDict;
    use retune::replay::ObsBatch;
    use retune::rng::Seed;
    let env = Riddle::new();
    let batcher = Batcher::new(candidates(env.spec()));
    // Three episodes of one to three states; state features number the rows.
    let mut rows = LabelledRows::default();
    for (i, goes_on) in [false, true, false, true, true, false].into_iter().enumerate() {
        let obs = retune::env::CandidateObs { state: vec![i as f32, 0.5], mask: vec![true; 4], ..Default::default() };
        batcher.push(&mut rows.obs, &obs).unwrap();
        rows.labels.push(i as u32);
        rows.goes_on.push(goes_on);
    }
    let mut memory = LabelMemory::new(2, Seed::root(1).rng());
    let (mut obs, mut labels) = (ObsBatch::default(), Vec::new());
    memory.sample(&batcher, 8, &mut obs, &mut labels);
    assert!(labels.is_empty() && obs.mask.is_empty(), "nothing to draw");
    memory.push(&batcher, &rows);
    let mut state = StateDict::default();
    memory.save(&mut state, "m.").unwrap();
    // Rows 0, 2 and 5 had the answers; there is room for two, and the oldest went.
    assert_eq!(state.u32s("m.memory.labels").unwrap(), [5, 2]);
    assert_eq!(state.f32s("m.memory.state").unwrap(), [5.0, 0.5, 2.0, 0.5]);
    let mut again = LabelMemory::new(2, Seed::root(2).rng());
    again.load(&batcher, &state, "m.").unwrap();
    let (mut other, mut others) = (ObsBatch::default(), Vec::new());
    memory.sample(&batcher, 50, &mut obs, &mut labels);
    again.sample(&batcher, 50, &mut other, &mut others);
    assert_eq!((&obs, &labels), (&other, &others));
    assert!(
        labels.contains(&2) && labels.contains(&5) && obs.state.chunks(2).zip(&labels).all(|(s, &l)| s[0] == l as f32)
    );
    let error = LabelMemory::new(3, Seed::root(1).rng()).load(&batcher, &state, "m.").unwrap_err().to_string();
    assert!(error.contains("room for 2 states"), "{error}");
    state.put_u32s("m.memory.labels".to_owned(), &[5]);
    let error = again.load(&batcher, &state, "m.").unwrap_err().to_string();
    assert!(error.contains("expected 1 rows"), "{error}");
}

#[test]
fn answers_wait_while_a_question_is_open() {
    let group = group();
    let mut grouped = Grouped::default();
    grouped.copy(&[0.0; 9], &[1, 1, 0, 0, 1, 0, 1, 0, 1]);
    group.hold_answers(&mut grouped);
    assert_eq!(grouped.mask, [1, 0, 0, 0, 1, 0, 1, 0, 1]);
}
