//! One module per command.

mod bench;
mod check_env;
mod compare;
mod describe;
mod doctor;
mod embed;
mod finish;
mod list;
mod rec_sim;
mod report;
mod reproduce;
mod resume;

use crate::cli::{Command, OutputArgs};
use crate::failure::{Outcome, bad_input};
use crate::progress::Progress;
use crate::rec_sim::{NAME, RecSimConfig};
use anyhow::Result;
use retune::track::{Manifest, RunDir};
use serde::Serialize;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Does what was asked.
///
/// # Errors
/// What [`crate::failure::exit_code`] turns into an exit code.
pub fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::RecSim(args) => rec_sim::run(&args),
        Command::List { output } => list::run(output),
        Command::Describe { name, output } => describe::run(&name, output),
        Command::Resume { dir, output } => resume::run(&dir, output),
        Command::Report { dir, output } => report::run(&dir, output),
        Command::Compare { a, b, output } => compare::run(&a, &b, output),
        Command::Reproduce { dir, output } => reproduce::run(&dir, output),
        Command::CheckEnv { name, output } => check_env::run(&name, output),
        Command::Embed { backbone, weights, device } => embed::run(&backbone, weights.form(), &device),
        Command::Bench { filter, threads, case, output } => {
            bench::run(filter.as_deref(), threads, case.as_deref(), output)
        }
        Command::Doctor { backbone, device, output } => doctor::run(&backbone, &device, output),
    }
}

/// The folder of a study that exists, with what its manifest says.
struct Opened {
    run: RunDir,
    manifest: Manifest,
    config: RecSimConfig,
}

fn opened(dir: &Path) -> Result<Opened> {
    let run = RunDir::open(dir)?;
    let manifest = Manifest::read(&run.manifest())?;
    if manifest.experiment != NAME {
        return Err(bad_input(format!(
            "{}: experiment = {}: this program knows {NAME}",
            run.manifest().display(),
            manifest.experiment
        )));
    }
    let config = serde_json::from_value(manifest.config.clone())
        .map_err(|e| bad_input(format!("{}: config: {e}", run.manifest().display())))?;
    Ok(Opened { run, manifest, config })
}

/// Sends warnings of all crates to standard error, above the progress bars.
fn log_above(progress: &Progress) {
    let writer = progress.writer();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(tracing::Level::WARN)
        .with_target(false)
        .without_time()
        .finish();
    // Only the first call of a process takes effect, which is all it takes.
    tracing::subscriber::set_global_default(subscriber).unwrap_or_default();
}

/// Prints a result: as JSON, as text, or not at all.
fn print<T: Serialize>(output: OutputArgs, value: &T, text: impl FnOnce() -> String) -> Result<()> {
    if output.json {
        let mut json = serde_json::to_string_pretty(value)?;
        json.push('\n');
        say(&json)
    } else if output.quiet {
        Ok(())
    } else {
        say(&text())
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
