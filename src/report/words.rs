//! Words and numbers that the page and the terminal share.

use crate::stats::CLAIM_SEEDS;
use crate::track::{ArmKind, ArmSummary, Comparison, MetricInfo, Status, Summary, decimals_for};

pub(super) fn status(status: Status) -> &'static str {
    match status {
        Status::Running => "still running",
        Status::Complete => "complete",
        Status::Interrupted => "interrupted",
        Status::Failed => "ended with failed trials",
    }
}

pub(super) fn kind_name(kind: ArmKind) -> &'static str {
    match kind {
        ArmKind::Rl => "reward",
        ArmKind::Supervised => "labels",
        ArmKind::Reference => "reference",
    }
}

/// The metric with its unit.
pub(super) fn metric(metric: &MetricInfo) -> String {
    let direction = if metric.higher_is_better { "" } else { ", lower is better" };
    if metric.unit.is_empty() {
        format!("{}{direction}", metric.name)
    } else {
        format!("{} in {}{direction}", metric.name, metric.unit)
    }
}

/// Digits after the point for scores: as many as the narrowest interval of an arm deserves, less one.
pub(super) fn decimals(summary: &Summary) -> usize {
    let widths = summary.arms.iter().filter_map(|arm| arm.results.ci95).map(|ci| ci.high - ci.low).filter(|w| *w > 0.0);
    let narrowest = widths.fold(f64::INFINITY, f64::min);
    let from_scores = summary.arms.iter().filter_map(|arm| arm.results.iqm).map(|iqm| iqm.abs() / 100.0);
    let scale = if narrowest.is_finite() { narrowest } else { from_scores.fold(0.0, f64::max) };
    decimals_for(scale).clamp(1, 4)
}

/// Arms with a score from best to worst, then the others.
pub(super) fn best_first(summary: &Summary) -> Vec<&ArmSummary> {
    let sign = if summary.metric.higher_is_better { -1.0 } else { 1.0 };
    let mut arms: Vec<&ArmSummary> = summary.arms.iter().collect();
    let key = |arm: &ArmSummary| arm.results.iqm.map_or(f64::INFINITY, |iqm| sign * iqm);
    arms.sort_by(|a, b| key(a).total_cmp(&key(b)));
    arms
}

/// What an arm that others are compared with is, such as `the best supervised arm`.
pub(super) fn rival(summary: &Summary, name: &str) -> String {
    let Some(arm) = summary.arm(name) else { return "another arm".to_owned() };
    let (article, noun) = match arm.kind {
        ArmKind::Rl => ("an", "arm that learns from reward"),
        ArmKind::Supervised => ("a", "supervised arm"),
        ArmKind::Reference => ("a", "reference"),
    };
    let mut peers = best_first(summary).into_iter().filter(|other| other.kind == arm.kind);
    match peers.next() {
        Some(best) if best.name == name && best.results.iqm.is_some() => format!("the best {noun}"),
        _ => format!("{article} {noun}"),
    }
}

/// Who is compared with the rival, at the beginning of a title.
pub(super) fn contestants(summary: &Summary, comparisons: &[&Comparison]) -> &'static str {
    let learns = |name: &str| summary.arm(name).is_some_and(|arm| arm.kind == ArmKind::Rl);
    let one_side = comparisons.iter().all(|c| learns(&c.a) && !learns(&c.b));
    if one_side { "Reinforcement learning" } else { "Other arms" }
}

/// Finished seeds, and how many were started if some failed.
pub(super) fn seeds(arm: &ArmSummary) -> String {
    let done = arm.results.scores.len();
    if arm.failed_seeds.is_empty() { done.to_string() } else { format!("{done} of {}", done + arm.failed_seeds.len()) }
}

/// Seconds as people read them.
pub(super) fn duration(seconds: f64) -> String {
    if seconds <= 0.0 {
        return "-".to_owned();
    }
    if seconds < 100.0 {
        return format!("{seconds:.1} s");
    }
    let minutes = (seconds / 60.0).round() as u64;
    if minutes < 100 { format!("{minutes} min") } else { format!("{} h {:02} min", minutes / 60, minutes % 60) }
}

/// The warnings of the study and those that follow from its numbers.
pub(super) fn warnings(summary: &Summary) -> Vec<String> {
    let mut warnings = summary.warnings.clone();
    if summary.status != Status::Complete {
        warnings.push(format!(
            "The study is {}; the numbers are those of the trials that finished.",
            status(summary.status)
        ));
    }
    for arm in summary.arms.iter().filter(|arm| !arm.failed_seeds.is_empty()) {
        let seeds: Vec<String> = arm.failed_seeds.iter().map(u64::to_string).collect();
        let plural = if seeds.len() == 1 { "seed" } else { "seeds" };
        warnings.push(format!(
            "{}: {plural} {} failed and left out. A failure is a result too.",
            arm.name,
            seeds.join(", ")
        ));
        warnings.extend(arm.failures.iter().map(|f| format!("{}, seed {}: {}", arm.name, f.seed, f.message)));
    }
    let fewest = summary.arms.iter().map(|arm| arm.results.scores.len()).filter(|&n| n > 0).min();
    if let Some(fewest) = fewest.filter(|&n| n < CLAIM_SEEDS) {
        let seeds = if fewest == 1 { "1 seed".to_owned() } else { format!("{fewest} seeds") };
        warnings.push(format!(
            "Some arms have only {seeds}: bootstrap intervals from so few are too narrow, and no claim is made from fewer than {CLAIM_SEEDS}."
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::input::tests::study;
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!([0.0, 7.25, 99.9, 130.0, 7_500.0].map(duration), ["-", "7.2 s", "99.9 s", "2 min", "2 h 05 min"]);
    }

    #[test]
    fn a_rival_is_called_what_it_is() {
        let summary = study(9, 5).summary;
        let best = summary.best_supervised().unwrap().name.clone();
        assert_eq!(rival(&summary, &best), "the best supervised arm");
        assert_eq!(rival(&summary, "supervised_random"), "a supervised arm");
        assert_eq!(rival(&summary, "q_learning"), "the best arm that learns from reward");
        assert_eq!(rival(&summary, "gone"), "another arm");
        let against = |a: &str, b: &str| {
            let mut comparison = summary.comparisons[0].clone();
            (comparison.a, comparison.b) = (a.into(), b.into());
            contestants(&summary, &[&comparison])
        };
        assert_eq!(against("q_learning", &best), "Reinforcement learning");
        assert_eq!(against("sarsa", "q_learning"), "Other arms");
        assert_eq!(against("supervised_random", &best), "Other arms");
    }

    #[test]
    fn warnings_name_failures_and_few_seeds() {
        let mut summary = study(8, 3).summary;
        summary.status = Status::Interrupted;
        let all = warnings(&summary).join("\n");
        for expected in ["ppo: seed 3 failed", "interrupted", "only 3 seeds"] {
            assert!(all.contains(expected), "{expected}: {all}");
        }
        let mut quiet = study(2, 5).summary;
        quiet.warnings.clear();
        assert_eq!(warnings(&quiet), [""; 0]);
    }
}
