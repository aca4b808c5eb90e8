//! `experiment verify`.

use super::print;
use crate::cli::OutputArgs;
use crate::failure::Outcome;
use crate::verify::{Subjects, verify};
use anyhow::Result;

pub fn run(output: OutputArgs) -> Result<Outcome> {
    let report = verify(&Subjects::default());
    print(output, &report, || report.text())?;
    Ok(if report.passed() { Outcome::Done } else { Outcome::Failed })
}
