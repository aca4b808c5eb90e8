//! `experiment check-env NAME`.

use super::print;
use crate::cli::OutputArgs;
use crate::config::{Request, resolve};
use crate::failure::{Outcome, bad_input};
use crate::rec_sim::{self, Items, RecSimConfig, World};
use crate::suggest::did_you_mean;
use crate::{diag_query, envs};
use anyhow::Result;
use retune::env::check::{CandidateSampler, CheckConfig, CheckReport, check_env};
use retune_envs::control::ControlTask;

/// Env steps by which the speed of a control task is measured: a fraction of a second at ten million a second.
const CONTROL_SPEED_STEPS: u64 = 2_000_000;

pub fn run(name: &str, output: OutputArgs) -> Result<Outcome> {
    let report = if let Some(task) = ControlTask::from_name(name) {
        task.check(&CheckConfig { speed_steps: CONTROL_SPEED_STEPS, ..CheckConfig::default() })?
    } else if rec_sim::ENVS.iter().any(|(env, _)| *env == name) {
        check_rec_sim(name)?
    } else if let Some(make) = diag_query::env_maker(name)? {
        check_env(make, &CandidateSampler, &CheckConfig::default())?
    } else {
        let names: Vec<&str> = envs::all().into_iter().map(|(env, _)| env).collect();
        let hint = did_you_mean(name, names.iter().copied());
        let all = names.join(", ");
        return Err(bad_input(format!("check-env {name}: there is no such environment; there are {all}{hint}")));
    };
    print(output, &report, || text(&report))?;
    Ok(if report.passed() { Outcome::Done } else { Outcome::Failed })
}

/// `name` is one of [`rec_sim::ENVS`]: its last part is the form of the observation.
fn check_rec_sim(name: &str) -> Result<CheckReport> {
    let form = name.rsplit('/').next().unwrap_or(name);
    let schema = rec_sim::schema()?;
    let set = [format!("env.form={form}")];
    let (_, layers) = resolve(&schema, rec_sim::PRESETS, &Request { set: &set, ..Request::default() })?;
    let config = RecSimConfig::from_layers(&layers)?;
    let world = World::new(&config, &|_| unreachable!("the embedded catalogue names its topics"))?;
    Ok(check_env(|| world.env(Items::Train), &CandidateSampler, &CheckConfig::default())?)
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
