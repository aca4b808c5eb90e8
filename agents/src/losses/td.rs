//! Losses on the error of a single value.

use crate::learning::positive;
use retune::Result;
use serde::{Deserialize, Serialize};

/// Loss on a TD error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TdLoss {
    /// Half the square. Its minimum is the mean of the targets.
    Squared,
    /// Quadratic up to `delta`, then linear. Its minimum lies toward the median: where a rare end of the episode is
    /// the only sign of an action's worth (one step in a hundred loses the whole future), clipping removes the signal.
    Huber {
        /// Where the linear part begins, in the unit of the errors (of the value scale, where there is one); above 0.
        delta: f64,
    },
}

impl TdLoss {
    /// Refuses settings out of range; `key` is the name of this setting in messages.
    ///
    /// # Errors
    /// [`retune::Error::Config`] naming the key.
    pub fn validate(self, key: &str) -> Result<()> {
        match self {
            Self::Squared => Ok(()),
            Self::Huber { delta } => positive(&format!("{key}.huber.delta"), delta),
        }
    }

    /// Loss of an error `value − target`, and its derivative with respect to the value.
    #[must_use]
    pub fn at(self, error: f64) -> (f64, f64) {
        match self {
            Self::Squared => (0.5 * error * error, error),
            Self::Huber { delta } => {
                let slope = error.clamp(-delta, delta);
                (slope * (error - 0.5 * slope), slope)
            }
        }
    }
}
