//! Time and memory of a table of Human Phenotype Ontology annotations of full size: 12,000 diseases, 11,000 terms,
//! 252,000 rows, made at random in the form of the release. `cargo run -p retune-envs --example hpo_scale`.

use retune::env::{Env, Slate};
use retune::rng::Seed;
use retune_envs::diag_query::env::{DiagQuery, DiagQueryConfig, Initial, View};
use retune_envs::diag_query::rates::{HpoOptions, read_hpoa, read_obo};
use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

const DISEASES: usize = 12_000;
const TERMS: usize = 11_000;
const ROWS_EACH: usize = 21;

/// Highest memory of the process so far, where the system tells.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.unwrap_or("unknown").trim().to_owned()
}

/// Seconds that this thread has run; seconds of the clock where the system does not tell.
fn cpu(start: Instant) -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = stat.and_then(|s| s.split_whitespace().next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| start.elapsed().as_secs_f64(), |n| n * 1e-9)
}

fn files() -> Result<(String, String), std::fmt::Error> {
    let mut rng = Seed::root(1).child("hpo").rng();
    let mut obo = String::from("[Term]\nid: HP:0000000\nname: All\n");
    for term in 1..TERMS {
        writeln!(obo, "\n[Term]\nid: HP:{term:07}\nname: Term {term}\nis_a: HP:{:07} ! up", (term - 1) / 4)?;
    }
    let frequencies = ["HP:0040281", "HP:0040282", "3/7", "45%", ""];
    let mut hpoa = String::from("#version: made\n");
    for disease in 0..DISEASES {
        for _ in 0..ROWS_EACH {
            let (term, frequency) = (rng.below(TERMS), frequencies[rng.below(frequencies.len())]);
            writeln!(hpoa, "ORPHA:{disease}\tDisease {disease}\t\tHP:{term:07}\tR\tPCS\t\t{frequency}\t\t\tP\tX")?;
        }
    }
    Ok((obo, hpoa))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (obo, hpoa) = files()?;
    let start = Instant::now();
    for propagate in [false, true] {
        let options = HpoOptions { propagate, without_frequency: Some(0.5), ..HpoOptions::default() };
        let began = cpu(start);
        let ontology = read_obo("hp.obo", obo.as_bytes())?;
        let table = read_hpoa("phenotype.hpoa", hpoa.as_bytes(), &ontology, &options)?;
        let problem = Arc::new(table.problem("hpo", &ontology, &options)?);
        println!("propagate {propagate}: loaded in {:.2} s of CPU time, peak {}", cpu(start) - began, peak());
        let config = DiagQueryConfig {
            view: View::BeliefGain,
            initial: Initial::RandomPositive,
            t_max: 20,
            ..DiagQueryConfig::default()
        };
        let mut env = DiagQuery::new(problem, config)?;
        let began = cpu(start);
        let mut steps = 0;
        for episode in 0..3 {
            let mut obs = env.reset(Some(episode))?;
            for _ in 0..20 {
                let findings = env.problem().findings.len();
                let gains = &obs.state[obs.state.len() - findings..];
                let open = (0..findings).filter(|&i| obs.mask[i]);
                let best = open.max_by(|&a, &b| gains[a].total_cmp(&gains[b])).unwrap_or_default();
                obs = env.step(&Slate(vec![best as u32]))?.obs;
                steps += 1;
            }
        }
        let each = 1e3 * (cpu(start) - began) / f64::from(steps);
        println!("propagate {propagate}: {each:.1} ms a step with posterior and all gains, peak {}", peak());
    }
    Ok(())
}
