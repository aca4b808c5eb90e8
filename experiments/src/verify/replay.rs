//! Prioritised replay against the golden file.

use super::golden::{Case, TOLERANCE, cases};
use super::{Found, Listed, Subjects};
use anyhow::Result;
use retune::replay::{Priorities, PriorityConfig, WeightScale};

const PRIORITIZED: &str = include_str!("../../../tests/golden/targets/prioritized.json");

pub const CHECKS: &[Listed] = &[
    ("prioritised replay, probabilities and draws", "golden: plain formulas", draws),
    ("prioritised replay, importance weights", "golden: plain formulas", weights),
];

/// The priorities of a case.
fn priorities(subjects: &Subjects, case: &Case, weight_scale: WeightScale) -> Result<(Priorities, usize)> {
    let config = PriorityConfig { alpha: case.number("alpha")?, epsilon: case.number("epsilon")?, weight_scale };
    let given = case.table("priorities")?;
    let mut priorities = (subjects.priorities)(config, given.len());
    given.iter().enumerate().for_each(|(i, &p)| priorities.set(i, p));
    Ok((priorities, given.len()))
}

fn draws(subjects: &Subjects) -> Result<Found> {
    let mut found = Found::within(TOLERANCE);
    for case in cases(PRIORITIZED)? {
        let (priorities, len) = priorities(subjects, &case, WeightScale::Batch)?;
        let probabilities: Vec<f64> = (0..len).map(|i| priorities.probability(i)).collect();
        found.compare_all(&probabilities, &case.expected("probabilities")?)?;
        let drawn: Vec<f64> = priorities.draw(&case.table("uniforms")?).into_iter().map(|i| i as f64).collect();
        found.compare_all(&drawn, &case.expected("indices")?)?;
    }
    Ok(found)
}

fn weights(subjects: &Subjects) -> Result<Found> {
    // Weights are single precision.
    let mut found = Found::within(1e-6);
    for case in cases(PRIORITIZED)? {
        for (scale, name) in
            [(WeightScale::Batch, "weights_over_batch_max"), (WeightScale::Memory, "weights_over_buffer_max")]
        {
            let (priorities, len) = priorities(subjects, &case, scale)?;
            let drawn = case.expected("indices")?.into_iter().map(|i| i as usize).collect::<Vec<_>>();
            let weights = priorities.weights(&drawn, len, case.number("beta")?);
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            found.compare_all(&weights, &case.expected(name)?)?;
        }
    }
    Ok(found)
}
