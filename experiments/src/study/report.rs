//! Figures, page and table of a study, all from what it recorded.

use super::{Experiment, TrialRecord};
use anyhow::Result;
use retune::report::{Curve, CurvePoint, ReportInput, render_html, render_terminal, write_figures};
use retune::track::{Manifest, RunDir, Summary, read_json, write_atomic};

/// Width of the table where standard output is no terminal.
const WIDTH: usize = 100;

/// Writes figures and page, and returns the table for the terminal.
///
/// # Errors
/// If the folder is not that of a finished study, or a file cannot be read or written.
pub fn write(experiment: &dyn Experiment, run: &RunDir) -> Result<String> {
    let input = read(experiment, run)?;
    write_figures(&run.figures(), &input)?;
    write_atomic(&run.report(), render_html(&input)?.as_bytes())?;
    let width = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).unwrap_or(WIDTH);
    Ok(render_terminal(&input, width))
}

fn read(experiment: &dyn Experiment, run: &RunDir) -> Result<ReportInput> {
    let summary = Summary::read(&run.summary())?;
    let manifest = Manifest::read(&run.manifest())?;
    let records = records(experiment, run, &summary)?;
    Ok(ReportInput {
        question: experiment.info().question.to_owned(),
        method: experiment.method(&manifest.config)?,
        curves: curves(&records),
        extras: experiment.extras(&summary, &records)?,
        reproduce: Some(format!("experiment reproduce {}", run.path().display())),
        manifest: Some(manifest),
        summary,
    })
}

/// Of every finished trial, in the order of the summary.
fn records(experiment: &dyn Experiment, run: &RunDir, summary: &Summary) -> Result<Vec<TrialRecord>> {
    let mut records = Vec::new();
    for arm in &summary.arms {
        let folder = experiment.info().arm(&arm.name)?.folder();
        for &seed in &arm.results.seeds {
            records.push(read_json(&run.trial(&folder, seed)?.join("result.json"))?);
        }
    }
    Ok(records)
}

fn curves(records: &[TrialRecord]) -> Vec<Curve> {
    let point = |p: &super::CurvePoint| CurvePoint { env_steps: p.env_steps, value: p.episode_return };
    let curve = |record: &TrialRecord| Curve {
        arm: record.arm.clone(),
        seed: record.seed,
        points: record.curve.iter().map(point).collect(),
    };
    records.iter().map(curve).filter(|curve| !curve.points.is_empty()).collect()
}
