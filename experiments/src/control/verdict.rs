//! What may be said of a `control` study: who solves the task, and who is better than whom.

use anyhow::Result;
use retune::stats::Bootstrap;
use retune::track::{ArmKind, ArmSummary, Comparison, Summary, sentence};
use retune_envs::control::ControlTask;

/// Replaces the verdict, which asks for supervised arms, and compares every arm with the best.
///
/// # Errors
/// If a score is not finite.
pub fn conclude(summary: &mut Summary, task: ControlTask, bootstrap: &Bootstrap) -> Result<()> {
    let mut finished: Vec<&ArmSummary> =
        summary.arms.iter().filter(|arm| arm.kind == ArmKind::Rl && arm.results.iqm.is_some()).collect();
    finished.sort_by(|a, b| b.results.iqm.unwrap_or_default().total_cmp(&a.results.iqm.unwrap_or_default()));
    let mut verdict = Vec::new();
    if let Some(threshold) = task.solved_at() {
        verdict.push(solved(&finished, threshold, task.name()));
    }
    let mut comparisons = Vec::new();
    if let Some((best, others)) = finished.split_first() {
        for other in others {
            let (a, b) = ((other.name.as_str(), &other.results), (best.name.as_str(), &best.results));
            comparisons.extend(Comparison::of(a, b, summary.metric.higher_is_better, bootstrap)?);
        }
    }
    verdict.extend(comparisons.iter().map(|c| sentence(c, &summary.metric)));
    if verdict.is_empty() {
        verdict.push("No answer: fewer than two arms that learn have finished.".to_owned());
    }
    summary.comparisons = comparisons;
    summary.verdict = verdict;
    Ok(())
}

/// Who reaches the threshold: surely if the whole interval does, on average if only the interquartile mean does.
fn solved(arms: &[&ArmSummary], threshold: f64, task: &str) -> String {
    let low = |arm: &ArmSummary| arm.results.ci95.map_or(f64::NEG_INFINITY, |interval| interval.low);
    let names = |keep: &dyn Fn(&ArmSummary) -> bool| -> String {
        arms.iter().filter(|arm| keep(arm)).map(|arm| arm.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let surely = names(&|arm| low(arm) >= threshold);
    let perhaps = names(&|arm| low(arm) < threshold && arm.results.iqm.is_some_and(|iqm| iqm >= threshold));
    match (surely.is_empty(), perhaps.is_empty()) {
        (false, true) => format!("{task} is solved (at least {threshold}) by: {surely}."),
        (false, false) => {
            format!("{task} is solved (at least {threshold}) by: {surely}; on average, but not surely, by: {perhaps}.")
        }
        (true, false) => {
            format!("{task} is solved (at least {threshold}) on average, but not surely, by: {perhaps}.")
        }
        (true, true) => format!("No arm solves {task} (at least {threshold}) within the budget."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use retune::track::{Ledger, MetricInfo, SCHEMA, ScoreSet, Status};
    use std::collections::BTreeMap;

    fn summary(arms: &[(&str, [f64; 5])]) -> Summary {
        let arm = |(name, scores): &(&str, [f64; 5])| ArmSummary {
            name: (*name).to_owned(),
            kind: ArmKind::Rl,
            backbone: "none".into(),
            description: String::new(),
            results: ScoreSet::measured((0u64..).zip(scores.iter().copied())),
            ledger: Ledger::default(),
            trainable_parameters: 0,
            failed_seeds: Vec::new(),
            failures: Vec::new(),
            metrics: BTreeMap::new(),
        };
        Summary {
            schema: SCHEMA,
            experiment: "control".into(),
            preset: "quick".into(),
            status: Status::Complete,
            metric: MetricInfo { name: "episode_return".into(), unit: "steps".into(), higher_is_better: true },
            arms: arms.iter().map(arm).collect(),
            comparisons: Vec::new(),
            verdict: Vec::new(),
            measured_on: None,
            references: Vec::new(),
            splits: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn verdict(arms: &[(&str, [f64; 5])]) -> Vec<String> {
        let bootstrap = Bootstrap::new(retune::rng::Seed::root(1)).with(500, 0.95).expect("valid");
        let mut summary = summary(arms);
        summary.fill_statistics(&bootstrap).expect("finite");
        conclude(&mut summary, ControlTask::CartPole, &bootstrap).expect("finite");
        summary.verdict
    }

    #[test]
    fn it_says_who_solves_the_task_and_who_is_better() {
        let found = verdict(&[("dqn", [490.0, 120.0, 480.0, 490.0, 480.0]), ("ppo", [500.0; 5]), ("c51", [90.0; 5])]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("is solved (at least 475) by: ppo; on average, but not surely, by: dqn."),
            "{found:?}"
        );
        assert!(found[1].contains("dqn") && found[1].contains("ppo"), "{found:?}");
        assert!(found[2].starts_with("c51 is worse than ppo"), "{found:?}");
        assert!(verdict(&[("c51", [90.0; 5])])[0].starts_with("No arm solves control/cartpole"));
    }
}
