//! The exploring policy and the greedy one, over the values of one state.

use retune::rng::StreamRng;

/// With probability `epsilon` a uniformly random action, else one of the best, uniformly among equals.
///
/// With `epsilon` 0 it is the greedy policy that off-policy targets evaluate. A value of −∞ stands for an action that is not
/// legal; at least one must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpsilonGreedy {
    /// 0 to 1.
    pub epsilon: f64,
}

impl EpsilonGreedy {
    /// The greedy policy.
    pub const GREEDY: Self = Self { epsilon: 0.0 };

    /// Draws an action and returns it with its probability. Consumes one uniform draw if it explores or there are
    /// equals, plus one to decide whether it explores.
    #[must_use]
    pub fn sample(self, q: &[f64], rng: &mut StreamRng) -> (u32, f64) {
        let action = if rng.uniform() < self.epsilon {
            let nth = rng.below(num_legal(q));
            q.iter().enumerate().filter(|(_, x)| is_legal(x)).nth(nth).map_or(0, |(a, _)| a)
        } else {
            let best = max(q);
            let equals = q.iter().filter(|&&x| x == best).count();
            let chosen = if equals > 1 { rng.below(equals) } else { 0 };
            q.iter().enumerate().filter(|&(_, &x)| x == best).nth(chosen).map_or(0, |(a, _)| a)
        };
        (action as u32, self.probability(q, action as u32))
    }

    /// Probability of `action`.
    #[must_use]
    pub fn probability(self, q: &[f64], action: u32) -> f64 {
        let best = max(q);
        if !is_legal(&q[action as usize]) {
            return 0.0;
        }
        let explored = self.epsilon / num_legal(q) as f64;
        if q[action as usize] == best {
            explored + (1.0 - self.epsilon) / q.iter().filter(|&&x| x == best).count() as f64
        } else {
            explored
        }
    }

    /// Expected value under the policy. All best actions are worth the same, so it needs no count of them.
    #[must_use]
    pub fn value(self, q: &[f64]) -> f64 {
        let mean = q.iter().filter(|x| is_legal(x)).sum::<f64>() / num_legal(q) as f64;
        if self.epsilon == 0.0 { max(q) } else { self.epsilon * mean + (1.0 - self.epsilon) * max(q) }
    }
}

fn is_legal(value: &f64) -> bool {
    *value != f64::NEG_INFINITY
}

fn num_legal(q: &[f64]) -> usize {
    q.iter().filter(|x| is_legal(x)).count()
}

/// The first of the best actions.
pub(super) fn argmax(q: &[f64]) -> u32 {
    let better = |best: usize, (a, &x): (usize, &f64)| if x > q[best] { a } else { best };
    q.iter().enumerate().fold(0, better) as u32
}

pub(super) fn max(q: &[f64]) -> f64 {
    q.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use retune::rng::Seed;

    proptest! {
        #[test]
        fn probabilities_add_up_and_the_value_is_their_expectation(
            q in prop::collection::vec(-3i32..3, 1..6),
            legal in 0..6usize,
            epsilon in 0.0..=1.0f64,
        ) {
            // −3 stands for what is not legal; one action always is.
            let value = |(i, q): (usize, i32)| if q == -3 && i != legal { f64::NEG_INFINITY } else { f64::from(q) };
            let mut q: Vec<f64> = q.into_iter().enumerate().map(value).collect();
            if q.iter().all(|q| !q.is_finite()) {
                q[0] = 1.0;
            }
            let policy = EpsilonGreedy { epsilon };
            let p: Vec<f64> = (0..q.len()).map(|a| policy.probability(&q, a as u32)).collect();
            prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            prop_assert!(p.iter().zip(&q).all(|(p, q)| q.is_finite() || *p == 0.0));
            let expected: f64 = p.iter().zip(&q).filter(|(p, _)| **p > 0.0).map(|(p, q)| p * q).sum();
            let drawn = policy.sample(&q, &mut Seed::root(legal as u64).rng()).0;
            prop_assert!(q[drawn as usize].is_finite());
            prop_assert!((policy.value(&q) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn actions_come_up_as_often_as_their_probability() {
        let q = [1.0, 3.0, 3.0, 0.0];
        let policy = EpsilonGreedy { epsilon: 0.4 };
        let mut rng = Seed::root(1).rng();
        let n = 40_000;
        let mut counts = [0usize; 4];
        for _ in 0..n {
            counts[policy.sample(&q, &mut rng).0 as usize] += 1;
        }
        for (a, &count) in counts.iter().enumerate() {
            let p = policy.probability(&q, a as u32);
            let deviation = (n as f64 * p * (1.0 - p)).sqrt();
            assert!((count as f64 - n as f64 * p).abs() < 4.0 * deviation, "{counts:?}");
        }
        assert_eq!(argmax(&q), 1);
    }
}
