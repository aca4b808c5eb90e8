//! Agreement with Gymnasium, step by step. See `tests/golden/control/generate.py`.

use super::{AcrobotPhysics, CartPolePhysics, Classic, MountainCarPhysics, Physics};
use retune::env::{Env, Status, TimeLimit};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

const GOLDEN: &str = include_str!("../../../../tests/golden/control/classic.json");

#[derive(Deserialize)]
struct File<S> {
    episodes: BTreeMap<String, S>,
}

#[derive(Deserialize)]
struct Episode<S, O> {
    /// One digit per step.
    actions: String,
    /// Before every step and after the last; in a long episode only as many at the beginning as at the end.
    states: Vec<S>,
    obs: Vec<O>,
    rewards: Vec<f64>,
    end: String,
    /// Moments left out in the middle.
    skipped: usize,
}

impl<S, O> Episode<S, O> {
    fn actions(&self) -> Vec<u32> {
        self.actions.bytes().map(|digit| u32::from(digit - b'0')).collect()
    }

    /// Number of the moment that row `i` of `states` and `obs` shows.
    fn moment(&self, i: usize) -> usize {
        if i < self.states.len() / 2 || self.skipped == 0 { i } else { i + self.skipped }
    }
}

fn episodes<P: Physics>(name: &str) -> Vec<Episode<P::State, P::Obs>>
where
    P::State: DeserializeOwned,
    P::Obs: DeserializeOwned,
{
    let file: File<serde_json::Value> = serde_json::from_str(GOLDEN).unwrap();
    serde_json::from_value(file.episodes[name].clone()).unwrap()
}

/// Sine and cosine of numpy and of the C library differ in the last bit now and then.
const EXACT: f64 = 1e-13;
/// What such a bit may grow to over an episode; the measured worst case is a hundred times less.
const DRIFT: f64 = 1e-7;

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what}: {found:?}, expected {expected:?}");
    }
}

/// Every recorded step alone, from the recorded state.
fn single_steps<P: Physics>(name: &str)
where
    P::Obs: AsRef<[f32]>,
{
    for episode in episodes::<P>(name) {
        let actions = episode.actions();
        for (i, pair) in episode.states.windows(2).enumerate() {
            let t = episode.moment(i);
            if episode.moment(i + 1) != t + 1 {
                continue;
            }
            let mut state = pair[0];
            let (reward, over) = P::advance(&mut state, actions[t]);
            assert_near(state.as_ref(), pair[1].as_ref(), EXACT, &format!("{name}, step {t}"));
            assert_eq!(reward, episode.rewards[t], "{name}, step {t}");
            assert_eq!(over, t + 1 == actions.len() && episode.end == "terminated", "{name}, step {t}");
            let (shown, expected) = (P::observe(&pair[1]), &episode.obs[i + 1]);
            for (a, b) in shown.as_ref().iter().zip(expected.as_ref()) {
                assert!((a - b).abs() <= f32::EPSILON * b.abs(), "{name}, step {t}: {shown:?}, expected {expected:?}");
            }
        }
    }
}

/// Whole episodes from the recorded first state, with the time limit, through the interface that agents see.
fn whole_episodes<P: Physics>(name: &str)
where
    P::Obs: AsRef<[f32]>,
{
    for episode in episodes::<P>(name) {
        let mut begun = Classic::<P>::new();
        begun.begin_at(episode.states[0]).unwrap();
        let mut env = TimeLimit::from_spec(Classic::<P>::new()).unwrap();
        env.reset(Some(0)).unwrap();
        let mut state = env.save_state().unwrap();
        state.state["inner"] = serde_json::to_value(begun.save_state().unwrap()).unwrap();
        env.restore_state(&state).unwrap();
        let mut status = Status::Running;
        for (t, action) in episode.actions().iter().enumerate() {
            let step = env.step(action).unwrap();
            assert_eq!(step.reward, episode.rewards[t]);
            assert_eq!(step.status == Status::Running, t + 1 < episode.actions.len() || episode.end == "running");
            status = step.status;
        }
        assert_eq!(serde_json::to_value(status).unwrap(), episode.end);
        let last = episode.states.last().unwrap();
        assert_near(env.inner().state().as_ref(), last.as_ref(), DRIFT, name);
    }
}

#[test]
fn cart_pole_agrees_with_gymnasium() {
    single_steps::<CartPolePhysics>("CartPole-v1");
    whole_episodes::<CartPolePhysics>("CartPole-v1");
}

#[test]
fn acrobot_agrees_with_gymnasium() {
    single_steps::<AcrobotPhysics>("Acrobot-v1");
    whole_episodes::<AcrobotPhysics>("Acrobot-v1");
}

#[test]
fn mountain_car_agrees_with_gymnasium() {
    single_steps::<MountainCarPhysics>("MountainCar-v0");
    whole_episodes::<MountainCarPhysics>("MountainCar-v0");
}

/// Negative control: the integrator that Gymnasium does not use by default is told apart at the first step.
#[test]
fn another_integrator_would_not_pass() {
    let episode = &episodes::<CartPolePhysics>("CartPole-v1")[0];
    let mut state = episode.states[0];
    let before = state;
    CartPolePhysics::advance(&mut state, episode.actions()[0]);
    let semi_implicit = before[0] + 0.02 * state[1];
    assert!((semi_implicit - episode.states[1][0]).abs() > 1e-6);
    assert!((state[0] - episode.states[1][0]).abs() < EXACT);
}
