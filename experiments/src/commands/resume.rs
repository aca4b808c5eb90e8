//! `experiment resume DIR`.

use super::{finish, opened};
use crate::cli::OutputArgs;
use crate::failure::{Outcome, bad_input};
use crate::interrupt::Interrupt;
use crate::study::Study;
use crate::threads;
use anyhow::Result;
use std::path::Path;

pub fn run(dir: &Path, output: OutputArgs) -> Result<Outcome> {
    threads::one_per_operation();
    let opened = opened(dir)?;
    let interrupt = Interrupt::listen(output.quiet)?;
    let prepared = opened.experiment.prepare(&opened.manifest.config)?;
    for (name, recorded) in &opened.manifest.hashes {
        if prepared.hashes().get(name) != Some(recorded) {
            return Err(bad_input(format!(
                "{}: the {name} is not the one that the study began with (SHA-256 {recorded}); put that one back, or \
                 begin a new study",
                dir.display()
            )));
        }
    }
    let study = Study::new(prepared, opened.run, interrupt)?;
    finish::run(opened.experiment, &study, &opened.manifest.preset, output)
}
