//! What the checks found.

use super::Check;
use anyhow::Result;
use serde::Serialize;

/// How far results are from what is right, over all numbers of a check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Largest `|found − expected| / max(1, |expected|)`; NaN as soon as one number is NaN.
    pub worst: f64,
    /// The largest deviation that passes.
    pub tolerance: f64,
    /// Numbers compared.
    pub numbers: usize,
}

impl Found {
    /// Nothing compared yet.
    #[must_use]
    pub fn within(tolerance: f64) -> Self {
        Self { worst: 0.0, tolerance, numbers: 0 }
    }

    /// Compares one number.
    pub fn compare(&mut self, found: f64, expected: f64) {
        let deviation = (found - expected).abs() / expected.abs().max(1.0);
        // `max` would forget a NaN.
        if deviation > self.worst || deviation.is_nan() {
            self.worst = deviation;
        }
        self.numbers += 1;
    }

    /// Compares number by number.
    ///
    /// # Errors
    /// If there are not as many as expected.
    pub fn compare_all(&mut self, found: &[f64], expected: &[f64]) -> Result<()> {
        anyhow::ensure!(found.len() == expected.len(), "{} numbers, expected {}", found.len(), expected.len());
        found.iter().zip(expected).for_each(|(f, e)| self.compare(*f, *e));
        Ok(())
    }

    /// Whether something was compared and all of it is within the tolerance.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.numbers > 0 && self.worst <= self.tolerance
    }
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was examined.
    pub name: &'static str,
    /// What says what is right.
    pub against: &'static str,
    /// Whether all numbers are within the tolerance.
    pub passed: bool,
    /// Largest deviation, relative to max(1, |expected|); `None` if the check broke off or a number is not finite.
    pub worst: Option<f64>,
    /// The largest deviation that passes; `None` if the check broke off.
    pub tolerance: Option<f64>,
    /// Numbers compared.
    pub numbers: usize,
    /// Why the check broke off.
    pub error: Option<String>,
}

impl Row {
    pub(super) fn of(check: &Check, outcome: Result<Found>) -> Self {
        let row = Self {
            name: check.name,
            against: check.against,
            passed: false,
            worst: None,
            tolerance: None,
            numbers: 0,
            error: None,
        };
        match outcome {
            Ok(found) => Self {
                passed: found.passed(),
                worst: found.worst.is_finite().then_some(found.worst),
                tolerance: Some(found.tolerance),
                numbers: found.numbers,
                ..row
            },
            Err(error) => Self { error: Some(format!("{error:#}")), ..row },
        }
    }
}

/// The table.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One row per check.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether every row passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.passed)
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let width = |of: fn(&Row) -> &str| self.rows.iter().map(|r| of(r).chars().count()).max().unwrap_or_default();
        let (names, against) = (width(|r| r.name), width(|r| r.against));
        let mut text = String::new();
        for row in &self.rows {
            let mark = if row.passed { "pass" } else { "FAIL" };
            let detail = match (&row.error, row.worst, row.tolerance) {
                (Some(error), ..) => error.clone(),
                (None, Some(worst), Some(tolerance)) => {
                    format!("{} numbers, off by {worst:.1e} at most, {tolerance:.0e} allowed", row.numbers)
                }
                _ => "a number is not finite".to_owned(),
            };
            text.push_str(&format!("{mark}  {:names$}  {:against$}  {detail}\n", row.name, row.against));
        }
        let passed = self.rows.iter().filter(|row| row.passed).count();
        text.push_str(&format!("{passed} of {} checks passed\n", self.rows.len()));
        text
    }
}
