//! Slate selection and slate values under a proportional choice model (SlateQ, arXiv:1905.12767, sections 4 and 5).
//!
//! At most one item of a slate is consumed. With choice weights `v_i` of the items and `v_null` of "nothing", the
//! value of a slate A is the expectation
//!
//! `V_A = (Σ_A v_i Q_i + v_null Q_null) / (Σ_A v_i + v_null)`.
//!
//! The published agents leave out the value of "nothing chosen"; that is the special case `q_null = 0`. With it left
//! out, value leaks at every step without a click and agents turn myopic, so it is a term of its own here.

use crate::env::Slate;
use serde::{Deserialize, Serialize};

/// How a slate is put together from item values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlateRule {
    /// The `k` items with the largest `v_i (Q_i − Q_null)`.
    TopK,
    /// Items one after the other, each the one that makes the value of the slate so far largest.
    Greedy,
    /// The subset of `k` items with the largest value.
    Optimal,
}

/// Why a slate cannot be selected or valued.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SlateError {
    /// The arrays that describe the candidates do not belong together.
    #[error("{name} has {actual} entries, expected one for each of {expected} candidates")]
    Length {
        /// Which array.
        name: &'static str,
        /// Its length.
        actual: usize,
        /// Number of candidates.
        expected: usize,
    },
    /// A value that is NaN or infinite, or a choice weight below zero.
    #[error("{name}[{index}] = {value}: expected {expected}")]
    Value {
        /// Which array.
        name: &'static str,
        /// Which candidate; 0 for the weight or value of "nothing".
        index: usize,
        /// What was given.
        value: f64,
        /// What would be right.
        expected: &'static str,
    },
    /// More slots than candidates that may be chosen.
    #[error("slate_size = {slate_size}: only {legal} candidates may be chosen")]
    TooFew {
        /// Slots to fill.
        slate_size: usize,
        /// Candidates that may be chosen.
        legal: usize,
    },
}

/// Choice weights and values of the candidates of one state, checked to be usable.
#[derive(Clone, Copy, Debug)]
pub struct ItemValues<'a> {
    v: &'a [f64],
    q: &'a [f64],
    mask: &'a [bool],
    v_null: f64,
    q_null: f64,
}

impl<'a> ItemValues<'a> {
    /// Weights `v` and values `q` of the candidates, which of them may be chosen, and weight and value of "nothing".
    ///
    /// # Shapes
    /// `v`, `q` and `mask` are `[num_candidates]`; an empty `mask` allows every candidate.
    ///
    /// # Errors
    /// [`SlateError::Length`] for arrays of different lengths, [`SlateError::Value`] for a number that is not finite
    /// or a weight below zero.
    pub fn new(v: &'a [f64], q: &'a [f64], mask: &'a [bool], v_null: f64, q_null: f64) -> Result<Self, SlateError> {
        let expected = v.len();
        if q.len() != expected {
            return Err(SlateError::Length { name: "q", actual: q.len(), expected });
        }
        if !mask.is_empty() && mask.len() != expected {
            return Err(SlateError::Length { name: "mask", actual: mask.len(), expected });
        }
        let weights = v.iter().enumerate().map(|(i, &x)| ("v", i, x)).chain([("v_null", 0, v_null)]);
        for (name, index, value) in weights {
            if !(value.is_finite() && value >= 0.0) {
                return Err(SlateError::Value { name, index, value, expected: "a finite weight of at least 0" });
            }
        }
        let values = q.iter().enumerate().map(|(i, &x)| ("q", i, x)).chain([("q_null", 0, q_null)]);
        for (name, index, value) in values {
            if !value.is_finite() {
                return Err(SlateError::Value { name, index, value, expected: "a finite value" });
            }
        }
        Ok(Self { v, q, mask, v_null, q_null })
    }

    /// `V_A` of a slate; `q_null` where no item and not even "nothing" has any weight.
    ///
    /// # Panics
    /// If the slate has an index outside the candidates.
    #[must_use]
    pub fn value(&self, slate: &[u32]) -> f64 {
        let (num, den) = slate.iter().fold((self.v_null * self.q_null, self.v_null), |(num, den), &i| {
            let i = i as usize;
            (num + self.v[i] * self.q[i], den + self.v[i])
        });
        ratio(num, den, self.q_null)
    }

    /// Probabilities that each item of the slate is consumed, then that nothing is: `[slate_size + 1]`.
    ///
    /// # Panics
    /// If the slate has an index outside the candidates.
    #[must_use]
    pub fn choice_probabilities(&self, slate: &[u32]) -> Vec<f64> {
        let total = slate.iter().map(|&i| self.v[i as usize]).sum::<f64>() + self.v_null;
        let items = slate.iter().map(|&i| ratio(self.v[i as usize], total, 0.0));
        items.chain([ratio(self.v_null, total, 1.0)]).collect()
    }

    /// The slate of `slate_size` items that `rule` puts together, best item first; ties go to the lower index.
    ///
    /// # Errors
    /// [`SlateError::TooFew`] if fewer candidates may be chosen.
    pub fn select(&self, rule: SlateRule, slate_size: usize) -> Result<Slate, SlateError> {
        let mut slate = Vec::with_capacity(slate_size);
        self.select_into(rule, slate_size, &mut slate)?;
        Ok(Slate(slate))
    }

    /// [`ItemValues::select`] into a buffer whose content is replaced.
    ///
    /// # Errors
    /// [`SlateError::TooFew`] if fewer candidates may be chosen.
    pub fn select_into(&self, rule: SlateRule, slate_size: usize, slate: &mut Vec<u32>) -> Result<(), SlateError> {
        match rule {
            SlateRule::TopK => self.top_k(self.q_null, slate_size, slate),
            SlateRule::Greedy => self.greedy(slate_size, slate),
            SlateRule::Optimal => self.optimal(slate_size, slate),
        }
    }

    fn top_k(&self, level: f64, slate_size: usize, slate: &mut Vec<u32>) -> Result<(), SlateError> {
        top_k_by(self.v.len(), self.mask, slate_size, slate, |i| self.v[i] * (self.q[i] - level))
    }

    fn greedy(&self, slate_size: usize, slate: &mut Vec<u32>) -> Result<(), SlateError> {
        check_size(self.v.len(), self.mask, slate_size)?;
        slate.clear();
        let (mut num, mut den) = (self.v_null * self.q_null, self.v_null);
        for _ in 0..slate_size {
            let mut best: Option<(u32, f64)> = None;
            for i in 0..self.v.len() {
                if !allowed(self.mask, i) || slate.contains(&(i as u32)) {
                    continue;
                }
                let value = ratio(num + self.v[i] * self.q[i], den + self.v[i], self.q_null);
                if best.is_none_or(|(_, highest)| value > highest) {
                    best = Some((i as u32, value));
                }
            }
            let (item, _) = best.expect("check_size made sure that enough candidates are legal");
            num += self.v[item as usize] * self.q[item as usize];
            den += self.v[item as usize];
            slate.push(item);
        }
        Ok(())
    }

    /// Ratio iteration (Dinkelbach 1967): the best subset for a level λ is the top k by `v_i (Q_i − λ)`, and λ rises
    /// to the value of that subset until it stands still. Exact, and two or three rounds in practice.
    fn optimal(&self, slate_size: usize, slate: &mut Vec<u32>) -> Result<(), SlateError> {
        self.top_k(self.q_null, slate_size, slate)?;
        let mut level = self.value(slate);
        let mut next = Vec::with_capacity(slate_size);
        loop {
            self.top_k(level, slate_size, &mut next)?;
            let value = self.value(&next);
            // Rounding can make the value of the same subset fall by a bit; only a true rise goes on.
            if value <= level {
                return Ok(());
            }
            level = value;
            std::mem::swap(slate, &mut next);
        }
    }
}

/// The `slate_size` legal indices with the largest keys, largest first, into `slate`; ties go to the lower index.
///
/// An empty `mask` allows every candidate. A NaN key counts as the lowest.
///
/// # Errors
/// [`SlateError::TooFew`] if fewer than `slate_size` candidates may be chosen.
pub fn top_k_by(
    num_candidates: usize,
    mask: &[bool],
    slate_size: usize,
    slate: &mut Vec<u32>,
    key: impl Fn(usize) -> f64,
) -> Result<(), SlateError> {
    check_size(num_candidates, mask, slate_size)?;
    slate.clear();
    if slate_size == 0 {
        return Ok(());
    }
    // Insertion into a short sorted list: candidates come by the dozen and slates are of a few items.
    for i in (0..num_candidates).filter(|&i| allowed(mask, i)) {
        let mine = lowest_if_nan(key(i));
        let at = slate.iter().position(|&j| lowest_if_nan(key(j as usize)) < mine).unwrap_or(slate.len());
        if at < slate_size {
            slate.truncate(slate_size - 1);
            slate.insert(at, i as u32);
        }
    }
    Ok(())
}

fn lowest_if_nan(key: f64) -> f64 {
    if key.is_nan() { f64::NEG_INFINITY } else { key }
}

fn allowed(mask: &[bool], i: usize) -> bool {
    mask.is_empty() || mask[i]
}

fn check_size(num_candidates: usize, mask: &[bool], slate_size: usize) -> Result<(), SlateError> {
    let legal = if mask.is_empty() { num_candidates } else { mask.iter().filter(|&&m| m).count() };
    if slate_size > legal { Err(SlateError::TooFew { slate_size, legal }) } else { Ok(()) }
}

fn ratio(num: f64, den: f64, otherwise: f64) -> f64 {
    if den > 0.0 { num / den } else { otherwise }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    /// Made with the original selection and target functions (RecSim 0.2.4 under TensorFlow 2.15.1, 32-bit floats);
    /// the `null_aware` part by enumeration.
    const GOLDEN: &str = include_str!("../tests/golden/rec_sim/slateq.json");

    #[derive(Deserialize)]
    struct File {
        tolerance: f64,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        id: String,
        slate_size: usize,
        user_interests: Vec<f64>,
        topic: Vec<usize>,
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

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() <= tolerance * b.abs().max(1.0)
    }

    fn sorted(mut slate: Vec<u32>) -> Vec<u32> {
        slate.sort_unstable();
        slate
    }

    fn check(case: &Case, q_null: f64, expect: &Results, tolerance: f64) {
        let items = ItemValues::new(&case.expect.v, &case.q, &[], case.expect.v_no_click, q_null).unwrap();
        let target = |slate: &[u32]| case.reward + if case.terminal { 0.0 } else { case.gamma * items.value(slate) };
        let topk = items.select(SlateRule::TopK, case.slate_size).unwrap().0;
        let greedy = items.select(SlateRule::Greedy, case.slate_size).unwrap().0;
        let optimal = items.select(SlateRule::Optimal, case.slate_size).unwrap().0;
        assert_eq!(topk, expect.serve_topk, "{} top k", case.id);
        assert_eq!(sorted(greedy.clone()), expect.serve_greedy, "{} greedy", case.id);
        assert_eq!(sorted(optimal.clone()), expect.serve_optimal, "{} optimal", case.id);
        for (name, slate, want) in [
            ("sarsa", &case.next_slate, expect.target_sarsa),
            ("topk", &topk, expect.target_topk),
            ("greedy", &greedy, expect.target_greedy),
            ("optimal", &optimal, expect.target_optimal),
        ] {
            assert!(close(target(slate), want, tolerance), "{} {name}: {} not {want}", case.id, target(slate));
        }
    }

    #[test]
    fn agrees_with_the_original_and_with_the_null_aware_formulas() {
        let file: File = serde_json::from_str(GOLDEN).unwrap();
        assert_eq!(file.cases.len(), 24);
        for case in &file.cases {
            for (v, &topic) in case.expect.v.iter().zip(&case.topic) {
                assert!(close(case.user_interests[topic] + 1.0, *v, file.tolerance), "{}", case.id);
            }
            check(case, 0.0, &case.expect.results, file.tolerance);
            check(case, case.null_aware.q_null, &case.null_aware.results, file.tolerance);
        }
    }

    /// The best subset by trying every one.
    fn enumerate(items: &ItemValues<'_>, k: usize) -> f64 {
        let n = items.v.len();
        (0u32..1 << n)
            .filter(|bits| bits.count_ones() as usize == k)
            .map(|bits| (0..n as u32).filter(|i| bits >> i & 1 == 1).collect::<Vec<_>>())
            .filter(|slate| slate.iter().all(|&i| allowed(items.mask, i as usize)))
            .map(|slate| items.value(&slate))
            .fold(f64::NEG_INFINITY, f64::max)
    }

    proptest! {
        #[test]
        fn ratio_iteration_finds_the_best_subset(
            rows in prop::collection::vec((0.0..2.0f64, -50.0..300.0f64, prop::bool::weighted(0.8)), 1..9),
            size in 1usize..5, v_null in 0.0..2.0f64, q_null in -50.0..300.0f64,
        ) {
            let v: Vec<f64> = rows.iter().map(|r| r.0).collect();
            let q: Vec<f64> = rows.iter().map(|r| r.1).collect();
            let mask: Vec<bool> = rows.iter().map(|r| r.2).collect();
            let items = ItemValues::new(&v, &q, &mask, v_null, q_null).unwrap();
            let legal = mask.iter().filter(|&&m| m).count();
            let optimal = items.select(SlateRule::Optimal, size);
            if size > legal {
                prop_assert_eq!(optimal, Err(SlateError::TooFew { slate_size: size, legal }));
                return Ok(());
            }
            let best = enumerate(&items, size);
            let slate = optimal.unwrap().0;
            prop_assert!((items.value(&slate) - best).abs() <= 1e-9 * best.abs().max(1.0));
            for rule in [SlateRule::TopK, SlateRule::Greedy, SlateRule::Optimal] {
                let slate = items.select(rule, size).unwrap().0;
                prop_assert_eq!(slate.len(), size);
                prop_assert!(slate.iter().all(|&i| mask[i as usize]));
                prop_assert!(sorted(slate.clone()).windows(2).all(|w| w[0] < w[1]));
                let probabilities = items.choice_probabilities(&slate);
                prop_assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_index_and_order_is_by_rank() {
        let mut slate = vec![9];
        top_k_by(5, &[], 3, &mut slate, |i| [1.0, 2.0, 1.0, 2.0, f64::NAN][i]).unwrap();
        assert_eq!(slate, [1, 3, 0]);
        top_k_by(5, &[], 0, &mut slate, |_| 0.0).unwrap();
        assert!(slate.is_empty());
    }

    #[test]
    fn unusable_numbers_are_named() {
        let error =
            |v: &[f64], q: &[f64], mask: &[bool]| ItemValues::new(v, q, mask, 2.0, 0.0).unwrap_err().to_string();
        assert_eq!(error(&[1.0, -0.5], &[0.0, 0.0], &[]), "v[1] = -0.5: expected a finite weight of at least 0");
        assert_eq!(error(&[1.0], &[f64::NAN], &[]), "q[0] = NaN: expected a finite value");
        assert_eq!(error(&[1.0], &[], &[]), "q has 0 entries, expected one for each of 1 candidates");
        assert_eq!(error(&[1.0], &[1.0], &[true; 2]), "mask has 2 entries, expected one for each of 1 candidates");
    }

    #[test]
    fn a_slate_without_any_weight_has_the_value_of_nothing() {
        let items = ItemValues::new(&[0.0, 0.0], &[5.0, 6.0], &[], 0.0, 3.0).unwrap();
        assert_eq!(items.value(&[0]), 3.0);
        assert_eq!(items.choice_probabilities(&[0]), [0.0, 1.0]);
        assert_eq!(items.select(SlateRule::Optimal, 1).unwrap(), Slate(vec![0]));
    }
}
