//! `experiment bench`: how fast this machine does what studies consist of.

use super::print;
use crate::bench::{Case, Compute, Figure, cases, compute};
use crate::cli::OutputArgs;
use crate::failure::{Outcome, bad_input};
use crate::{device, threads};
use anyhow::{Context, Result};
use retune::nn::fused::threads::with_threads;
use serde::Serialize;
use std::process::{Command, Stdio};

/// The table, as `--json` prints it.
#[derive(Serialize)]
struct Table {
    device: String,
    threads: usize,
    cores: usize,
    platform: String,
    results: Vec<Figure>,
    /// Where both cases that it needs were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    compute: Option<Compute>,
}

pub fn run(
    filter: Option<&str>,
    device: &str,
    threads: Option<usize>,
    only: Option<&str>,
    output: OutputArgs,
) -> Result<Outcome> {
    let device = device::choose(device)?;
    let threads = threads.unwrap_or_else(threads::cores);
    if threads == 0 {
        return Err(bad_input("--threads = 0: expected at least 1"));
    }
    let cases = cases(&device);
    if let Some(name) = only {
        let case = cases.iter().find(|case| case.name == name);
        let case = case.ok_or_else(|| bad_input(format!("--case = {name}: there is no such case")))?;
        print(output, &with_threads(threads, || case.run())?, || format!("{name}\n"))?;
        return Ok(Outcome::Done);
    }
    let chosen: Vec<&Case> = cases.iter().filter(|case| filter.is_none_or(|f| case.name.contains(f))).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let filter = filter.unwrap_or_default();
        return Err(bad_input(format!(
            "FILTER = {filter}: no case has this in its name; there are {}",
            names.join(", ")
        )));
    }
    let mut results = Vec::new();
    for case in chosen {
        if !output.quiet && !output.json {
            eprintln!("measuring {}", case.name);
        }
        let figure = if case.alone { elsewhere(case, threads)? } else { with_threads(threads, || case.run())? };
        results.push(figure);
    }
    let platform = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let compute = with_threads(threads, || compute(&results));
    let table = Table { device: device::name(&device), threads, cores: threads::cores(), platform, results, compute };
    print(output, &table, || text(&table))?;
    Ok(Outcome::Done)
}

/// Measures a case in a process of its own: memory that an earlier case freed would not count as new.
fn elsewhere(case: &Case, threads: usize) -> Result<Figure> {
    let program = std::env::current_exe().context("the program cannot find itself")?;
    let output = Command::new(program)
        .args(["bench", "--json", "--case", &case.name, "--threads", &threads.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{}: cannot be started", case.name))?;
    anyhow::ensure!(output.status.success(), "{}: failed", case.name);
    serde_json::from_slice(&output.stdout).with_context(|| format!("{}: no figure", case.name))
}

fn text(table: &Table) -> String {
    let mut text =
        format!("{}; {} threads of {} cores, {}\n\n", table.device, table.threads, table.cores, table.platform);
    text.push_str(&format!("{:<34}{:>14}{:>14}{:>14}{:>12}\n", "case", "median", "least", "most", "peak MiB"));
    for figure in &table.results {
        let [median, min, max] = [figure.median, figure.min, figure.max].map(|value| amount(&figure.unit, value));
        let peak = figure.peak_mib.map_or_else(String::new, |mib| format!("{mib:.0}"));
        text.push_str(&format!("{:<34}{median:>14}{min:>14}{max:>14}{peak:>12}\n", figure.case));
    }
    if let Some(compute) = &table.compute {
        let Compute { fma_peak_gflops: peak, attained_gflops: attained, gemm_share } = compute;
        let (percent, share) = (100.0 * attained / peak, 100.0 * gemm_share);
        text.push_str(&format!(
            "\nforward pass l6/forward/b32xt32: {attained:.0} GFLOP/s, {percent:.0} % of the {peak:.0} that multiply-adds \
             alone reach here; the products of its linear maps are {share:.0} % of its time\n"
        ));
    }
    text
}

/// A value with a unit that leaves few digits.
fn amount(unit: &str, value: f64) -> String {
    if unit == "per_sec" {
        return format!("{value:.0} /s");
    }
    match value {
        v if v >= 1.0 => format!("{v:.2} s"),
        v if v >= 1e-3 => format!("{:.2} ms", v * 1e3),
        v => format!("{:.2} µs", v * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_fitting_units() {
        assert_eq!(amount("secs", 0.0123), "12.30 ms");
        assert_eq!(amount("secs", 4.2e-6), "4.20 µs");
        assert_eq!(amount("secs", 2.0), "2.00 s");
        assert_eq!(amount("per_sec", 12_345.6), "12346 /s");
    }
}
