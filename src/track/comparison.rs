//! Two arms compared.

use super::summary::{ArmKind, ScoreSet};
use crate::Result;
use crate::stats::{Bootstrap, Claim, Interval, Metric, Pairing, Scores};
use serde::{Deserialize, Serialize};

/// Arm a against arm b.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The one arm.
    pub a: String,
    /// The other arm.
    pub b: String,
    /// Interquartile mean of a minus that of b, over the seeds that count here.
    pub difference_iqm: f64,
    /// 95 percent percentile bootstrap interval of the difference. With few seeds it is too narrow.
    pub ci95: Interval,
    /// The interval widened for the number of seeds, on which claims rest; none with one seed.
    #[serde(default)]
    pub ci95_expanded: Option<Interval>,
    /// Probability that a seed of a is better than a seed of b; a tie counts one half.
    pub probability_of_improvement: f64,
    /// About how many seeds would show a difference of this size with probability 0.8; none if it cannot be told.
    pub seeds_for_80_percent_power: Option<u64>,
    /// Seeds that both arms finished if paired, otherwise the seeds of the arm with fewer.
    pub seeds: usize,
    /// How the seeds of the two arms belong together.
    pub pairing: Pairing,
    /// What may be said.
    pub claim: Claim,
}

impl Comparison {
    /// Compares two arms of one study. Seeds that both finished are paired, because they met the same evaluation
    /// episodes, and the others are left out; only if fewer than two are common do all count as independent. None if
    /// an arm has no score.
    ///
    /// # Errors
    /// If a score is not finite.
    pub fn of(
        a: (&str, &ScoreSet),
        b: (&str, &ScoreSet),
        higher_is_better: bool,
        bootstrap: &Bootstrap,
    ) -> Result<Option<Self>> {
        let score = |set: &ScoreSet, seed| set.seeds.iter().position(|&s| s == seed).map(|at| set.scores[at]);
        let pairs = a.1.seeds.iter().filter_map(|&seed| Some((score(a.1, seed)?, score(b.1, seed)?)));
        let (of_a, of_b): (Vec<f64>, Vec<f64>) = pairs.unzip();
        if of_a.len() < 2 {
            return Self::independent(a, b, higher_is_better, bootstrap);
        }
        Self::with((a.0, &of_a), (b.0, &of_b), higher_is_better, bootstrap, Pairing::BySeed).map(Some)
    }

    /// Compares two arms whose seeds have nothing in common, such as arms of two studies. None if an arm has no score.
    ///
    /// # Errors
    /// If a score is not finite.
    pub fn independent(
        a: (&str, &ScoreSet),
        b: (&str, &ScoreSet),
        higher_is_better: bool,
        bootstrap: &Bootstrap,
    ) -> Result<Option<Self>> {
        if a.1.scores.is_empty() || b.1.scores.is_empty() {
            return Ok(None);
        }
        let (of_a, of_b) = ((a.0, a.1.scores.as_slice()), (b.0, b.1.scores.as_slice()));
        Self::with(of_a, of_b, higher_is_better, bootstrap, Pairing::Independent).map(Some)
    }

    fn with(
        a: (&str, &[f64]),
        b: (&str, &[f64]),
        higher_is_better: bool,
        bootstrap: &Bootstrap,
        pairing: Pairing,
    ) -> Result<Self> {
        let (of_a, of_b) = (Scores::from_seeds(a.1)?, Scores::from_seeds(b.1)?);
        let difference = bootstrap.difference(&of_a, &of_b, Metric::Iqm, pairing)?;
        Ok(Self {
            a: a.0.to_owned(),
            b: b.0.to_owned(),
            difference_iqm: difference.estimate,
            ci95: difference.interval,
            ci95_expanded: difference.expanded,
            probability_of_improvement: difference.probability_of_improvement(higher_is_better),
            seeds_for_80_percent_power: difference.seeds_for_80_percent_power(),
            seeds: difference.num_runs,
            pairing,
            claim: difference.claim(higher_is_better),
        })
    }
}

/// Every arm that learns by reinforcement against the supervised arm `best`, in the order of the arms. Empty without
/// a supervised arm.
///
/// `best` was chosen by the same scores, which favours it: the comparison is somewhat hard on the other arms.
pub(super) fn compare_all(
    arms: &[(&str, ArmKind, &ScoreSet)],
    best: Option<&str>,
    higher_is_better: bool,
    bootstrap: &Bootstrap,
) -> Result<Vec<Comparison>> {
    let Some(&(name, _, of_best)) = arms.iter().find(|arm| Some(arm.0) == best) else {
        return Ok(Vec::new());
    };
    let learners = arms.iter().filter(|arm| arm.1 == ArmKind::Rl);
    let compared = learners.map(|arm| Comparison::of((arm.0, arm.2), (name, of_best), higher_is_better, bootstrap));
    compared.filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::bootstrap;
    use super::*;

    fn compare(a: &[(u64, f64)], b: &[(u64, f64)]) -> Option<Comparison> {
        let (a, b) = (ScoreSet::measured(a.iter().copied()), ScoreSet::measured(b.iter().copied()));
        Comparison::of(("a", &a), ("b", &b), true, &bootstrap()).unwrap()
    }

    #[test]
    fn only_common_seeds_are_paired() {
        let c = compare(&[(7, 70.0), (1, 10.0), (2, 20.0)], &[(2, 18.0), (3, 500.0), (1, 9.0)]).unwrap();
        assert_eq!((c.seeds, c.pairing, c.difference_iqm), (2, Pairing::BySeed, 1.5));
    }

    #[test]
    fn without_common_seeds_all_are_independent() {
        let c = compare(&[(1, 10.0), (2, 20.0)], &[(2, 18.0), (3, 6.0), (4, 6.0)]).unwrap();
        assert_eq!((c.seeds, c.pairing, c.difference_iqm), (2, Pairing::Independent, 5.0));
        assert_eq!(compare(&[], &[(0, 1.0)]), None);
    }
}
