//! Uniform choice of positions.

use crate::rng::StreamRng;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How positions of a batch are drawn, uniformly in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each draw from all positions.
    WithReplacement,
    /// No position twice in a batch.
    WithoutReplacement,
}

impl Sampling {
    /// `count` positions out of `0..len`.
    ///
    /// # Errors
    /// If there is nothing to draw from, or not enough without replacement.
    pub fn draw(self, len: usize, count: usize, rng: &mut StreamRng) -> Result<Vec<usize>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let enough = match self {
            Self::WithReplacement => len > 0,
            Self::WithoutReplacement => len >= count,
        };
        if !enough {
            return Err(Error::State(format!("a batch of {count} asked of a memory that holds {len} ({self:?})")));
        }
        Ok(match self {
            Self::WithReplacement => (0..count).map(|_| rng.below(len)).collect(),
            Self::WithoutReplacement => distinct(len, count, rng),
        })
    }
}

/// The first `count` steps of a Fisher-Yates shuffle of `0..len`; only the positions that were moved are held.
fn distinct(len: usize, count: usize, rng: &mut StreamRng) -> Vec<usize> {
    let mut moved = BTreeMap::new();
    (0..count)
        .map(|i| {
            let j = i + rng.below(len - i);
            let at_i = moved.get(&i).copied().unwrap_or(i);
            if i == j { at_i } else { moved.insert(j, at_i).unwrap_or(j) }
        })
        .collect()
}
