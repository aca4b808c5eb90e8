//! Prioritised choice of positions (Schaul et al., arXiv:1511.05952).

use crate::persist::StateDict;
use crate::rng::StreamRng;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Sums (and smallest positive values) of a fixed number of non-negative leaves.
///
/// Every inner node is made anew from its two children, never adjusted by a difference. So the tree depends on its
/// leaves alone: rounding does not pile up over millions of updates, and a tree rebuilt from saved leaves has the same
/// bits.
#[derive(Clone, Debug, PartialEq)]
pub struct SumTree {
    /// Number of leaves, a power of two.
    width: usize,
    /// Node 1 is the root, the children of `i` are `2i` and `2i + 1`, and the leaves begin at `width`.
    sums: Vec<f64>,
    /// Smallest positive leaf below each node; infinite where there is none.
    smallest: Vec<f64>,
}

impl SumTree {
    /// `len` leaves of 0.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let width = len.max(1).next_power_of_two();
        Self { width, sums: vec![0.0; 2 * width], smallest: vec![f64::INFINITY; 2 * width] }
    }

    /// Sum of all leaves.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.sums[1]
    }

    /// The smallest leaf above 0; infinite if there is none.
    #[must_use]
    pub fn smallest(&self) -> f64 {
        self.smallest[1]
    }

    /// Leaf `i`.
    #[must_use]
    pub fn get(&self, i: usize) -> f64 {
        self.sums[self.width + i]
    }

    /// Sets leaf `i` in O(log n).
    pub fn set(&mut self, i: usize, value: f64) {
        let mut node = self.width + i;
        self.sums[node] = value;
        self.smallest[node] = if value > 0.0 { value } else { f64::INFINITY };
        while node > 1 {
            node /= 2;
            self.sums[node] = self.sums[2 * node] + self.sums[2 * node + 1];
            self.smallest[node] = self.smallest[2 * node].min(self.smallest[2 * node + 1]);
        }
    }

    /// The first leaf at which the running sum of leaves exceeds `mass`, in O(log n). Never a leaf of 0, even where
    /// rounding puts `mass` at or beyond the total, unless all are.
    #[must_use]
    pub fn find(&self, mut mass: f64) -> usize {
        let mut node = 1;
        while node < self.width {
            let (left, right) = (2 * node, 2 * node + 1);
            if mass < self.sums[left] || self.sums[right] == 0.0 {
                node = left;
            } else {
                mass -= self.sums[left];
                node = right;
            }
        }
        node - self.width
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        (self.sums.capacity() + self.smallest.capacity()) * size_of::<f64>()
    }
}

/// What importance weights are divided by, so that they only ever scale updates down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightScale {
    /// The largest weight of the batch.
    Batch,
    /// The largest weight that any position of the memory could have.
    Memory,
}

/// Settings of prioritised replay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriorityConfig {
    /// α: 0 draws uniformly, 1 in proportion to priority; in [0, 1].
    pub alpha: f64,
    /// Added to every |TD error|, so that no transition is lost for good; above 0.
    pub epsilon: f64,
    /// What weights are divided by.
    pub weight_scale: WeightScale,
}

impl Default for PriorityConfig {
    /// Table 3 of the paper for the proportional variant, with the ε of its reference implementation.
    fn default() -> Self {
        Self { alpha: 0.6, epsilon: 1e-6, weight_scale: WeightScale::Batch }
    }
}

impl PriorityConfig {
    /// Refuses settings out of range; `section` begins the names of settings in messages.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self, section: &str) -> Result<()> {
        if !(0.0..=1.0).contains(&self.alpha) {
            return Err(Error::config(&format!("{section}.alpha"), self.alpha, "must be between 0 and 1"));
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(Error::config(&format!("{section}.epsilon"), self.epsilon, "must be above 0 and finite"));
        }
        Ok(())
    }
}

/// Priorities `p` of the positions of a memory. Position `i` is drawn with probability `P(i) = p_i^α / Σ_j p_j^α`.
#[derive(Clone, Debug, PartialEq)]
pub struct Priorities {
    config: PriorityConfig,
    capacity: usize,
    /// Largest priority so far: what new transitions get, so that each is seen at least once.
    largest: f64,
    /// Leaves `p^α`.
    tree: SumTree,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    config: PriorityConfig,
    largest: f64,
}

impl Priorities {
    /// No position of a memory for `capacity` transitions has a priority yet.
    #[must_use]
    pub fn new(config: PriorityConfig, capacity: usize) -> Self {
        Self { config, capacity, largest: 1.0, tree: SumTree::new(capacity) }
    }

    /// A position with a new transition gets the largest priority so far, 1 at first.
    pub fn insert(&mut self, position: usize) {
        self.set(position, self.largest);
    }

    /// A position gets the priority |`td_error`| + ε.
    ///
    /// # Errors
    /// [`Error::State`] if the error is not finite.
    pub fn update(&mut self, position: usize, td_error: f64) -> Result<()> {
        let priority = td_error.abs() + self.config.epsilon;
        if !priority.is_finite() {
            return Err(Error::State(format!("priority {priority} for position {position}: expected a finite number")));
        }
        self.largest = self.largest.max(priority);
        self.set(position, priority);
        Ok(())
    }

    /// Sets a priority.
    pub fn set(&mut self, position: usize, priority: f64) {
        self.tree.set(position, priority.powf(self.config.alpha));
    }

    /// P(i).
    #[must_use]
    pub fn probability(&self, position: usize) -> f64 {
        self.tree.get(position) / self.tree.total()
    }

    /// Stratified draws (appendix B.2.1): draw `k` of `K` falls on the first position at which the running sum of `p^α`
    /// exceeds `(k + u_k) / K` of the total. Numbers `uniforms` are from [0, 1).
    #[must_use]
    pub fn draw(&self, uniforms: &[f64]) -> Vec<usize> {
        let share = self.tree.total() / uniforms.len() as f64;
        uniforms.iter().enumerate().map(|(k, u)| self.tree.find((k as f64 + u) * share)).collect()
    }

    /// [`Priorities::draw`] of `count` positions from a stream.
    ///
    /// # Errors
    /// [`Error::State`] if no position has a priority.
    pub fn sample(&self, count: usize, rng: &mut StreamRng) -> Result<Vec<usize>> {
        if self.tree.total() <= 0.0 {
            return Err(Error::State(format!("a batch of {count} asked of a memory without priorities")));
        }
        Ok(self.draw(&(0..count).map(|_| rng.uniform()).collect::<Vec<f64>>()))
    }

    /// Importance weights `(len · P(i))^−β` (section 3.4) over the largest, as [`PriorityConfig::weight_scale`] says;
    /// `len` is the number of transitions in the memory.
    #[must_use]
    pub fn weights(&self, positions: &[usize], len: usize, beta: f64) -> Vec<f32> {
        let weight = |p: f64| (len as f64 * p).powf(-beta);
        let weights: Vec<f64> = positions.iter().map(|&i| weight(self.probability(i))).collect();
        let largest = match self.config.weight_scale {
            WeightScale::Batch => weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max),
            WeightScale::Memory => weight(self.tree.smallest() / self.tree.total()),
        };
        weights.iter().map(|w| (w / largest) as f32).collect()
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tree.bytes()
    }

    /// Puts the priorities of the first `len` positions into `state`, to the bit.
    ///
    /// # Errors
    /// If the header cannot be expressed.
    pub fn save(&self, len: usize, state: &mut StateDict, prefix: &str) -> Result<()> {
        let bytes: Vec<u8> = (0..len).flat_map(|i| self.tree.get(i).to_le_bytes()).collect();
        state.put_u8s(format!("{prefix}priorities.leaves"), &bytes);
        state.put(format!("{prefix}priorities"), &Header { config: self.config, largest: self.largest })
    }

    /// Priorities of `len` positions as they were saved under the settings of `self`.
    ///
    /// # Errors
    /// [`Error::State`] if the settings differ or what was saved is not whole.
    pub fn restored(&self, len: usize, state: &StateDict, prefix: &str) -> Result<Self> {
        let header: Header = state.get(&format!("{prefix}priorities"))?;
        if header.config != self.config {
            let (found, expected) = (header.config, self.config);
            return Err(Error::State(format!(
                "{prefix}priorities: saved with {found:?}, this memory has {expected:?}"
            )));
        }
        let bytes = state.u8s(&format!("{prefix}priorities.leaves"))?;
        let (leaves, rest) = bytes.as_chunks::<8>();
        if leaves.len() != len || !rest.is_empty() {
            let found = bytes.len();
            return Err(Error::State(format!("{prefix}priorities.leaves has {found} bytes, expected {}", 8 * len)));
        }
        let mut new = Self { largest: header.largest, ..Self::new(self.config, self.capacity) };
        for (i, leaf) in leaves.iter().enumerate() {
            let leaf = f64::from_le_bytes(*leaf);
            if !(leaf.is_finite() && leaf >= 0.0) {
                return Err(Error::State(format!("{prefix}priorities.leaves[{i}] = {leaf}: expected at least 0")));
            }
            new.tree.set(i, leaf);
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use proptest::prelude::*;
    use serde_json::Value;

    const GOLDEN: &str = include_str!("../../tests/golden/targets/prioritized.json");

    fn floats(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    fn close(got: f64, expected: f64, tolerance: f64) -> bool {
        (got - expected).abs() <= tolerance * expected.abs().max(1.0)
    }

    fn all_close(got: &[f32], expected: &Value) -> bool {
        let expected = floats(expected);
        got.len() == expected.len() && got.iter().zip(&expected).all(|(g, e)| close(f64::from(*g), *e, 1e-4))
    }

    fn of_case(case: &Value, weight_scale: WeightScale) -> Priorities {
        let alpha = case["alpha"].as_f64().unwrap();
        let config = PriorityConfig { alpha, epsilon: case["epsilon"].as_f64().unwrap(), weight_scale };
        let values = floats(&case["priorities"]);
        let mut priorities = Priorities::new(config, values.len());
        values.iter().enumerate().for_each(|(i, p)| priorities.set(i, *p));
        priorities
    }

    fn golden() -> Vec<Value> {
        let file: Value = serde_json::from_str(GOLDEN).unwrap();
        file["cases"].as_array().unwrap().clone()
    }

    #[test]
    fn everything_matches_the_golden_file() {
        for case in golden() {
            let expected = &case["expected"];
            let len = floats(&case["priorities"]).len();
            let beta = case["beta"].as_f64().unwrap();
            let mut priorities = of_case(&case, WeightScale::Batch);
            for (i, p) in floats(&expected["probabilities"]).into_iter().enumerate() {
                assert!(close(priorities.probability(i), p, 1e-9), "{}: {i}", case["name"]);
            }
            let drawn = priorities.draw(&floats(&case["uniforms"]));
            let indices: Vec<usize> = floats(&expected["indices"]).into_iter().map(|i| i as usize).collect();
            assert_eq!(drawn, indices, "{}", case["name"]);
            let weights = priorities.weights(&drawn, len, beta);
            assert!(all_close(&weights, &expected["weights_over_batch_max"]), "{}", case["name"]);
            let weights = of_case(&case, WeightScale::Memory).weights(&drawn, len, beta);
            assert!(all_close(&weights, &expected["weights_over_buffer_max"]), "{}", case["name"]);
            // New priorities, seen through α: the draws may name a position twice, so each by itself.
            let alpha = case["alpha"].as_f64().unwrap();
            for (error, new) in floats(&case["td_errors"]).into_iter().zip(floats(&expected["new_priorities"])) {
                priorities.update(drawn[0], error).unwrap();
                assert!(close(priorities.tree.get(drawn[0]), new.powf(alpha), 1e-9), "{}", case["name"]);
            }
        }
    }

    #[test]
    fn draws_that_ignore_priorities_fail_the_golden_file() {
        let uniform = |case: &Value| {
            let len = floats(&case["priorities"]).len();
            let uniforms = floats(&case["uniforms"]);
            let share = len as f64 / uniforms.len() as f64;
            let draws = uniforms.iter().enumerate().map(|(k, u)| ((k as f64 + u) * share) as usize);
            draws.eq(floats(&case["expected"]["indices"]).into_iter().map(|i| i as usize))
        };
        assert!(golden().iter().any(|case| !uniform(case)));
    }

    #[test]
    fn new_transitions_get_the_largest_priority() {
        let mut priorities = Priorities::new(PriorityConfig { alpha: 1.0, ..PriorityConfig::default() }, 4);
        assert!(priorities.sample(1, &mut Seed::root(1).rng()).is_err());
        priorities.insert(0);
        priorities.update(0, -5.0).unwrap();
        priorities.insert(1);
        assert_eq!(priorities.probability(0), priorities.probability(1));
        assert!(priorities.update(1, f64::NAN).is_err());
    }

    #[test]
    fn settings_out_of_range_are_named() {
        PriorityConfig::default().validate("priorities").unwrap();
        let error = PriorityConfig { alpha: 1.5, ..PriorityConfig::default() }.validate("dqn.prioritized").unwrap_err();
        assert_eq!(error.to_string(), "dqn.prioritized.alpha = 1.5: must be between 0 and 1");
        PriorityConfig { epsilon: 0.0, ..PriorityConfig::default() }.validate("x").unwrap_err();
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_running_sum_finds(
            leaves in prop::collection::vec(prop_oneof![1 => Just(0.0), 4 => 0.0..9.0f64], 1..40),
            share in 0.0..1.0f64,
        ) {
            let mut tree = SumTree::new(leaves.len());
            leaves.iter().enumerate().for_each(|(i, v)| tree.set(i, *v));
            let total: f64 = leaves.iter().sum();
            prop_assume!(total > 0.0);
            prop_assert!((tree.total() - total).abs() < 1e-9);
            let found = tree.find(share * tree.total());
            prop_assert!(leaves[found] > 0.0);
            let before: f64 = leaves[..found].iter().sum();
            let mass = share * total;
            prop_assert!(before <= mass + 1e-9 && mass < before + leaves[found] + 1e-9);
            let smallest = leaves.iter().copied().filter(|&v| v > 0.0).fold(f64::INFINITY, f64::min);
            prop_assert_eq!(tree.smallest(), smallest);
        }

        #[test]
        fn saved_priorities_draw_the_same(errors in prop::collection::vec(-9.0..9.0f64, 1..30), seed in 0u64..99) {
            let mut priorities = Priorities::new(PriorityConfig::default(), 32);
            for (i, error) in errors.iter().enumerate() {
                priorities.insert(i);
                priorities.update(i, *error).unwrap();
            }
            let mut state = StateDict::default();
            priorities.save(errors.len(), &mut state, "p.").unwrap();
            let again = Priorities::new(PriorityConfig::default(), 32).restored(errors.len(), &state, "p.").unwrap();
            prop_assert_eq!(&again, &priorities);
            let (mut a, mut b) = (Seed::root(seed).rng(), Seed::root(seed).rng());
            prop_assert_eq!(priorities.sample(16, &mut a).unwrap(), again.sample(16, &mut b).unwrap());
        }

        #[test]
        fn the_mass_at_the_very_end_still_falls_on_a_priority(len in 1usize..40) {
            let mut priorities = Priorities::new(PriorityConfig::default(), 64);
            (0..len).for_each(|i| priorities.insert(i));
            let last = 1.0 - f64::EPSILON / 2.0;
            prop_assert!(priorities.draw(&[last; 7]).iter().all(|&i| i < len));
        }
    }
}
