//! From the results of trials to `summary.json`.

use super::NAME;
use super::config::RecSimConfig;
use super::study::Prepared;
use super::trial::TrialRecord;
use super::world::{Items, World};
use crate::arms::{Arm, ArmBackbone, Kind};
use crate::study::{TrialId, TrialOutcome};
use anyhow::Result;
use retune::rng::Seed;
use retune::stats::Bootstrap;
use retune::track::{
    Anchor, ArmKind, ArmSummary, Comparison, ExtraMetric, Failure, Ledger, MetricInfo, Reference, SCHEMA, ScoreSet,
    Split, SplitArm, Status, Summary, sentence,
};
use std::collections::{BTreeMap, BTreeSet};

/// Trials with how they ended.
pub type Results = [(TrialId, TrialOutcome<TrialRecord>)];

/// Units of the measures beside the return; what has none is left out.
const UNITS: &[(&str, &str)] =
    &[("discounted_return", "minutes watched"), ("episode_length", "steps"), ("topics_consumed", "topics")];

/// The results of a study with everything that follows from them.
///
/// # Errors
/// If a score is not a number.
pub fn summarise(prepared: &Prepared, preset: &str, results: &Results) -> Result<Summary> {
    let Prepared { config, arms, .. } = prepared;
    let kinds: BTreeSet<Items> = records(results).flat_map(|r| r.measurements.keys().copied()).collect();
    let mut summary = Summary {
        schema: SCHEMA,
        experiment: NAME.to_owned(),
        preset: preset.to_owned(),
        status: status(results),
        metric: metric(),
        arms: arms.iter().map(|arm| arm_summary(arm, config, results)).collect(),
        comparisons: Vec::new(),
        verdict: Vec::new(),
        measured_on: Some(measured_on(Items::Train).to_owned()),
        references: references(Items::Train, results),
        splits: kinds.iter().filter(|i| **i != Items::Train).map(|&items| split(arms, items, results)).collect(),
        warnings: warnings(&prepared.world, results),
    };
    let bootstrap =
        Bootstrap::new(Seed::root(config.seed).child("bootstrap")).with(config.report.replications, 0.95)?;
    summary.fill_statistics(&bootstrap)?;
    add_control(&mut summary, arms, &bootstrap)?;
    Ok(summary)
}

/// What the scores are.
#[must_use]
pub fn metric() -> MetricInfo {
    MetricInfo { name: "episode_return".to_owned(), unit: "minutes watched".to_owned(), higher_is_better: true }
}

fn measured_on(items: Items) -> &'static str {
    match items {
        Items::Train => "users never met in training",
        Items::ColdStart => "items never seen in training",
    }
}

fn status(results: &Results) -> Status {
    let any = |f: fn(&TrialOutcome<TrialRecord>) -> bool| results.iter().any(|(_, outcome)| f(outcome));
    if any(|o| matches!(o, TrialOutcome::Interrupted)) {
        Status::Interrupted
    } else if any(|o| matches!(o, TrialOutcome::Failed(_))) {
        Status::Failed
    } else {
        Status::Complete
    }
}

fn records(results: &Results) -> impl Iterator<Item = &TrialRecord> {
    results.iter().filter_map(|(_, outcome)| match outcome {
        TrialOutcome::Done(record) => Some(record),
        _ => None,
    })
}

fn of_arm<'a>(arm: &Arm, results: &'a Results) -> Vec<&'a TrialRecord> {
    let name = arm.to_string();
    records(results).filter(|record| record.arm == name).collect()
}

fn arm_summary(arm: &Arm, config: &RecSimConfig, results: &Results) -> ArmSummary {
    let records = of_arm(arm, results);
    let failures: Vec<Failure> = results
        .iter()
        .filter_map(|(trial, outcome)| match outcome {
            TrialOutcome::Failed(message) if trial.arm == *arm => {
                Some(Failure { seed: trial.seed, message: message.clone() })
            }
            _ => None,
        })
        .collect();
    ArmSummary {
        name: arm.to_string(),
        kind: kind(arm),
        backbone: backbone(arm, config),
        description: arm.algorithm.about.to_owned(),
        results: scores(&records, Items::Train),
        ledger: mean_ledger(&records),
        trainable_parameters: records.first().map_or(0, |r| r.trainable_parameters as u64),
        failed_seeds: failures.iter().map(|f| f.seed).collect(),
        failures,
        metrics: metrics(&records),
    }
}

fn kind(arm: &Arm) -> ArmKind {
    match arm.algorithm.kind {
        Kind::Rl => ArmKind::Rl,
        Kind::Supervised => ArmKind::Supervised,
        Kind::Reference => ArmKind::Reference,
    }
}

fn backbone(arm: &Arm, config: &RecSimConfig) -> String {
    if !arm.algorithm.trains || config.env.form == super::config::Form::Features {
        return "none".to_owned();
    }
    arm.mode.name().to_owned()
}

fn scores(records: &[&TrialRecord], items: Items) -> ScoreSet {
    let measured = records.iter().filter_map(|r| Some((r.seed, r.measurements.get(&items)?.episode_return)));
    ScoreSet::measured(measured)
}

fn metrics(records: &[&TrialRecord]) -> BTreeMap<String, ExtraMetric> {
    let mut by_name: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    for record in records {
        let Some(found) = record.measurements.get(&Items::Train) else { continue };
        for (name, &value) in found.metrics.iter().filter(|(name, _)| !name.ends_with("_se")) {
            by_name.entry(name.clone()).or_default().push((record.seed, value));
        }
    }
    let unit = |name: &str| UNITS.iter().find(|(n, _)| *n == name).map_or("", |(_, unit)| unit).to_owned();
    by_name
        .into_iter()
        .map(|(name, values)| {
            let metric = ExtraMetric { unit: unit(&name), results: ScoreSet::measured(values) };
            (name, metric)
        })
        .collect()
}

fn mean_ledger(records: &[&TrialRecord]) -> Ledger {
    let count = records.len().max(1) as u64;
    let mean = |f: fn(&TrialRecord) -> u64| records.iter().map(|r| f(r)).sum::<u64>() / count;
    Ledger {
        env_steps: mean(|r| r.ledger.env_steps),
        labels: mean(|r| r.ledger.labels),
        forward_tokens: mean(|r| r.ledger.forward_tokens),
        backward_tokens: mean(|r| r.ledger.backward_tokens),
        updates: mean(|r| r.ledger.updates),
        wall_secs: records.iter().map(|r| r.ledger.wall_secs).sum::<f64>() / count as f64,
    }
}

/// Policies that train nothing, as lines to compare with: the mean over all seeds.
fn references(items: Items, results: &Results) -> Vec<Reference> {
    let mut arms: Vec<Arm> = Vec::new();
    for (trial, _) in results {
        if trial.arm.is_policy() && !arms.contains(&trial.arm) {
            arms.push(trial.arm);
        }
    }
    arms.iter()
        .filter_map(|arm| {
            let scores = scores(&of_arm(arm, results), items).scores;
            let anchor = match arm.algorithm.name {
                "random" => Some(Anchor::Zero),
                "planner" => Some(Anchor::One),
                _ => None,
            };
            (!scores.is_empty()).then(|| Reference {
                name: arm.to_string(),
                score: scores.iter().sum::<f64>() / scores.len() as f64,
                description: arm.algorithm.about.to_owned(),
                anchor,
            })
        })
        .collect()
}

fn split(arms: &[Arm], items: Items, results: &Results) -> Split {
    Split {
        name: items.name().to_owned(),
        measured_on: measured_on(items).to_owned(),
        arms: arms
            .iter()
            .map(|arm| SplitArm { name: arm.to_string(), results: scores(&of_arm(arm, results), items) })
            .collect(),
        references: references(items, results),
        comparisons: Vec::new(),
    }
}

/// What the trials cannot say of themselves; failures and few seeds are told where the report is made.
fn warnings(world: &World, results: &Results) -> Vec<String> {
    let mut warnings = world.warnings().to_vec();
    let missing = results.iter().filter(|(_, o)| matches!(o, TrialOutcome::Interrupted)).count();
    if missing > 0 {
        warnings.push(format!("{missing} of {} trials were interrupted and are not counted.", results.len()));
    }
    warnings
}

/// What pretraining buys: each arm against the same arm on an untrained backbone.
fn add_control(summary: &mut Summary, arms: &[Arm], bootstrap: &Bootstrap) -> Result<()> {
    for control in arms.iter().filter(|arm| arm.backbone == Some(ArmBackbone::Random)) {
        let Some(arm) = arms.iter().find(|a| **a == Arm { backbone: None, ..*control }) else { continue };
        let (a, b) = (arm.to_string(), control.to_string());
        let found = match (summary.arm(&a), summary.arm(&b)) {
            (Some(of_a), Some(of_b)) => Comparison::of((&a, &of_a.results), (&b, &of_b.results), true, bootstrap)?,
            _ => None,
        };
        if let Some(found) = found {
            summary.verdict.push(format!("Worth of pretraining: {}", sentence(&found, &summary.metric)));
            summary.comparisons.push(found);
        }
    }
    Ok(())
}
