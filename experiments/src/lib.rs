//! The command `experiment`: studies of pretrained models under reinforcement learning, their presets and reports.
//!
//! Modules in reading order: `cli` (what can be asked), `config` (settings and where they come from), `arms`
//! (methods under comparison), `study` (what every study does), `rec_sim`, `control` and `diag_query` (experiments),
//! `experiments` (all of them), `deep` (agents that several experiments train), and `commands` (one module per command).

mod arms;
mod backbones;
mod bench;
mod cli;
mod commands;
mod config;
mod control;
mod deep;
mod device;
mod diag_query;
mod envs;
mod experiments;
mod failure;
mod interrupt;
mod progress;
mod rec_sim;
mod study;
mod suggest;
mod threads;
mod verify;

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli.command) {
        Ok(outcome) => outcome.code(),
        Err(error) => {
            report(&error);
            failure::exit_code(&error)
        }
    }
}

/// One message on standard error; the causes behind the first only where they say something new.
fn report(error: &anyhow::Error) {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    // Nobody is left to tell if standard error is closed.
    writeln!(std::io::stderr(), "error: {text}").unwrap_or_default();
}
