//! What a measurement leaves behind.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What came of an arm's decisions in a list of episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Mean over episodes of the sum of rewards.
    pub episode_return: f64,
    /// The other measures by name; what could not be measured is left out.
    pub metrics: BTreeMap<String, f64>,
}

impl Measurement {
    /// All measures by name, the return among them.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, f64> {
        let mut values = self.metrics.clone();
        values.insert("episode_return".into(), self.episode_return);
        values
    }
}
