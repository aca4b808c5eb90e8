//! Agreement with Gymnasium's tables, transition by transition. See `tests/golden/control/generate.py`.

use super::{LakeMap, cliff_walking, frozen_lake, taxi, taxi_mask};
use crate::finite::Mdp;
use serde::Deserialize;
use std::collections::BTreeMap;

const GOLDEN: &str = include_str!("../../../../tests/golden/control/tables.json");

#[derive(Deserialize)]
struct File {
    tables: BTreeMap<String, Table>,
}

/// Probability, next state, reward, terminated.
type Transition = (f64, usize, f64, u8);

#[derive(Deserialize)]
struct Table {
    time_limit: Option<u64>,
    start: Vec<f64>,
    outcomes: Vec<Vec<Vec<Transition>>>,
    /// State, action, uniform draw, next state, reward, terminated.
    walk: Vec<(usize, usize, f64, usize, f64, u8)>,
    #[serde(default)]
    masks: Vec<String>,
}

fn tables() -> BTreeMap<String, Table> {
    serde_json::from_str::<File>(GOLDEN).unwrap().tables
}

fn ours() -> Vec<(&'static str, Mdp)> {
    vec![
        ("FrozenLake-v1", frozen_lake(LakeMap::Small, true)),
        ("FrozenLake-v1 not slippery", frozen_lake(LakeMap::Small, false)),
        ("FrozenLake8x8-v1", frozen_lake(LakeMap::Large, true)),
        ("FrozenLake8x8-v1 not slippery", frozen_lake(LakeMap::Large, false)),
        ("CliffWalking-v1", cliff_walking(false)),
        ("CliffWalkingSlippery-v1", cliff_walking(true)),
        ("Taxi-v3", taxi()),
    ]
}

#[test]
fn every_transition_is_that_of_gymnasium() {
    let tables = tables();
    assert_eq!(tables.len(), ours().len());
    for (name, mdp) in ours() {
        let table = &tables[name];
        assert_eq!(mdp.time_limit(), table.time_limit, "{name}");
        assert_eq!(mdp.num_states(), table.outcomes.len(), "{name}");
        for (p, expected) in mdp.start().iter().zip(&table.start) {
            assert!((p - expected).abs() < 1e-15, "{name}");
        }
        for (s, row) in table.outcomes.iter().enumerate() {
            assert_eq!(mdp.num_actions(), row.len(), "{name}");
            for (a, expected) in row.iter().enumerate() {
                let found: Vec<_> = mdp
                    .outcomes(s, a)
                    .iter()
                    .map(|o| (o.probability, o.next, o.reward, u8::from(o.terminated)))
                    .collect();
                let same = |(f, e): (&Transition, &Transition)| {
                    (f.0 - e.0).abs() < 1e-15 && (f.1, f.2, f.3) == (e.1, e.2, e.3)
                };
                let matches = found.len() == expected.len() && found.iter().zip(expected).all(same);
                assert!(matches, "{name}, state {s}, action {a}: {found:?}, expected {expected:?}");
            }
        }
    }
}

#[test]
fn the_same_uniform_draw_leads_to_the_same_state() {
    for (name, mdp) in ours() {
        for &(state, action, draw, next, reward, terminated) in &tables()[name].walk {
            let outcome = mdp.outcome(state, action, draw);
            let found = (outcome.next, outcome.reward, u8::from(outcome.terminated));
            assert_eq!(found, (next, reward, terminated), "{name}: action {action} in state {state}, draw {draw}");
        }
    }
}

#[test]
fn the_mask_of_taxi_is_that_of_gymnasium() {
    let text = |row: &Vec<bool>| row.iter().map(|&open| if open { '1' } else { '0' }).collect::<String>();
    let found: Vec<String> = taxi_mask().iter().map(text).collect();
    assert_eq!(found, tables()["Taxi-v3"].masks);
}

/// The optima that Gymnasium's registry names in comments, 0.74 and 0.91, and the walk of 13 steps along the cliff. For
/// Taxi the comment says 8.46, which the table of transitions, the same there and here, does not give.
#[test]
fn the_best_returns_are_the_published_ones() {
    let cases = [(0, 0.74, 0.005), (2, 0.91, 0.05), (1, 1.0, 1e-12), (6, 7.93, 1e-9)];
    for (i, expected, tolerance) in cases {
        let (name, mdp) = &ours()[i];
        let best = mdp.best_return_within(mdp.time_limit().unwrap());
        assert!((best - expected).abs() <= tolerance, "{name}: {best}");
    }
    assert_eq!(ours()[4].1.best_return_within(100), -13.0);
}
