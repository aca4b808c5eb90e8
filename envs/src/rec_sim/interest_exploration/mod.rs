//! `interest_exploration`: users of a hidden type whose tastes never change; which niche they like must be found out.
//!
//! The reward is clicks. With the default settings showing the highest quality is within two per cent of the oracle;
//! [`ExplorationConfig::hard`] makes exploration pay.

mod config;
mod model;

pub use config::ExplorationConfig;
pub use model::{ExplorationModel, Item, User};

use super::env::RecSim;
use retune::env::EnvError;

/// The `interest_exploration` environment.
///
/// # Observation
/// | part | shape | meaning | range |
/// |---|---|---|---|
/// | `state` | `[0]` | nothing is shown of the user | |
/// | `candidate_features` | `[num_candidates, num_topics + 1]` | one-hot topic, then quality | {0, 1}, above 0 |
/// | `feedback` | `[slate_size]` | clicked, 1 if clicked, quality of every item shown | {0, 1} |
///
/// # Start and end
/// A user has a type and from it an affinity to each topic. Episodes never end by themselves; the spec asks for a time
/// limit.
pub type InterestExploration = RecSim<ExplorationModel>;

impl InterestExploration {
    /// The environment with these settings.
    ///
    /// # Errors
    /// [`EnvError::Config`] for a setting out of range.
    pub fn exploration(config: ExplorationConfig) -> Result<Self, EnvError> {
        Ok(Self::from_model(ExplorationModel::new(config)?))
    }
}

#[cfg(test)]
mod tests;
