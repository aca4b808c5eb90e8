//! Figures, page and table of a study, all from what it recorded.

use super::config::{Form, RecSimConfig};
use super::trial::TrialRecord;
use super::world::Items;
use crate::arms::Arm;
use anyhow::Result;
use retune::report::{Curve, CurvePoint, ReportInput, render_html, render_terminal, write_figures};
use retune::track::{Manifest, RunDir, Summary, read_json, write_atomic};

/// Width of the table where standard output is no terminal.
const WIDTH: usize = 100;

/// Writes figures and page, and returns the table for the terminal.
///
/// # Errors
/// If the folder is not that of a finished study, or a file cannot be read or written.
pub fn write(run: &RunDir) -> Result<String> {
    let input = read(run)?;
    write_figures(&run.figures(), &input)?;
    write_atomic(&run.report(), render_html(&input)?.as_bytes())?;
    let width = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).unwrap_or(WIDTH);
    Ok(render_terminal(&input, width))
}

fn read(run: &RunDir) -> Result<ReportInput> {
    let summary = Summary::read(&run.summary())?;
    let manifest = Manifest::read(&run.manifest())?;
    let config: RecSimConfig = serde_json::from_value(manifest.config.clone())?;
    Ok(ReportInput {
        question: "Does reinforcement learning make a pretrained text encoder a better recommender than supervised \
                   learning does?"
            .to_owned(),
        method: method(&config),
        curves: curves(run, &summary)?,
        reproduce: Some(format!("experiment reproduce {}", run.path().display())),
        manifest: Some(manifest),
        summary,
    })
}

fn curves(run: &RunDir, summary: &Summary) -> Result<Vec<Curve>> {
    let mut curves = Vec::new();
    for arm in &summary.arms {
        let folder = Arm::parse(&arm.name)?.folder();
        for &seed in &arm.results.seeds {
            let record: TrialRecord = read_json(&run.trial(&folder, seed)?.join("result.json"))?;
            let point = |p: &super::trial::CurvePoint| CurvePoint { env_steps: p.env_steps, value: p.episode_return };
            let points: Vec<CurvePoint> = record.curve.iter().map(point).collect();
            if !points.is_empty() {
                curves.push(Curve { arm: arm.name.clone(), seed, points });
            }
        }
    }
    Ok(curves)
}

/// How it was measured, one sentence each.
fn method(config: &RecSimConfig) -> Vec<String> {
    let (env, eval) = (&config.env, &config.eval);
    let mut sentences = vec![
        format!(
            "A simulated user is offered {} items at a time and shown {} of them; the score is the minutes watched in \
             a session.",
            env.num_candidates, env.slate_size
        ),
        format!(
            "Every trained arm took {} env steps; all arms of a seed trained on the same users and were measured on \
             the same {} others.",
            config.train.env_steps, eval.users
        ),
        format!(
            "Learning curves show the mean over {} further users, the same at every point and for every arm of a seed.",
            eval.curve_users
        ),
        "Random shows a slate drawn uniformly; the planner knows the user model and is a strong reference, not an \
         upper bound."
            .to_owned(),
    ];
    if env.form == Form::Text {
        sentences.push(format!(
            "Items are texts whose topic and quality are hidden; {} measures on items that no training run has seen.",
            Items::ColdStart.name()
        ));
    }
    sentences
}
