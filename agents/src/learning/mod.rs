//! What all agents with a gradient share: settings, one update, averaged parameters, publication, saved state.

mod average;
mod config;
mod guarded;
mod guards;
mod replayed;
mod setup;
mod texts;
mod trainer;
mod unit;

pub use average::Average;
pub use config::LearningConfig;
pub(crate) use config::{at_least_one, positive, share_below_one, within};
pub(crate) use guarded::{Guarded, RELATIVE_ENTROPY, largest_entropy};
pub use guards::Guards;
pub(crate) use replayed::{Objective, ReplayLearner};
pub use setup::Setup;
pub(crate) use texts::{TEXT_MEAN, TEXT_STD};
pub use texts::{TextModel, Texts};
pub use trainer::{ModelPlan, Part, StepOutcome, Trainer};
pub(crate) use unit::{ReturnStatistics, ValueUnit};
