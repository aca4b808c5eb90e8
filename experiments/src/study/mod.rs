//! A study: arms × seeds under one budget. What an experiment is ([`Experiment`]), the order of work, one trial with
//! its checkpoints, and everything that follows from the results. Knows no experiment by name.

mod experiment;
mod measurement;
mod out;
mod plan;
mod report;
#[cfg(test)]
mod resume_tests;
mod run;
mod schedule;
mod seeds;
mod summary;
#[cfg(test)]
mod testing;
mod timeless;
mod trial;

pub use experiment::{Experiment, Info, Prepared, SplitInfo, typed};
pub use measurement::{Measurement, measure_returns};
pub use out::{check_free, default_out};
pub use plan::{Collection, EvalPlan, Plan, ReportSettings, TrainMode, TrainPlan, check_threads};
pub use report::write as write_report;
pub use run::Study;
pub use schedule::{TrialId, TrialOutcome, run_trials};
pub use seeds::{TrialSeeds, episodes};
pub use summary::summarise;
pub use timeless::differences;
#[cfg(test)]
pub use timeless::timeless;
pub use trial::{CurvePoint, Failure, Task, TaskActor, Training, TrialRecord};
