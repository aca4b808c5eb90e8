//! Performance profiles: how the scores are distributed, as a curve over thresholds.

use super::Scores;

/// For each threshold, the share of all scores strictly above it: `[taus.len()]`.
#[must_use]
pub fn score_distribution(scores: &Scores, taus: &[f64]) -> Vec<f64> {
    taus.iter().map(|&tau| share_above(scores.values(), tau)).collect()
}

/// For each threshold, the share of tasks whose mean over runs is strictly above it: `[taus.len()]`.
#[must_use]
pub fn average_score_distribution(scores: &Scores, taus: &[f64]) -> Vec<f64> {
    let means = scores.task_means();
    taus.iter().map(|&tau| share_above(&means, tau)).collect()
}

fn share_above(values: &[f64], tau: f64) -> f64 {
    values.iter().filter(|&&v| v > tau).count() as f64 / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Case, close, golden};
    use super::*;

    #[test]
    fn profiles_match_the_golden_values() {
        for case in golden("profiles.json") {
            let scores = case.matrix("scores");
            let taus = Case::numbers(&case.0["taus"]);
            let check = |got: Vec<f64>, key: &str| {
                let expected = Case::numbers(&case.0["expected"][key]);
                assert_eq!(got.len(), expected.len());
                for (got, want) in got.into_iter().zip(expected) {
                    close(got, want, &format!("{} {key}", case.name()));
                }
            };
            check(score_distribution(&scores, &taus), "score_distribution");
            check(average_score_distribution(&scores, &taus), "average_score_distribution");
        }
    }
}
