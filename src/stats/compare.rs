//! Two methods compared: interval of the difference, what may be claimed, and how many seeds a claim would need.

use super::aggregate::{probability_of_improvement, same_tasks};
use super::bootstrap::percentile;
use super::normal::{Z_80, Z_975, t_975, upper_tail};
use super::{Bootstrap, Interval, Metric, Scores};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The fewest seeds on which a claim may rest. With four paired seeds even complete agreement is no evidence: it
/// happens to equal methods one time in eight.
pub const CLAIM_SEEDS: usize = 5;

/// The least probability of improvement for a claim: a difference that is sure but smaller than what the seed does is
/// of little use (Bouthillier et al., "Accounting for variance in machine learning benchmarks", MLSys 2021,
/// section 4, recommend 0.75).
pub const CLAIM_PROBABILITY: f64 = 0.75;

/// The fewest seeds for the word "suggests".
const SUGGEST_SEEDS: usize = 3;

/// How the runs of two methods belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Run i of both methods used the same seed and met the same evaluation users, so one draw of runs serves both
    /// and what the seed does to both alike cancels.
    BySeed,
    /// The runs have nothing in common.
    Independent,
}

/// What the statistics support saying about methods a and b.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// a is better.
    Better,
    /// The data point that way but do not suffice for the claim.
    SuggestsBetter,
    /// Neither can be said.
    Undecided,
    /// The data point that way but do not suffice for the claim.
    SuggestsWorse,
    /// a is worse.
    Worse,
}

/// The difference of an aggregate between methods a and b, a − b.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The difference.
    pub estimate: f64,
    /// Percentile bootstrap interval at the level of the [`Bootstrap`]; too narrow with few seeds.
    pub interval: Interval,
    /// 95 percent expanded percentile interval: its tails are Φ(−√(n/(n−1)) · t₀.₉₇₅,ₙ₋₁), so that it has about the
    /// right width with few seeds n. None with one seed, where no interval can be given.
    pub expanded: Option<Interval>,
    /// Share of pairs of runs in which a's score is the higher one; a tie counts one half.
    pub probability_higher: f64,
    /// Runs of the method with the fewer runs.
    pub num_runs: usize,
    /// Standard error of the difference, from the replications, with the factor √(n/(n−1)) that the bootstrap leaves
    /// out. None with one seed.
    pub standard_error: Option<f64>,
    /// How the runs were drawn.
    pub pairing: Pairing,
}

impl Bootstrap {
    /// Compares two methods by an aggregate of their scores.
    ///
    /// # Errors
    /// If the matrices differ in their number of tasks, or in their number of runs although these are paired by seed.
    pub fn difference(&self, a: &Scores, b: &Scores, metric: Metric, pairing: Pairing) -> Result<Difference> {
        same_tasks(a, b)?;
        if pairing == Pairing::BySeed && a.num_runs() != b.num_runs() {
            let given = format!("{} and {}", a.num_runs(), b.num_runs());
            return Err(Error::config(
                "runs of the two methods",
                given,
                "pairing by seed needs the same seeds for both",
            ));
        }
        let mut values = self.differences(a, b, metric, pairing == Pairing::BySeed);
        let num_runs = a.num_runs().min(b.num_runs());
        Ok(Difference {
            estimate: metric.value(a) - metric.value(b),
            interval: self.percentiles(&mut values),
            expanded: expanded(&mut values, num_runs),
            probability_higher: probability_of_improvement(a, b)?,
            num_runs,
            standard_error: standard_error(&values, num_runs),
            pairing,
        })
    }
}

impl Difference {
    /// The probability that a run of a is better than a run of b.
    #[must_use]
    pub fn probability_of_improvement(&self, higher_is_better: bool) -> f64 {
        if higher_is_better { self.probability_higher } else { 1.0 - self.probability_higher }
    }

    /// What may be said of method a against b.
    ///
    /// A claim needs [`CLAIM_SEEDS`] seeds, an expanded interval without zero, and [`CLAIM_PROBABILITY`] in its
    /// favour. Three seeds, a plain interval without zero and the same probability suggest. Everything else is
    /// undecided.
    #[must_use]
    pub fn claim(&self, higher_is_better: bool) -> Claim {
        let better = (self.estimate > 0.0) == higher_is_better;
        let in_favour = self.probability_of_improvement(higher_is_better);
        let probable = if better { in_favour } else { 1.0 - in_favour } >= CLAIM_PROBABILITY;
        let excluded = |interval: Interval| if self.estimate > 0.0 { interval.low > 0.0 } else { interval.high < 0.0 };
        let sure = self.num_runs >= CLAIM_SEEDS && self.expanded.is_some_and(excluded);
        let hint = self.num_runs >= SUGGEST_SEEDS && excluded(self.interval);
        match (probable, sure, hint, better) {
            (true, true, _, true) => Claim::Better,
            (true, true, _, false) => Claim::Worse,
            (true, false, true, true) => Claim::SuggestsBetter,
            (true, false, true, false) => Claim::SuggestsWorse,
            _ => Claim::Undecided,
        }
    }

    /// About how many seeds a study needs so that a difference of this size is found with probability 0.8 by a
    /// two-sided test at the 5 percent level; never fewer than [`CLAIM_SEEDS`]. None where the number cannot be told:
    /// with one seed, or if there is no difference.
    ///
    /// n = (z₀.₉₇₅ + z₀.₈)² σ²/δ² + c with σ² = n₀ · SE² of the n₀ seeds at hand; c = z₀.₉₇₅²/2 for paired seeds and
    /// z₀.₉₇₅²/4 for independent ones accounts for the unknown variance (Guenther, "Sample size formulas for normal
    /// theory t tests", The American Statistician 35, 1981). A planning figure: with few seeds δ and σ are known
    /// poorly, and so is n.
    #[must_use]
    pub fn seeds_for_80_percent_power(&self) -> Option<u64> {
        let variance = self.standard_error?.powi(2) * self.num_runs as f64;
        let correction = match self.pairing {
            Pairing::BySeed => Z_975 * Z_975 / 2.0,
            Pairing::Independent => Z_975 * Z_975 / 4.0,
        };
        let seeds = (Z_975 + Z_80).powi(2) * variance / self.estimate.powi(2) + correction;
        // 2^53: beyond it a float is no exact integer. A zero difference gives infinity or NaN.
        (seeds < 9.0e15).then(|| (seeds.ceil() as u64).max(CLAIM_SEEDS as u64))
    }
}

fn expanded(values: &mut [f64], num_runs: usize) -> Option<Interval> {
    if num_runs < 2 {
        return None;
    }
    let n = num_runs as f64;
    let tail = upper_tail((n / (n - 1.0)).sqrt() * t_975(num_runs - 1));
    Some(Interval { low: percentile(values, tail), high: percentile(values, 1.0 - tail) })
}

fn standard_error(values: &[f64], num_runs: usize) -> Option<f64> {
    if num_runs < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    Some((variance * num_runs as f64 / (num_runs - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn compare(a: &[f64], b: &[f64], pairing: Pairing) -> Difference {
        let scores = |v: &[f64]| Scores::from_seeds(v).unwrap();
        let bootstrap = Bootstrap::new(Seed::root(5)).with(4_000, 0.95).unwrap();
        bootstrap.difference(&scores(a), &scores(b), Metric::Iqm, pairing).unwrap()
    }

    /// Scores around `mean` with standard deviation 1 where a shared part of the seed adds standard deviation 3.
    fn pair(seed: u64, runs: usize, mean: f64) -> (Vec<f64>, Vec<f64>) {
        let mut rng = Seed::root(seed).rng();
        (0..runs)
            .map(|_| {
                let shared = 3.0 * rng.normal();
                (mean + shared + rng.normal(), shared + rng.normal())
            })
            .unzip()
    }

    #[test]
    fn pairing_by_seed_takes_out_what_the_seed_does_to_both() {
        let (a, b) = pair(1, 10, 3.0);
        let width = |d: Difference| d.interval.high - d.interval.low;
        let (joint, independent) = (compare(&a, &b, Pairing::BySeed), compare(&a, &b, Pairing::Independent));
        assert!(width(joint) < 0.6 * width(independent), "{joint:?} {independent:?}");
        assert_eq!(joint.estimate, independent.estimate);
    }

    #[test]
    fn claims_need_seeds_interval_and_probability() {
        let base = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let plus = |d: f64| base.map(|v| v + d);
        assert_eq!(compare(&plus(4.0), &base, Pairing::BySeed).claim(true), Claim::Better);
        assert_eq!(compare(&plus(4.0), &base, Pairing::BySeed).claim(false), Claim::Worse);
        assert_eq!(compare(&base, &plus(4.0), Pairing::BySeed).claim(true), Claim::Worse);
        // The same difference from three seeds only suggests, from one says nothing.
        assert_eq!(compare(&plus(4.0)[..3], &base[..3], Pairing::BySeed).claim(true), Claim::SuggestsBetter);
        assert_eq!(compare(&plus(4.0)[..1], &base[..1], Pairing::BySeed).claim(true), Claim::Undecided);
        // A sure difference that is small beside the effect of the seed is no claim.
        assert_eq!(compare(&plus(0.1), &base, Pairing::BySeed).claim(true), Claim::Undecided);
        assert_eq!(compare(&base, &base, Pairing::BySeed).claim(true), Claim::Undecided);
        // Five seeds of which one disagrees.
        let mixed = [5.0, 6.0, 7.0, 8.0, 4.9];
        assert_eq!(compare(&mixed, &base[..5], Pairing::BySeed).claim(true), Claim::SuggestsBetter);
    }

    /// Equal methods: how often is one of them claimed or suggested to be better or worse?
    #[test]
    fn equal_methods_are_seldom_told_apart() {
        let studies = 1_000;
        let (mut claims, mut hints) = (0, 0);
        for study in 0..studies {
            let (a, b) = pair(study, 5, 0.0);
            // Without the shared part, so that the probability of improvement cannot veto.
            let d: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            let bootstrap = Bootstrap::new(Seed::root(study)).with(1_000, 0.95).unwrap();
            let (d, zero) = (Scores::from_seeds(&d).unwrap(), Scores::from_seeds(&[0.0; 5]).unwrap());
            match bootstrap.difference(&d, &zero, Metric::Iqm, Pairing::BySeed).unwrap().claim(true) {
                Claim::Better | Claim::Worse => claims += 1,
                Claim::SuggestsBetter | Claim::SuggestsWorse => hints += 1,
                Claim::Undecided => {}
            }
        }
        // All five of the same sign: 1/16 of the studies, standard error 0.8 percent.
        assert!((38..=87).contains(&claims), "{claims}");
        // The negative control: the plain interval is far from its nominal 5 percent.
        assert!(claims + hints > 90, "{hints}");
    }

    #[test]
    fn power_matches_a_textbook_case() {
        // Paired differences with mean 1 and standard deviation 2: the exact paired t test needs 34 seeds
        // (R 4: power.t.test(delta = 1, sd = 2, power = 0.8, type = "paired") gives 33.4).
        let d = Difference {
            estimate: 1.0,
            interval: Interval { low: 0.0, high: 2.0 },
            expanded: None,
            probability_higher: 0.7,
            num_runs: 16,
            standard_error: Some(2.0 / 4.0),
            pairing: Pairing::BySeed,
        };
        assert_eq!(d.seeds_for_80_percent_power(), Some(34));
        assert_eq!(Difference { estimate: 0.0, ..d }.seeds_for_80_percent_power(), None);
        assert_eq!(Difference { standard_error: None, ..d }.seeds_for_80_percent_power(), None);
        assert_eq!(Difference { standard_error: Some(0.0), ..d }.seeds_for_80_percent_power(), Some(5));
    }

    #[test]
    fn one_seed_has_no_interval_that_means_anything() {
        let d = compare(&[2.0], &[1.0], Pairing::BySeed);
        assert_eq!((d.interval.low, d.interval.high, d.expanded, d.standard_error), (1.0, 1.0, None, None));
    }

    #[test]
    fn pairs_need_equal_numbers_of_runs() {
        let (a, b) = (Scores::from_seeds(&[1.0, 2.0]).unwrap(), Scores::from_seeds(&[1.0]).unwrap());
        let bootstrap = Bootstrap::new(Seed::root(0));
        assert!(bootstrap.difference(&a, &b, Metric::Iqm, Pairing::BySeed).is_err());
        assert!(bootstrap.difference(&a, &b, Metric::Iqm, Pairing::Independent).is_ok());
    }
}
