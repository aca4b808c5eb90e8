//! `interest_evolution`: users whose interests drift with what they watch, and whose time budget good items extend.
//!
//! The reward is minutes watched. Watching costs budget, quality gives some of it back, so the slate that is clicked
//! most is not the slate that keeps a session going: clicks are immediate, quality pays in session length.

mod config;
mod model;
mod planner;
mod text;

pub use config::{EvolutionConfig, topic_means};
pub use model::{Card, Draws, EvolutionModel, Item, User};
pub use planner::Planner;
pub use text::{HISTORY_LEN, ObservationMode};

use super::catalogue::{Catalogue, Split};
use super::env::RecSim;
use retune::env::EnvError;

/// The `interest_evolution` environment.
///
/// # Observation, feature form
/// | part | shape | meaning | range |
/// |---|---|---|---|
/// | `state` | `[num_topics]` | interest of the user in each topic | [−1, 1] |
/// | `candidate_features` | `[num_candidates, num_topics]` | one-hot topic | {0, 1} |
/// | `feedback` | `[slate_size]` | clicked, minutes watched, quality (of all items shown) | reward in [0, document_length] |
///
/// # Observation, text form
/// Candidates are texts. `state` holds the interests in mode `interests` and is empty in mode `history`, which shows
/// the last events instead: text of the consumed item (none if nothing was chosen) and
/// [`super::env::HISTORY_DIM`] numbers. Only the quality of a consumed item is revealed.
///
/// # Start and end
/// Interests are uniform on [−1, 1], the hidden budget starts at `time_budget` minutes. The session ends
/// ([`retune::env::Status::Terminated`]) when the budget is spent; there is no time limit inside.
pub type InterestEvolution = RecSim<EvolutionModel>;

impl InterestEvolution {
    /// The feature form: interests shown, topics one-hot, items drawn afresh.
    ///
    /// # Errors
    /// [`EnvError::Config`] for a setting out of range.
    pub fn features(config: EvolutionConfig) -> Result<Self, EnvError> {
        Ok(Self::from_model(EvolutionModel::features(config)?))
    }

    /// The text form over one part of a catalogue.
    ///
    /// # Errors
    /// As [`EvolutionModel::text`].
    pub fn text(
        config: EvolutionConfig,
        catalogue: &Catalogue,
        split: Split,
        mode: ObservationMode,
    ) -> Result<Self, EnvError> {
        Ok(Self::from_model(EvolutionModel::text(config, catalogue, split, mode)?))
    }
}

#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;
