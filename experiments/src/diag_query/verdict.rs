//! What may be said of a `diag_query` study: the arms that learn against planners that know a model.

use anyhow::Result;
use retune::stats::Bootstrap;
use retune::track::{ArmKind, ArmSummary, Comparison, Summary, sentence};

/// References that know more than a planner may, or less than one should.
const NO_CONTESTANTS: [&str; 3] = ["bayes_all", "random", "declare_now"];

/// Adds how the arms that learn from reward compare with the planners; where there are supervised arms, the verdict on
/// those comes first and stays.
///
/// # Errors
/// If a score is not finite.
pub fn conclude(summary: &mut Summary, bootstrap: &Bootstrap) -> Result<()> {
    let supervised = summary.arms.iter().any(|arm| arm.kind == ArmKind::Supervised && arm.results.iqm.is_some());
    let planners: Vec<&ArmSummary> = summary
        .arms
        .iter()
        .filter(|a| a.kind == ArmKind::Reference && a.results.iqm.is_some())
        .filter(|a| !NO_CONTESTANTS.contains(&a.name.as_str()))
        .collect();
    let learners: Vec<&ArmSummary> =
        summary.arms.iter().filter(|arm| arm.kind == ArmKind::Rl && arm.results.iqm.is_some()).collect();
    let (mut comparisons, mut verdict) = (Vec::new(), Vec::new());
    let compare = |a: &ArmSummary, b: &ArmSummary| {
        let (x, y) = ((a.name.as_str(), &a.results), (b.name.as_str(), &b.results));
        Comparison::of(x, y, summary.metric.higher_is_better, bootstrap)
    };
    if let Some(planner) = best(&planners) {
        for learner in &learners {
            comparisons.extend(compare(learner, planner)?);
        }
    }
    // The best arm against every planner that is not the best, too.
    if let (Some(learner), Some(planner)) = (best(&learners), best(&planners)) {
        verdict.push(format!("The best arm that learns is {}; the best planner is {}.", learner.name, planner.name));
        for other in planners.iter().filter(|other| other.name != planner.name) {
            verdict.extend(compare(learner, other)?.map(|c| sentence(&c, &summary.metric)));
        }
    }
    let sentences = comparisons.iter().map(|c| sentence(c, &summary.metric));
    verdict.splice(1.min(verdict.len())..1.min(verdict.len()), sentences);
    if supervised {
        summary.verdict.extend(verdict);
    } else {
        if verdict.is_empty() {
            verdict.push("No answer: no arm that learns and no planner to compare it with have finished.".to_owned());
        }
        (summary.comparisons, summary.verdict) = (comparisons, verdict);
    }
    Ok(())
}

fn best<'a>(arms: &[&'a ArmSummary]) -> Option<&'a ArmSummary> {
    let score = |arm: &ArmSummary| arm.results.iqm.unwrap_or(f64::NEG_INFINITY);
    arms.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b)))
}
