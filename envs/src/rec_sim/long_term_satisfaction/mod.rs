//! `long_term_satisfaction`: clickbait engages more now and wears satisfaction down.
//!
//! The reward is engagement. With the default settings showing the most clickbait is optimal;
//! [`SatisfactionConfig::sensitive`] and [`SatisfactionConfig::hard`] make planning pay.

mod config;
mod model;
mod planner;

pub use config::SatisfactionConfig;
pub use model::{Draws, Item, SatisfactionModel, User};
pub use planner::Planner;

use super::env::RecSim;
use retune::env::EnvError;

/// The `long_term_satisfaction` environment.
///
/// # Observation
/// | part | shape | meaning | range |
/// |---|---|---|---|
/// | `state` | `[0]` | nothing is shown of the user | |
/// | `candidate_features` | `[num_candidates, 1]` | clickbait score | [0, 1] |
/// | `feedback` | `[slate_size]` | position 0 is always consumed; observed engagement, no quality | [0, 100] |
///
/// The reward is the raw engagement; the response reports it clipped to [0, 100].
///
/// # Start and end
/// Net positive exposure starts at (U − ½)/(1 − memory). The session ends after `time_budget` steps.
pub type LongTermSatisfaction = RecSim<SatisfactionModel>;

impl LongTermSatisfaction {
    /// The environment with these settings.
    ///
    /// # Errors
    /// [`EnvError::Config`] for a setting out of range.
    pub fn satisfaction(config: SatisfactionConfig) -> Result<Self, EnvError> {
        Ok(Self::from_model(SatisfactionModel::new(config)?))
    }
}

#[cfg(test)]
mod tests;
