//! `experiment rec_sim`: a new study.

use super::finish;
use crate::cli::RecSimArgs;
use crate::config::{Request, resolve};
use crate::failure::Outcome;
use crate::interrupt::Interrupt;
use crate::rec_sim::{self, NAME, Prepared, RecSimConfig, Study};
use crate::study::{check_free, default_out};
use crate::{device, threads};
use anyhow::Result;
use retune::track::{Manifest, RunDir, Source, utc_now};
use std::collections::BTreeMap;
use std::path::Path;

pub fn run(args: &RecSimArgs) -> Result<Outcome> {
    threads::one_per_operation();
    let schema = rec_sim::schema()?;
    let request =
        Request { preset: args.preset.as_deref(), config: args.config.clone(), set: &args.set, flags: args.flags() };
    let (preset, layers) = resolve(&schema, rec_sim::PRESETS, &request)?;
    let config = RecSimConfig::from_layers(&layers)?;
    let out = args.out.clone().unwrap_or_else(|| default_out(NAME, preset.name, config.seed));
    check_free(&out)?;
    let interrupt = Interrupt::listen(args.output.quiet)?;
    let study = begin(Prepared::new(config)?, preset.name, &out, interrupt)?;
    finish::run(&study, preset.name, args.output)
}

/// Makes the folder of a study with its manifest.
pub fn begin(prepared: Prepared, preset: &str, out: &Path, interrupt: Interrupt) -> Result<Study> {
    let manifest = manifest(&prepared, preset)?;
    let run = RunDir::create(out)?;
    manifest.write(&run.manifest())?;
    Study::new(prepared, run, interrupt)
}

fn manifest(prepared: &Prepared, preset: &str) -> Result<Manifest> {
    let (matmul, elementwise) = threads::per_operation();
    let config = &prepared.config;
    let named = |pairs: &[(&str, usize)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
    Ok(Manifest {
        schema: 1,
        experiment: NAME.to_owned(),
        preset: preset.to_owned(),
        command: std::env::args().collect(),
        config: serde_json::to_value(config)?,
        root_seed: config.seed,
        source: Source { revision: Some(env!("RETUNE_REVISION").to_owned()), dirty: None },
        versions: BTreeMap::from([
            ("retune".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("rustc".to_owned(), env!("RETUNE_RUSTC").to_owned()),
            ("profile".to_owned(), if cfg!(debug_assertions) { "dev" } else { "release" }.to_owned()),
        ]),
        device: device::name(&prepared.device),
        threads: named(&[
            ("jobs", config.workers()),
            ("actors", config.actors),
            ("matmul", matmul),
            ("elementwise", elementwise),
        ]),
        hashes: prepared.hashes.clone(),
        started_at: utc_now(),
    })
}
