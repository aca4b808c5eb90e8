//! One module per command.

mod bench;
mod check_env;
mod compare;
mod describe;
mod doctor;
mod embed;
mod finish;
mod infer;
mod list;
mod new;
mod replay;
mod report;
mod reproduce;
mod resume;
mod verify;

use crate::cli::{Command, OutputArgs};
use crate::control::Control;
use crate::diag_query::DiagQueryStudies;
use crate::experiments;
use crate::failure::Outcome;
use crate::progress::Progress;
use crate::rec_sim::RecSim;
use crate::study::Experiment;
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
        Command::RecSim(args) => new::run(&RecSim, &args.study, args.flags()),
        Command::Control(args) => new::run(&Control, &args, Vec::new()),
        Command::DiagQuery(args) => new::run(&DiagQueryStudies, &args.study, args.flags()),
        Command::List { output } => list::run(output),
        Command::Describe { name, output } => describe::run(&name, output),
        Command::Resume { dir, output } => resume::run(&dir, output),
        Command::Replay { dir, output } => replay::run(&dir, output),
        Command::Report { dir, output } => report::run(&dir, output),
        Command::Compare { a, b, output } => compare::run(&a, &b, output),
        Command::Reproduce { dir, output } => reproduce::run(&dir, output),
        Command::CheckEnv { name, output } => check_env::run(&name, output),
        Command::Embed { backbone, weights, device } => embed::run(&backbone, weights.form(), &device),
        Command::Infer { network, samples } => infer::run(&network, samples),
        Command::Verify { output } => verify::run(output),
        Command::Bench { filter, device, threads, case, output } => {
            bench::run(filter.as_deref(), &device, threads, case.as_deref(), output)
        }
        Command::Doctor { backbone, device, output } => doctor::run(&backbone, &device, output),
    }
}

/// The folder of a study that exists, with what its manifest says.
struct Opened {
    run: RunDir,
    manifest: Manifest,
    experiment: &'static dyn Experiment,
}

fn opened(dir: &Path) -> Result<Opened> {
    let run = RunDir::open(dir)?;
    let manifest = Manifest::read(&run.manifest())?;
    let experiment = experiments::find(&manifest.experiment, &run.manifest().display().to_string())?;
    Ok(Opened { run, manifest, experiment })
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
