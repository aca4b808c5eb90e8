//! Watches a learner for the usual ways of failing quietly.
//!
//! Numbers that are not finite are errors where they appear; what is here still has finite numbers, and is said once.

use candle_core::Tensor;
use retune::Result;
use retune::nn::checksum;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Updates after which every parameter must have moved.
const MOVED_BY: u64 = 100;

/// How many times the largest return that rewards allow a value may be before it counts as exploded. Estimates above
/// the truth by a factor of a few are common while learning; of ten they are not.
const EXPLODED: f64 = 10.0;

/// Share of the largest possible entropy below which a policy counts as collapsed.
const COLLAPSED: f64 = 1e-3;

/// Env steps that a return is taken to sum over where γ is too close to 1 to say.
const LONGEST: f64 = 10_000.0;

/// Warnings of one learner, each given once in a run, however often it is resumed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guards {
    given: BTreeSet<String>,
    largest_reward: f64,
    /// Checksums of the parameters at the start, by name; empty once they have been compared.
    first: BTreeMap<String, String>,
    compared: bool,
}

impl Guards {
    /// Kinds of the warnings that were given: `value_explosion`, `entropy_collapse`, `parameters_still`.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        self.given.iter().map(String::as_str)
    }

    /// Looks at a reward.
    pub fn reward(&mut self, reward: f64) {
        self.largest_reward = self.largest_reward.max(reward.abs());
    }

    /// Warns of values far beyond any return that the rewards so far allow: `mean` is the mean value of a batch.
    pub fn value(&mut self, update: u64, mean: f64, gamma: f64) -> Option<String> {
        let horizon = (1.0 / (1.0 - gamma)).clamp(1.0, LONGEST);
        let bound = EXPLODED * horizon * self.largest_reward;
        if bound == 0.0 || mean.abs() <= bound {
            return None;
        }
        let detail = format!(
            "value explosion: the mean value {mean:.4e} at update {update} is beyond {bound:.4e}, ten times the \
             largest return that rewards of at most {} allow; a lower learning rate or slower targets may help",
            self.largest_reward
        );
        self.once("value_explosion", detail)
    }

    /// Warns of a policy that has become all but deterministic: `share` is its mean entropy over that of uniform choice
    /// among the legal candidates.
    pub fn entropy(&mut self, update: u64, share: f64) -> Option<String> {
        if share >= COLLAPSED {
            return None;
        }
        let detail = format!(
            "entropy collapse: {share:.1e} of that of uniform choice at update {update}; the policy explores no more, a \
             larger entropy bonus may help"
        );
        self.once("entropy_collapse", detail)
    }

    /// Raises the alarm over trained parameters that have the bits of the start after 100 updates. To be called with
    /// every published set of parameters; only two calls cost anything.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn parameters<'a>(
        &mut self,
        update: u64,
        params: impl Iterator<Item = (&'a String, &'a Tensor)>,
    ) -> Result<Option<String>> {
        let due = update >= MOVED_BY;
        if self.compared || (!due && !self.first.is_empty()) {
            return Ok(None);
        }
        let sum = |name: &str, tensor: &Tensor| checksum([(name, tensor)].into_iter());
        if !due {
            self.first = params.map(|(n, t)| Ok((n.clone(), sum(n, t)?))).collect::<Result<_>>()?;
            return Ok(None);
        }
        let mut still = Vec::new();
        for (name, tensor) in params {
            if let Some(first) = self.first.get(name)
                && *first == sum(name, tensor)?
            {
                still.push(name.as_str());
            }
        }
        self.compared = true;
        self.first.clear();
        if still.is_empty() {
            return Ok(None);
        }
        let names = still.join(", ");
        let detail = format!(
            "parameters that have not moved after {update} updates: {names}; nothing trains them, or their inputs are \
             always zero"
        );
        Ok(self.once("parameters_still", detail))
    }

    fn once(&mut self, kind: &str, detail: String) -> Option<String> {
        if !self.given.insert(kind.to_owned()) {
            return None;
        }
        tracing::warn!("{detail}");
        Some(detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn params(a: f32, b: f32) -> BTreeMap<String, Tensor> {
        let tensor = |x: f32| Tensor::new(&[x], &Device::Cpu).unwrap();
        BTreeMap::from([("a".to_owned(), tensor(a)), ("b".to_owned(), tensor(b))])
    }

    #[test]
    fn exploding_values_are_said_once_and_possible_ones_never() {
        let mut guards = Guards::default();
        assert_eq!(guards.value(1, 1e9, 0.99), None, "nothing is known of rewards yet");
        guards.reward(-2.0);
        assert_eq!(guards.value(1, 200.0, 0.99), None);
        assert!(guards.value(7, -2001.0, 0.99).unwrap().contains("at update 7"));
        assert_eq!(guards.value(8, 1e30, 0.99), None);
        assert_eq!(Guards { largest_reward: 1.0, ..Guards::default() }.value(1, 5000.0, 1.0), None);
    }

    #[test]
    fn a_collapsed_policy_is_said_once() {
        let mut guards = Guards::default();
        assert_eq!(guards.entropy(1, 0.1), None);
        assert!(guards.entropy(2, 1e-5).unwrap().contains("entropy collapse"));
        assert_eq!(guards.entropy(3, 0.0), None);
    }

    #[test]
    fn a_parameter_that_stays_raises_the_alarm() {
        let mut guards = Guards::default();
        assert_eq!(guards.parameters(0, params(1.0, 1.0).iter()).unwrap(), None);
        assert_eq!(guards.parameters(99, params(1.0, 1.0).iter()).unwrap(), None);
        let resumed: Guards = serde_json::from_str(&serde_json::to_string(&guards).unwrap()).unwrap();
        let alarm = guards.parameters(100, params(2.0, 1.0).iter()).unwrap().unwrap();
        assert!(alarm.contains("after 100 updates: b;"), "{alarm}");
        assert_eq!(guards.parameters(200, params(2.0, 1.0).iter()).unwrap(), None);
        let mut moved = resumed;
        assert_eq!(moved.parameters(150, params(2.0, 3.0).iter()).unwrap(), None);
    }
}
