//! From the results of trials to `summary.json`.

use super::{Prepared, SplitInfo, TrialId, TrialOutcome, TrialRecord};
use crate::arms::{Arm, ArmBackbone, Kind};
use anyhow::Result;
use retune::rng::Seed;
use retune::stats::Bootstrap;
use retune::track::{
    ArmKind, ArmSummary, Comparison, ExtraMetric, Failure, Ledger, Reference, SCHEMA, ScoreSet, Split, SplitArm,
    Status, Summary, sentence,
};
use std::collections::{BTreeMap, BTreeSet};

/// Trials with how they ended.
pub type Results = [(TrialId, TrialOutcome<TrialRecord>)];

/// The results of a study with everything that follows from them.
///
/// # Errors
/// If a score is not a number.
pub fn summarise(prepared: &dyn Prepared, preset: &str, results: &Results) -> Result<Summary> {
    let plan = prepared.plan();
    let measured: BTreeSet<&str> = records(results).flat_map(|r| r.measurements.keys().map(String::as_str)).collect();
    let (main, others) = main_and_others(prepared);
    let mut summary = Summary {
        schema: SCHEMA,
        experiment: prepared.info().name.to_owned(),
        preset: preset.to_owned(),
        status: status(results),
        metric: prepared.metric(),
        arms: plan.arms.iter().map(|arm| arm_summary(arm, prepared, main, results)).collect(),
        comparisons: Vec::new(),
        verdict: Vec::new(),
        measured_on: Some(main.measured_on.to_owned()),
        references: references(prepared, main, results),
        splits: others
            .into_iter()
            .filter(|other| measured.contains(other.name))
            .map(|other| split(prepared, other, results))
            .collect(),
        warnings: warnings(prepared, results),
    };
    let bootstrap = Bootstrap::new(Seed::root(plan.seed).child("bootstrap")).with(plan.replications, 0.95)?;
    summary.fill_statistics(&bootstrap)?;
    prepared.conclude(&mut summary, &bootstrap)?;
    add_control(&mut summary, &plan.arms, &bootstrap)?;
    Ok(summary)
}

/// The measurement that scores come from, and the further ones.
fn main_and_others(prepared: &dyn Prepared) -> (SplitInfo, Vec<SplitInfo>) {
    let mut splits = prepared.splits();
    let main = splits.remove(0);
    (main, splits)
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

fn arm_summary(arm: &Arm, prepared: &dyn Prepared, main: SplitInfo, results: &Results) -> ArmSummary {
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
        backbone: prepared.backbone(arm),
        description: arm.algorithm.about.to_owned(),
        results: scores(&records, main),
        ledger: mean_ledger(&records),
        trainable_parameters: records.first().map_or(0, |r| r.trainable_parameters as u64),
        failed_seeds: failures.iter().map(|f| f.seed).collect(),
        failures,
        metrics: metrics(&records, prepared, main),
    }
}

fn kind(arm: &Arm) -> ArmKind {
    match arm.algorithm.kind {
        Kind::Rl => ArmKind::Rl,
        Kind::Supervised => ArmKind::Supervised,
        Kind::Reference => ArmKind::Reference,
    }
}

fn scores(records: &[&TrialRecord], split: SplitInfo) -> ScoreSet {
    let measured = records.iter().filter_map(|r| Some((r.seed, r.measurements.get(split.name)?.episode_return)));
    ScoreSet::measured(measured)
}

fn metrics(records: &[&TrialRecord], prepared: &dyn Prepared, split: SplitInfo) -> BTreeMap<String, ExtraMetric> {
    let mut by_name: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    for record in records {
        let Some(found) = record.measurements.get(split.name) else { continue };
        for (name, &value) in found.metrics.iter().filter(|(name, _)| !name.ends_with("_se")) {
            by_name.entry(name.clone()).or_default().push((record.seed, value));
        }
    }
    by_name
        .into_iter()
        .map(|(name, values)| {
            let metric = ExtraMetric { unit: prepared.unit(&name).to_owned(), results: ScoreSet::measured(values) };
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
fn references(prepared: &dyn Prepared, split: SplitInfo, results: &Results) -> Vec<Reference> {
    let mut arms: Vec<Arm> = Vec::new();
    for (trial, _) in results {
        if trial.arm.is_policy() && !arms.contains(&trial.arm) {
            arms.push(trial.arm);
        }
    }
    let anchors = prepared.info().anchors;
    let earned = arms.iter().filter_map(|arm| {
        let scores = scores(&of_arm(arm, results), split).scores;
        let anchor = anchors.iter().find(|(name, _)| *name == arm.algorithm.name).map(|(_, anchor)| *anchor);
        (!scores.is_empty()).then(|| Reference {
            name: arm.to_string(),
            score: scores.iter().sum::<f64>() / scores.len() as f64,
            description: arm.algorithm.about.to_owned(),
            anchor,
        })
    });
    earned.chain(prepared.fixed_references()).collect()
}

fn split(prepared: &dyn Prepared, info: SplitInfo, results: &Results) -> Split {
    let arms = prepared.plan().arms.iter();
    Split {
        name: info.name.to_owned(),
        measured_on: info.measured_on.to_owned(),
        arms: arms
            .map(|arm| SplitArm { name: arm.to_string(), results: scores(&of_arm(arm, results), info) })
            .collect(),
        references: references(prepared, info, results),
        comparisons: Vec::new(),
    }
}

/// What the trials cannot say of themselves; failures and few seeds are told where the report is made.
fn warnings(prepared: &dyn Prepared, results: &Results) -> Vec<String> {
    let mut warnings = prepared.warnings();
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
