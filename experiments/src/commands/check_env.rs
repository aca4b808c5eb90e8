//! `experiment check-env NAME`.

use super::print;
use crate::cli::OutputArgs;
use crate::config::{Request, resolve};
use crate::failure::{Outcome, bad_input};
use crate::rec_sim::{self, Items, RecSimConfig, World};
use crate::suggest::did_you_mean;
use anyhow::Result;
use retune::env::check::{CandidateSampler, CheckConfig, CheckReport, check_env};

pub fn run(name: &str, output: OutputArgs) -> Result<Outcome> {
    let names = rec_sim::ENVS.iter().map(|(env, _)| *env);
    let form = match name.rsplit('/').next() {
        Some(form) if names.clone().any(|env| env == name) => form,
        _ => {
            let hint = did_you_mean(name, names.clone());
            let all: Vec<&str> = names.collect();
            return Err(bad_input(format!(
                "check-env {name}: there is no such environment; there are {}{hint}",
                all.join(", ")
            )));
        }
    };
    let schema = rec_sim::schema()?;
    let set = [format!("env.form={form}")];
    let (_, layers) = resolve(&schema, rec_sim::PRESETS, &Request { set: &set, ..Request::default() })?;
    let config = RecSimConfig::from_layers(&layers)?;
    let world = World::new(&config, &|_| unreachable!("the embedded catalogue names its topics"))?;
    let report = check_env(|| world.env(Items::Train), &CandidateSampler, &CheckConfig::default())?;
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
