//! A new study: `experiment rec_sim` and its like.

use super::finish;
use crate::cli::StudyArgs;
use crate::config::Request;
use crate::failure::Outcome;
use crate::interrupt::Interrupt;
use crate::study::{Experiment, Prepared, Study, check_free, default_out};
use crate::threads;
use anyhow::Result;
use retune::track::{Manifest, RunDir, Source, utc_now};
use std::collections::BTreeMap;
use std::path::Path;

/// `own` are the options that only this experiment has, as (option, key, value).
pub fn run(
    experiment: &'static dyn Experiment,
    args: &StudyArgs,
    own: Vec<(&'static str, &'static str, &str)>,
) -> Result<Outcome> {
    threads::one_per_operation();
    let schema = experiment.info().schema()?;
    let mut flags = args.flags();
    flags.extend(own);
    let request = Request { preset: args.preset.as_deref(), config: args.config.clone(), set: &args.set, flags };
    let (preset, layers) = experiment.layers(&schema, &request)?;
    let config = experiment.checked(&layers)?;
    let seed = config["seed"].as_u64().unwrap_or_default();
    let out = args.out.clone().unwrap_or_else(|| default_out(experiment.info().name, preset.name, seed));
    check_free(&out)?;
    let interrupt = Interrupt::listen(args.output.quiet)?;
    let study = begin(experiment.prepare(&config)?, preset.name, &out, interrupt)?;
    finish::run(experiment, &study, preset.name, args.output)
}

/// Makes the folder of a study with its manifest.
pub fn begin(prepared: Box<dyn Prepared>, preset: &str, out: &Path, interrupt: Interrupt) -> Result<Study> {
    let manifest = manifest(prepared.as_ref(), preset)?;
    let run = RunDir::create(out)?;
    manifest.write(&run.manifest())?;
    Study::new(prepared, run, interrupt)
}

fn manifest(prepared: &dyn Prepared, preset: &str) -> Result<Manifest> {
    let (matmul, elementwise) = threads::per_operation();
    let plan = prepared.plan();
    let named = |pairs: &[(&str, usize)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
    Ok(Manifest {
        schema: 1,
        experiment: prepared.info().name.to_owned(),
        preset: preset.to_owned(),
        command: std::env::args().collect(),
        config: prepared.config().clone(),
        root_seed: plan.seed,
        source: Source { revision: Some(env!("RETUNE_REVISION").to_owned()), dirty: None },
        versions: BTreeMap::from([
            ("retune".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("rustc".to_owned(), env!("RETUNE_RUSTC").to_owned()),
            ("profile".to_owned(), if cfg!(debug_assertions) { "dev" } else { "release" }.to_owned()),
        ]),
        device: prepared.device(),
        threads: named(&[
            ("jobs", plan.workers()),
            ("actors", plan.actors),
            ("matmul", matmul),
            ("elementwise", elementwise),
        ]),
        hashes: prepared.hashes().clone(),
        started_at: utc_now(),
    })
}
