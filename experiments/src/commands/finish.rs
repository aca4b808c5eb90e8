//! From a study that is ready to run to its results: what new studies, `resume` and `reproduce` have in common.

use super::print;
use crate::cli::OutputArgs;
use crate::failure::Outcome;
use crate::progress::Progress;
use crate::study::{Experiment, Study, summarise, write_report};
use anyhow::Result;
use retune::track::{Status, Summary};

/// Runs what is left of the trials, writes everything that follows from them, and says what came out.
pub fn run(experiment: &dyn Experiment, study: &Study, preset: &str, output: OutputArgs) -> Result<Outcome> {
    let summary = train(study, preset, output)?;
    if summary.status == Status::Interrupted {
        if !output.quiet {
            let dir = study.run.path().display();
            eprintln!("Interrupted; everything up to the last checkpoint is kept. To go on: experiment resume {dir}");
        }
        return Ok(Outcome::Interrupted);
    }
    let table = write_report(experiment, &study.run)?;
    print(output, &summary, || format!("{table}\n{}", closing(study, preset)))?;
    Ok(if summary.status == Status::Complete { Outcome::Done } else { Outcome::Failed })
}

/// Runs what is left of the trials and writes the summary.
pub fn train(study: &Study, preset: &str, output: OutputArgs) -> Result<Summary> {
    let trials = study.trials();
    let progress = Progress::new(trials.len(), output.quiet);
    super::log_above(&progress);
    let outcomes = study.run(&progress)?;
    progress.clear();
    let results: Vec<_> = trials.into_iter().zip(outcomes).collect();
    let summary = summarise(study.prepared.as_ref(), preset, &results)?;
    summary.write(&study.run.summary())?;
    Ok(summary)
}

/// Where everything is, and what would tell more.
fn closing(study: &Study, preset: &str) -> String {
    let dir = study.run.path().display();
    let mut text = format!("Report: {dir}/report.html\nCurves: tensorboard --logdir {dir}/tensorboard\n");
    let info = study.prepared.info();
    let next = info.next_preset.filter(|_| preset == info.presets[0].name);
    if let Some(next) = info.presets.iter().find(|p| Some(p.name) == next) {
        text.push_str(&format!("For more: experiment {} --preset {}. {}\n", info.name, next.name, next.about()));
    }
    text
}
