//! Aggregates of a score matrix and the probability of improvement.

use super::Scores;
use crate::{Error, Result};

/// An aggregate of a score matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// [`mean`].
    Mean,
    /// [`median`].
    Median,
    /// [`iqm`].
    Iqm,
    /// [`optimality_gap`] with this γ.
    OptimalityGap(f64),
}

impl Metric {
    /// The value of this aggregate.
    #[must_use]
    pub fn value(self, scores: &Scores) -> f64 {
        match self {
            Self::Mean => mean(scores),
            Self::Median => median(scores),
            Self::Iqm => iqm(scores),
            Self::OptimalityGap(gamma) => optimality_gap(scores, gamma),
        }
    }
}

/// Mean over tasks of the mean over runs.
#[must_use]
pub fn mean(scores: &Scores) -> f64 {
    scores.values().iter().sum::<f64>() / scores.values().len() as f64
}

/// Median over tasks of the mean over runs; with an even number of tasks the two in the middle are averaged.
#[must_use]
pub fn median(scores: &Scores) -> f64 {
    median_in_place(&mut scores.task_means())
}

/// Interquartile mean: of all n scores in one sorted list, ⌊n/4⌋ are cut from each end and the rest is averaged.
///
/// Whole scores are cut, as rliable does; below four scores this is the mean.
#[must_use]
pub fn iqm(scores: &Scores) -> f64 {
    let mut sorted = scores.values().to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    let middle = &sorted[cut..sorted.len() - cut];
    middle.iter().sum::<f64>() / middle.len() as f64
}

/// How far the scores fall short of `gamma` on average, where a score above `gamma` counts as `gamma`:
/// γ − mean of min(score, γ).
#[must_use]
pub fn optimality_gap(scores: &Scores, gamma: f64) -> f64 {
    gamma - mean(&scores.map(|v| v.min(gamma)))
}

/// Share of pairs (run of `x`, run of `y`) with x > y for each task; a tie counts one half: `[num_tasks]`.
///
/// All pairs count, also when the runs are paired by seed, so that the figure means what rliable's means.
///
/// # Errors
/// If the two matrices differ in their number of tasks.
pub fn improvement_per_task(x: &Scores, y: &Scores) -> Result<Vec<f64>> {
    same_tasks(x, y)?;
    let pairs = (x.num_runs() * y.num_runs()) as f64;
    let share = |task| {
        let wins: f64 = x.task(task).iter().map(|&a| y.task(task).iter().map(|&b| win(a, b)).sum::<f64>()).sum();
        wins / pairs
    };
    Ok((0..x.num_tasks()).map(share).collect())
}

/// Mean over tasks of [`improvement_per_task`]: how probable it is that a run of `x` beats a run of `y`.
///
/// # Errors
/// If the two matrices differ in their number of tasks.
pub fn probability_of_improvement(x: &Scores, y: &Scores) -> Result<f64> {
    let shares = improvement_per_task(x, y)?;
    Ok(shares.iter().sum::<f64>() / shares.len() as f64)
}

/// 1 if `a` wins, one half for a tie, 0 otherwise.
pub(super) fn win(a: f64, b: f64) -> f64 {
    f64::from(u8::from(a > b)) + 0.5 * f64::from(u8::from(a == b))
}

/// Refuses two matrices with different tasks.
pub(super) fn same_tasks(x: &Scores, y: &Scores) -> Result<()> {
    if x.num_tasks() == y.num_tasks() {
        return Ok(());
    }
    let given = format!("{} and {}", x.num_tasks(), y.num_tasks());
    Err(Error::config("tasks of the two score matrices", given, "both need the same tasks in the same order"))
}

/// Median of a non-empty slice, which it reorders.
pub(super) fn median_in_place(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { 0.5 * (values[middle - 1] + values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Case, close, golden};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn aggregates_match_the_golden_values() {
        for case in golden("aggregates.json") {
            let scores = case.matrix("scores");
            let expected = &case.0["expected"];
            for (name, metric) in [("mean", Metric::Mean), ("median", Metric::Median), ("iqm", Metric::Iqm)] {
                close(metric.value(&scores), expected[name].as_f64().unwrap(), &format!("{} {name}", case.name()));
            }
            let gaps = Case::numbers(&expected["optimality_gap"]);
            for (gamma, gap) in Case::numbers(&case.0["gammas"]).into_iter().zip(gaps) {
                close(optimality_gap(&scores, gamma), gap, &format!("{} gap {gamma}", case.name()));
            }
        }
    }

    #[test]
    fn improvement_matches_the_golden_values() {
        for case in golden("improvement.json") {
            let (x, y) = (case.matrix("x"), case.matrix("y"));
            let expected = &case.0["expected"];
            let got = probability_of_improvement(&x, &y).unwrap();
            close(got, expected["probability_of_improvement"].as_f64().unwrap(), case.name());
            let shares = improvement_per_task(&x, &y).unwrap();
            for (got, want) in shares.into_iter().zip(Case::numbers(&expected["per_task"])) {
                close(got, want, case.name());
            }
        }
    }

    #[test]
    fn different_tasks_are_refused() {
        let (x, y) = (Scores::from_runs(&[[1.0, 2.0]]).unwrap(), Scores::from_seeds(&[1.0]).unwrap());
        assert!(probability_of_improvement(&x, &y).unwrap_err().to_string().contains("2 and 1"));
    }

    proptest! {
        #[test]
        fn iqm_lies_between_the_quartile_scores(values in prop::collection::vec(-1e6..1e6, 1..40)) {
            let got = iqm(&Scores::from_seeds(&values).unwrap());
            let mut sorted = values;
            sorted.sort_unstable_by(f64::total_cmp);
            let cut = sorted.len() / 4;
            prop_assert!(got >= sorted[cut] - 1e-9 && got <= sorted[sorted.len() - 1 - cut] + 1e-9);
        }

        #[test]
        fn improvement_is_antisymmetric(x in prop::collection::vec(0..6i32, 1..12), y in prop::collection::vec(0..6i32, 1..12)) {
            // Small integers, so that ties are common.
            let scores = |v: &[i32]| Scores::from_seeds(&v.iter().map(|&i| f64::from(i)).collect::<Vec<_>>()).unwrap();
            let (x, y) = (scores(&x), scores(&y));
            let (a, b) = (probability_of_improvement(&x, &y).unwrap(), probability_of_improvement(&y, &x).unwrap());
            prop_assert!((a + b - 1.0).abs() < 1e-12);
        }
    }
}
