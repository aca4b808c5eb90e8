//! Exact checks: targets, losses and fixed points of the algorithms against independent numbers.
//!
//! Three sources say what is right: golden files that other programs made (`tests/golden/`), closed forms, and value
//! iteration on tiny processes whose trajectories are all enumerated, so that an expectation is a sum and not an
//! estimate. A check takes what it examines from [`Subjects`]; the tests put broken ones in their place and every check
//! must notice.

mod deep;
mod enumerate;
mod fixed_points;
mod golden;
mod losses;
mod policies;
mod replay;
mod report;
mod rollout_targets;
mod slates;
mod subjects;
mod tabular;
#[cfg(test)]
mod tests;
mod top_k;
mod train;

pub use report::{Found, Report, Row};
pub use subjects::Subjects;

use anyhow::Result;

/// One row of the table.
pub struct Check {
    /// What is examined.
    pub name: &'static str,
    /// What says what is right.
    pub against: &'static str,
    run: fn(&Subjects) -> Result<Found>,
}

/// All checks, in the order of the table.
#[must_use]
pub fn checks() -> Vec<Check> {
    [
        rollout_targets::CHECKS,
        losses::CHECKS,
        replay::CHECKS,
        slates::CHECKS,
        top_k::CHECKS,
        fixed_points::CHECKS,
        tabular::CHECKS,
        deep::CHECKS,
        policies::CHECKS,
    ]
    .concat()
    .into_iter()
    .map(|(name, against, run)| Check { name, against, run })
    .collect()
}

/// A check as its module lists it: name, what says what is right, and how it is run.
type Listed = (&'static str, &'static str, fn(&Subjects) -> Result<Found>);

/// Runs every check.
#[must_use]
pub fn verify(subjects: &Subjects) -> Report {
    Report { rows: checks().iter().map(|check| Row::of(check, (check.run)(subjects))).collect() }
}
