//! A study: arms × seeds under one budget, the order of work, and what of it must repeat.

mod out;
mod schedule;
mod timeless;

pub use out::{check_free, default_out};
pub use schedule::{TrialId, TrialOutcome, run_trials};
pub use timeless::differences;
#[cfg(test)]
pub use timeless::timeless;
