//! Slate values, serving rules and targets of SlateQ against RecSim.

use super::{Found, Listed, Subjects};
use anyhow::Result;
use retune::slate::{ItemValues, SlateRule};
use serde::Deserialize;

const SLATEQ: &str = include_str!("../../../tests/golden/rec_sim/slateq.json");

pub const CHECKS: &[Listed] = &[
    ("SlateQ targets: SARSA, TT, GT, OT", "golden: RecSim", targets),
    ("SlateQ serving: TS, GS, OS", "golden: RecSim", serving),
    ("SlateQ targets with a value of nothing", "golden: enumeration", null_targets),
];

#[derive(Deserialize)]
struct File {
    tolerance: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    slate_size: usize,
    q: Vec<f64>,
    reward: f64,
    gamma: f64,
    terminal: bool,
    next_slate: Vec<u32>,
    expect: Expect,
    null_aware: NullAware,
}

#[derive(Deserialize)]
struct Expect {
    v: Vec<f64>,
    v_no_click: f64,
    #[serde(flatten)]
    results: Results,
}

#[derive(Deserialize)]
struct NullAware {
    q_null: f64,
    #[serde(flatten)]
    results: Results,
}

#[derive(Deserialize)]
struct Results {
    serve_topk: Vec<u32>,
    serve_greedy: Vec<u32>,
    serve_optimal: Vec<u32>,
    target_sarsa: f64,
    target_topk: f64,
    target_greedy: f64,
    target_optimal: f64,
}

impl Case {
    fn items(&self, q_null: f64) -> Result<ItemValues<'_>> {
        Ok(ItemValues::new(&self.expect.v, &self.q, &[], self.expect.v_no_click, q_null)?)
    }

    fn compare_targets(&self, subjects: &Subjects, q_null: f64, right: &Results, found: &mut Found) -> Result<()> {
        let items = self.items(q_null)?;
        let next = |slate: &[u32]| if self.terminal { 0.0 } else { (subjects.slate_value)(&items, slate) };
        found.compare(self.reward + self.gamma * next(&self.next_slate), right.target_sarsa);
        for (rule, expected) in [
            (SlateRule::TopK, right.target_topk),
            (SlateRule::Greedy, right.target_greedy),
            (SlateRule::Optimal, right.target_optimal),
        ] {
            let slate = (subjects.select)(&items, rule, self.slate_size)?;
            found.compare(self.reward + self.gamma * next(&slate), expected);
        }
        Ok(())
    }
}

fn targets(subjects: &Subjects) -> Result<Found> {
    let file: File = serde_json::from_str(SLATEQ)?;
    let mut found = Found::within(file.tolerance);
    for case in &file.cases {
        case.compare_targets(subjects, 0.0, &case.expect.results, &mut found)?;
    }
    Ok(found)
}

fn null_targets(subjects: &Subjects) -> Result<Found> {
    let file: File = serde_json::from_str(SLATEQ)?;
    let mut found = Found::within(file.tolerance);
    for case in &file.cases {
        case.compare_targets(subjects, case.null_aware.q_null, &case.null_aware.results, &mut found)?;
    }
    Ok(found)
}

fn serving(subjects: &Subjects) -> Result<Found> {
    let file: File = serde_json::from_str(SLATEQ)?;
    let mut found = Found::within(0.0);
    for case in &file.cases {
        let items = case.items(0.0)?;
        let right = &case.expect.results;
        for (rule, expected) in [
            (SlateRule::TopK, &right.serve_topk),
            (SlateRule::Greedy, &right.serve_greedy),
            (SlateRule::Optimal, &right.serve_optimal),
        ] {
            let mut slate = (subjects.select)(&items, rule, case.slate_size)?;
            // The file lists what greedy and optimal slates hold, not in which order.
            if rule != SlateRule::TopK {
                slate.sort_unstable();
            }
            let numbers = |slate: &[u32]| slate.iter().map(|&i| f64::from(i)).collect::<Vec<f64>>();
            found.compare_all(&numbers(&slate), &numbers(expected))?;
        }
    }
    Ok(found)
}
