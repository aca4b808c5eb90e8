//! What the statistics support saying, in plain sentences.

use super::comparison::Comparison;
use super::number::{decimals_for, fixed};
use super::summary::{ArmKind, MetricInfo, Summary};
use crate::stats::{CLAIM_PROBABILITY, CLAIM_SEEDS, Claim};

/// The verdict of a study: the answer, one sentence for each comparison, and the same for each split.
pub(super) fn sentences(summary: &Summary) -> Vec<String> {
    let mut sentences = vec![headline(summary)];
    sentences.extend(summary.comparisons.iter().map(|c| sentence(c, &summary.metric)));
    for split in &summary.splits {
        let of_split = split.comparisons.iter().map(|c| sentence(c, &summary.metric));
        sentences.extend(of_split.map(|text| format!("On {}: {text}", split.measured_on)));
    }
    sentences
}

/// The answer to the question of the study, in one sentence.
#[must_use]
pub fn headline(summary: &Summary) -> String {
    let finished = |kind| summary.arms.iter().any(|arm| arm.kind == kind && arm.results.iqm.is_some());
    if !finished(ArmKind::Rl) || !finished(ArmKind::Supervised) {
        let missing = if finished(ArmKind::Rl) { "supervised" } else { "reinforcement learning" };
        return format!("No answer: the study has no finished {missing} arm, so there is nothing to compare.");
    }
    let comparisons = &summary.comparisons;
    let names =
        |claim| -> Vec<&str> { comparisons.iter().filter(|c| c.claim == claim).map(|c| c.a.as_str()).collect() };
    let best = comparisons.first().map_or("", |c| c.b.as_str());
    let (better, hints) = (names(Claim::Better), names(Claim::SuggestsBetter));
    if !better.is_empty() {
        let verb = if better.len() == 1 { "beats" } else { "beat" };
        return format!("Yes: {} {verb} the best supervised arm, {best}.", list(&better));
    }
    if !hints.is_empty() {
        let verb = if hints.len() == 1 { "seems" } else { "seem" };
        return format!(
            "Perhaps: {} {verb} to beat the best supervised arm, {best}, but the data do not suffice to claim it.",
            list(&hints)
        );
    }
    if names(Claim::Worse).len() == comparisons.len() {
        return format!("No: every reinforcement learning arm is worse than the best supervised arm, {best}.");
    }
    format!("Cannot tell: no reinforcement learning arm is shown to beat the best supervised arm, {best}.")
}

/// What may be said of one comparison.
#[must_use]
pub fn sentence(comparison: &Comparison, metric: &MetricInfo) -> String {
    let (a, b) = (&comparison.a, &comparison.b);
    let size = amount(comparison.difference_iqm.abs(), comparison, metric);
    let evidence = evidence(comparison);
    match comparison.claim {
        Claim::Better => format!("{a} beats {b} by {size} ({evidence})."),
        Claim::Worse => format!("{a} is worse than {b} by {size} ({evidence})."),
        Claim::SuggestsBetter => {
            format!(
                "The data suggest that {a} beats {b}, by {size} ({evidence}), but do not suffice: {}",
                shortfall(comparison)
            )
        }
        Claim::SuggestsWorse => {
            format!(
                "The data suggest that {a} is worse than {b}, by {size} ({evidence}), but do not suffice: {}",
                shortfall(comparison)
            )
        }
        Claim::Undecided => undecided(comparison, metric, &evidence),
    }
}

fn undecided(c: &Comparison, metric: &MetricInfo, evidence: &str) -> String {
    let (a, b) = (&c.a, &c.b);
    if c.seeds == 1 {
        return format!("One seed cannot tell {a} and {b} apart: at least {CLAIM_SEEDS} are needed.");
    }
    let difference = amount(c.difference_iqm, c, metric);
    let seed_by_seed = c.probability_of_improvement.max(1.0 - c.probability_of_improvement);
    if c.ci95.excludes_zero() && seed_by_seed < CLAIM_PROBABILITY {
        return format!(
            "{a} and {b} differ by {difference} on average ({evidence}), but that is small beside the spread of the \
             seeds: no claim below a probability of improvement of {CLAIM_PROBABILITY}."
        );
    }
    let more = needed(c).map_or(String::new(), |seeds| format!(" {seeds} to show a difference of this size."));
    format!("Cannot tell {a} and {b} apart: the difference is {difference} ({evidence}).{more}")
}

/// Why a suggestion is no claim, as the end of a sentence, and what would settle it.
fn shortfall(c: &Comparison) -> String {
    let more = needed(c).map_or(String::new(), |seeds| format!(" {seeds} to settle it."));
    match c.ci95_expanded {
        Some(wide) if c.seeds >= CLAIM_SEEDS => {
            let decimals = decimals_for(wide.high - wide.low);
            let (low, high) = (fixed(wide.low, decimals), fixed(wide.high, decimals));
            format!("corrected for {} seeds the interval is {low} to {high}.{more}", c.seeds)
        }
        _ => format!("a claim needs at least {CLAIM_SEEDS} seeds.{more}"),
    }
}

/// "It would take about N seeds", where N is known and more than there are.
fn needed(c: &Comparison) -> Option<String> {
    let seeds = c.seeds_for_80_percent_power?.max(c.seeds as u64 + 1);
    Some(format!("It would take about {} seeds", super::grouped(seeds)))
}

fn evidence(c: &Comparison) -> String {
    let decimals = decimals_for(c.ci95.high - c.ci95.low);
    let (low, high) = (fixed(c.ci95.low, decimals), fixed(c.ci95.high, decimals));
    let seeds = if c.seeds == 1 { "1 seed".to_owned() } else { format!("{} seeds", c.seeds) };
    format!("95 % interval {low} to {high}, probability of improvement {:.2}, {seeds}", c.probability_of_improvement)
}

fn amount(value: f64, c: &Comparison, metric: &MetricInfo) -> String {
    let value = fixed(value, decimals_for(c.ci95.high - c.ci95.low));
    if metric.unit.is_empty() { value } else { format!("{value} {}", metric.unit) }
}

fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{arm, bootstrap, summary};
    use super::*;

    const BASE: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    fn verdict(rl: &[f64], supervised: &[f64]) -> Vec<String> {
        let mut summary = summary(vec![arm("fit", ArmKind::Supervised, supervised), arm("q", ArmKind::Rl, rl)]);
        summary.fill_statistics(&bootstrap()).unwrap();
        summary.verdict
    }

    #[test]
    fn a_claim_says_by_how_much_and_how_surely() {
        let sentences = verdict(&BASE.map(|v| v + 4.5), &BASE);
        assert_eq!(sentences[0], "Yes: q beats the best supervised arm, fit.");
        assert!(sentences[1].starts_with("q beats fit by 4.5"), "{}", sentences[1]);
        assert!(sentences[1].ends_with("6 seeds)."), "{}", sentences[1]);
        let sentences = verdict(&BASE.map(|v| v - 4.0), &BASE);
        assert!(sentences[0].starts_with("No: every"), "{}", sentences[0]);
        assert!(sentences[1].starts_with("q is worse than fit by 4.0"), "{}", sentences[1]);
    }

    #[test]
    fn few_seeds_only_suggest() {
        let sentences = verdict(&[5.0, 6.2, 7.0], &BASE[..3]);
        assert!(sentences[0].starts_with("Perhaps: q seems to beat"), "{}", sentences[0]);
        assert!(sentences[1].starts_with("The data suggest that q beats fit"), "{}", sentences[1]);
        assert!(sentences[1].contains("needs at least 5 seeds"), "{}", sentences[1]);
        assert!(verdict(&[9.0], &[1.0])[1].starts_with("One seed cannot tell"));
    }

    #[test]
    fn what_cannot_be_told_says_how_many_seeds_it_would_take() {
        let sentences = verdict(&[4.0, 1.0, 3.5, 3.0, 6.5, 5.0], &BASE);
        assert!(sentences[0].starts_with("Cannot tell"), "{}", sentences[0]);
        assert!(sentences[1].contains("It would take about"), "{}", sentences[1]);
        let sentences = verdict(&BASE.map(|v| v + 0.1), &BASE);
        assert!(sentences[1].contains("small beside the spread of the seeds"), "{}", sentences[1]);
    }

    #[test]
    fn studies_without_both_sides_have_no_answer() {
        let mut only_rl = summary(vec![arm("q", ArmKind::Rl, &BASE)]);
        only_rl.fill_statistics(&bootstrap()).unwrap();
        assert_eq!(only_rl.verdict.len(), 1);
        assert!(only_rl.verdict[0].contains("no finished supervised arm"));
        assert!(verdict(&[], &BASE)[0].contains("no finished reinforcement learning arm"));
    }

    #[test]
    fn lower_can_be_better() {
        let mut s =
            summary(vec![arm("fit", ArmKind::Supervised, &BASE), arm("q", ArmKind::Rl, &BASE.map(|v| v - 4.5))]);
        s.metric.higher_is_better = false;
        s.fill_statistics(&bootstrap()).unwrap();
        assert_eq!(s.comparisons[0].probability_of_improvement, 0.9722222222222222);
        assert!(s.verdict[1].starts_with("q beats fit by 4.5"), "{}", s.verdict[1]);
    }
}
