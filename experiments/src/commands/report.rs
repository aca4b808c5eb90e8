//! `experiment report DIR`.

use super::{opened, print};
use crate::cli::OutputArgs;
use crate::failure::{Outcome, bad_input};
use crate::study::write_report;
use anyhow::Result;
use retune::track::Summary;
use std::path::Path;

pub fn run(dir: &Path, output: OutputArgs) -> Result<Outcome> {
    let opened = opened(dir)?;
    let path = opened.run.summary();
    if !path.is_file() {
        return Err(bad_input(format!(
            "{0}: there is nothing to report yet; finish the study first with: experiment resume {0}",
            dir.display()
        )));
    }
    let _lock = opened.run.lock()?;
    let summary = Summary::read(&path)?;
    let table = write_report(opened.experiment, &opened.run)?;
    print(output, &summary, || format!("{table}\nReport: {}\n", opened.run.report().display()))?;
    Ok(Outcome::Done)
}
