//! What may be said of a `diag_query` study: the arms that learn against planners that know a model.

use super::exact::{EXACT_RETURN, EXPECTED_RETURN};
use anyhow::Result;
use retune::stats::Bootstrap;
use retune::track::{ArmKind, ArmSummary, Comparison, MetricInfo, Summary, sentence};

/// References that know more than a planner may, or less than one should.
const NO_CONTESTANTS: [&str; 3] = ["bayes_all", "random", "declare_now"];

/// Whether an arm may be called the best of its kind.
#[must_use]
pub fn is_contestant(arm: &ArmSummary) -> bool {
    !NO_CONTESTANTS.contains(&arm.name.as_str())
}

/// Adds how the arms that learn from reward compare with the planners; where there are supervised arms, the verdict on
/// those comes first and stays. Where nothing learns, the planners are compared with the best of them.
///
/// # Errors
/// If a score is not finite.
pub fn conclude(summary: &mut Summary, bootstrap: &Bootstrap) -> Result<()> {
    let finished = |kind: ArmKind| -> Vec<&ArmSummary> {
        summary.arms.iter().filter(|arm| arm.kind == kind && arm.results.iqm.is_some()).collect()
    };
    let planners: Vec<&ArmSummary> =
        finished(ArmKind::Reference).into_iter().filter(|arm| is_contestant(arm)).collect();
    let (learners, supervised) = (finished(ArmKind::Rl), finished(ArmKind::Supervised));
    let compare = |a: &ArmSummary, b: &ArmSummary| {
        let (x, y) = ((a.name.as_str(), &a.results), (b.name.as_str(), &b.results));
        Comparison::of(x, y, summary.metric.higher_is_better, bootstrap)
    };
    let against = |arms: &[&ArmSummary], rival: &ArmSummary| -> Result<Vec<Comparison>> {
        let mut found = Vec::new();
        for arm in arms.iter().filter(|arm| arm.name != rival.name) {
            found.extend(compare(arm, rival)?);
        }
        Ok(found)
    };
    let say = |comparisons: &[Comparison]| -> Vec<String> {
        comparisons.iter().map(|c| sentence(c, &summary.metric)).collect()
    };
    let (comparisons, mut verdict) = match (best(&learners), best(&planners)) {
        (Some(learner), Some(planner)) => {
            let comparisons = against(&learners, planner)?;
            let mut verdict =
                vec![format!("The best arm that learns is {}; the best planner is {}.", learner.name, planner.name)];
            verdict.extend(say(&comparisons));
            // The best arm against every planner that is not the best, too.
            for other in planners.iter().filter(|other| other.name != planner.name) {
                verdict.extend(compare(learner, other)?.map(|c| sentence(&c, &summary.metric)));
            }
            (comparisons, verdict)
        }
        (Some(learner), None) => {
            let lead = format!("The best arm that learns is {}; no planner is there to compare it with.", learner.name);
            let comparisons = against(&learners, learner)?;
            let verdict = std::iter::once(lead).chain(say(&comparisons)).collect();
            (comparisons, verdict)
        }
        (None, Some(planner)) => {
            let planned = summary.arms.iter().all(|arm| arm.kind == ArmKind::Reference);
            let lead =
                if planned { "A study of planners alone" } else { "No arm that learns from reward has finished" };
            let lead = format!("{lead}: the best planner is {}.", planner.name);
            let comparisons = against(&planners, planner)?;
            let verdict = std::iter::once(lead).chain(say(&comparisons)).collect();
            (comparisons, verdict)
        }
        (None, None) => (Vec::new(), Vec::new()),
    };
    verdict.extend(expected(&learners, &planners, bootstrap)?);
    verdict.extend([best(&learners), best(&supervised)].into_iter().flatten().filter_map(way));
    if !learners.is_empty() && !supervised.is_empty() {
        summary.verdict.extend(verdict);
        return Ok(());
    }
    if verdict.is_empty() {
        verdict.push("No answer: no arm that learns and no planner to compare it with have finished.".to_owned());
    }
    (summary.comparisons, summary.verdict) = (comparisons, verdict);
    Ok(())
}

/// How the best arm that learns compares with each planner by expected returns, where both are known.
fn expected(learners: &[&ArmSummary], planners: &[&ArmSummary], bootstrap: &Bootstrap) -> Result<Vec<String>> {
    let kinds = [
        (EXACT_RETURN, "utility, over all patients and answers", "Without the chance of the cases"),
        (
            EXPECTED_RETURN,
            "utility, over the diagnoses of the cases given the answers",
            "Without the chance of the diagnoses",
        ),
    ];
    let mut said = Vec::new();
    for (measure, unit, lead) in kinds {
        let metric = MetricInfo { name: "expected return".to_owned(), unit: unit.to_owned(), higher_is_better: true };
        let known = |arm: &ArmSummary| arm.metrics.get(measure).map(|found| found.results.clone());
        let Some((learner, worth)) = best(learners).and_then(|arm| Some((arm, known(arm)?))) else { continue };
        for (planner, other) in planners.iter().filter_map(|arm| Some((arm, known(arm)?))) {
            let pair = ((learner.name.as_str(), &worth), (planner.name.as_str(), &other));
            let found = Comparison::of(pair.0, pair.1, true, bootstrap)?;
            said.extend(found.map(|c| format!("{lead}: {}", sentence(&c, &metric))));
        }
    }
    Ok(said)
}

/// How near to the best policy an arm comes, where that is known: without the chance of the cases.
fn way(arm: &ArmSummary) -> Option<String> {
    let found = arm.metrics.get("way_to_optimum")?;
    let (iqm, interval) = (found.results.iqm?, found.results.ci95?);
    Some(format!(
        "Followed through all answers, {} goes {:.1} % of the way from declaring at once to the best policy that knows the \
         model (95 % interval {:.1} to {:.1} %).",
        arm.name,
        100.0 * iqm,
        100.0 * interval.low,
        100.0 * interval.high
    ))
}

/// The one with the best score; of equals the last.
#[must_use]
pub fn best<'a>(arms: &[&'a ArmSummary]) -> Option<&'a ArmSummary> {
    let score = |arm: &ArmSummary| arm.results.iqm.unwrap_or(f64::NEG_INFINITY);
    arms.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use retune::track::{ExtraMetric, Ledger, SCHEMA, ScoreSet, Status};
    use std::collections::BTreeMap;

    fn bootstrap() -> Bootstrap {
        Bootstrap::new(retune::rng::Seed::root(1)).with(500, 0.95).expect("valid")
    }

    /// A study of five seeds with these scores, filled.
    pub fn summary(arms: &[(&str, ArmKind, f64)]) -> Summary {
        let arm = |&(name, kind, score): &(&str, ArmKind, f64)| ArmSummary {
            name: name.to_owned(),
            kind,
            backbone: "none".into(),
            description: String::new(),
            results: ScoreSet::measured((0..5u64).map(|seed| (seed, score + 0.001 * seed as f64))),
            ledger: Ledger::default(),
            trainable_parameters: 0,
            failed_seeds: Vec::new(),
            failures: Vec::new(),
            metrics: BTreeMap::new(),
        };
        let mut summary = Summary {
            schema: SCHEMA,
            experiment: "diag_query".into(),
            preset: "quick".into(),
            status: Status::Complete,
            metric: MetricInfo { name: "episode_return".into(), unit: "utility".into(), higher_is_better: true },
            arms: arms.iter().map(arm).collect(),
            comparisons: Vec::new(),
            verdict: Vec::new(),
            measured_on: None,
            references: Vec::new(),
            splits: Vec::new(),
            warnings: Vec::new(),
        };
        summary.fill_statistics(&bootstrap()).expect("finite");
        summary
    }

    fn concluded(arms: &[(&str, ArmKind, f64)]) -> Summary {
        let mut summary = summary(arms);
        conclude(&mut summary, &bootstrap()).expect("finite");
        summary
    }

    const RANDOM: (&str, ArmKind, f64) = ("random", ArmKind::Reference, 0.1);
    const GREEDY: (&str, ArmKind, f64) = ("greedy_gain", ArmKind::Reference, 0.5);
    const UTILITY: (&str, ArmKind, f64) = ("utility_1", ArmKind::Reference, 0.6);
    const PPO: (&str, ArmKind, f64) = ("ppo", ArmKind::Rl, 0.7);
    const DQN: (&str, ArmKind, f64) = ("dqn", ArmKind::Rl, 0.3);

    #[test]
    fn arms_that_learn_are_compared_with_the_best_planner() {
        let found = concluded(&[RANDOM, GREEDY, UTILITY, PPO, DQN]);
        assert_eq!(found.verdict[0], "The best arm that learns is ppo; the best planner is utility_1.");
        assert!(found.verdict[1].starts_with("ppo beats utility_1"), "{:?}", found.verdict);
        assert!(found.comparisons.iter().all(|c| c.b == "utility_1") && found.comparisons.len() == 2);
    }

    #[test]
    fn planners_alone_are_compared_with_the_best_of_them() {
        let found = concluded(&[RANDOM, GREEDY, UTILITY]);
        assert_eq!(found.verdict[0], "A study of planners alone: the best planner is utility_1.");
        assert!(found.verdict[1].starts_with("greedy_gain is worse than utility_1"), "{:?}", found.verdict);
        assert_eq!((found.verdict.len(), found.comparisons.len()), (2, 1), "random is no contestant");
    }

    #[test]
    fn learners_without_planners_are_compared_with_the_best_of_them() {
        let found = concluded(&[RANDOM, PPO, DQN]);
        assert!(found.verdict[0].contains("no planner is there"), "{:?}", found.verdict);
        assert!(found.verdict[1].starts_with("dqn is worse than ppo"), "{:?}", found.verdict);
    }

    #[test]
    fn the_answer_on_supervised_arms_stays_first() {
        let found = concluded(&[GREEDY, PPO, ("supervised", ArmKind::Supervised, 0.2)]);
        assert!(found.verdict[0].starts_with("Yes: ppo beats the best supervised arm"), "{:?}", found.verdict);
        assert!(found.verdict.iter().any(|s| s.contains("the best planner is greedy_gain")), "{:?}", found.verdict);
    }

    /// What a verdict says in sentences with `lead` once these arms have a measure.
    fn told_of(measure: &str, worths: &[(&str, f64)], lead: &str) -> Vec<String> {
        let mut found = summary(&[GREEDY, UTILITY, PPO, DQN]);
        for &(name, worth) in worths {
            let results = ScoreSet::measured((0..5).map(|seed| (seed, worth + 0.001 * seed as f64)));
            let arm = found.arms.iter_mut().find(|arm| arm.name == name).expect("named above");
            arm.metrics.insert(measure.into(), ExtraMetric { unit: String::new(), results });
        }
        found.verdict.clear();
        found.fill_statistics(&bootstrap()).expect("finite");
        conclude(&mut found, &bootstrap()).expect("finite");
        found.verdict.into_iter().filter(|s| s.contains(lead)).collect()
    }

    #[test]
    fn expected_returns_are_compared_where_both_are_known() {
        let worths = [("ppo", 0.7), ("greedy_gain", 0.5), ("dqn", 0.9)];
        let kinds = [(EXACT_RETURN, "chance of the cases"), (EXPECTED_RETURN, "chance of the diagnoses")];
        for ((measure, lead), (_, other)) in kinds.into_iter().zip(kinds.into_iter().rev()) {
            let told = told_of(measure, &worths, lead);
            assert!(told.len() == 1 && told[0].contains("ppo beats greedy_gain"), "{told:?}");
            assert_eq!(told_of(measure, &worths, other), Vec::<String>::new());
            assert_eq!(told_of(measure, &worths[..1], lead), Vec::<String>::new(), "of the planner it is not known");
        }
    }

    #[test]
    fn the_way_to_the_best_policy_is_told_where_it_is_known() {
        let mut found = summary(&[RANDOM, GREEDY, PPO, DQN]);
        let told = |summary: &Summary| summary.verdict.iter().filter(|s| s.contains("of the way")).cloned().collect();
        conclude(&mut found, &bootstrap()).expect("finite");
        assert_eq!(told(&found), Vec::<String>::new());
        let ways = ExtraMetric { unit: String::new(), results: ScoreSet::measured((0..5).map(|seed| (seed, 0.9))) };
        found.arms.iter_mut().for_each(|arm| drop(arm.metrics.insert("way_to_optimum".into(), ways.clone())));
        found.verdict.clear();
        found.fill_statistics(&bootstrap()).expect("finite");
        conclude(&mut found, &bootstrap()).expect("finite");
        let told: Vec<String> = told(&found);
        assert!(told.len() == 1 && told[0].contains("ppo goes 90.0 %") && told[0].contains("90.0 to 90.0"), "{told:?}");
    }

    #[test]
    fn a_supervised_arm_without_reward_does_not_leave_a_study_without_an_answer() {
        let found = concluded(&[GREEDY, UTILITY, ("supervised", ArmKind::Supervised, 0.2)]);
        assert_eq!(found.verdict[0], "No arm that learns from reward has finished: the best planner is utility_1.");
        assert!(concluded(&[RANDOM]).verdict[0].starts_with("No answer"));
    }
}
