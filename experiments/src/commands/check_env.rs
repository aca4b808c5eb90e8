//! `experiment check-env NAME`.

use super::print;
use crate::cli::OutputArgs;
use crate::envs;
use crate::failure::{Outcome, bad_input};
use crate::suggest::did_you_mean;
use anyhow::Result;
use retune::env::check::CheckReport;

pub fn run(name: &str, output: OutputArgs) -> Result<Outcome> {
    let Some(report) = envs::check(name)? else {
        let names: Vec<&str> = envs::all().into_iter().map(|(env, _)| env).collect();
        let (all, hint) = (names.join(", "), did_you_mean(name, names.iter().copied()));
        return Err(bad_input(format!("check-env {name}: there is no such environment; there are {all}{hint}")));
    };
    print(output, &report, || text(&report))?;
    Ok(if report.passed() { Outcome::Done } else { Outcome::Failed })
}

fn text(report: &CheckReport) -> String {
    let mut text = format!("{}\n", report.env);
    let width = report.rows.iter().map(|row| row.law.chars().count()).max().unwrap_or_default();
    for row in &report.rows {
        let mark = if row.passed { "pass" } else { "FAIL" };
        text.push_str(&format!("  {mark}  {:width$}  {}\n", row.law, row.detail));
    }
    if let Some(speed) = report.steps_per_second {
        text.push_str(&format!("  {speed:.0} steps per second on one thread, random actions\n"));
    }
    text
}
