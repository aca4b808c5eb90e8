//! What only reports of `diag_query` show: curves over questions and costs, calibration, confusion, told cases.

use super::NOTICE;
use super::measure::Details;
use super::verdict::{best, is_contestant};
use crate::failure::bad_input;
use crate::study::TrialRecord;
use anyhow::Result;
use retune::report::{Bin, Chart, ChartData, Confusion, Extras, LineChart, Reliability, SeedLines, Tale, ToldCase};
use retune::track::{ArmKind, ArmSummary, Summary};

/// The arm that is told every finding: a line, not a curve.
const ALL_KNOWN: &str = "bayes_all";
/// With more arms than this only the best of each kind are drawn.
const ALL_UP_TO: usize = 7;
/// How many of each kind are drawn then.
const BEST: [(ArmKind, usize); 3] = [(ArmKind::Rl, 3), (ArmKind::Supervised, 2), (ArmKind::Reference, 3)];
/// Places of a curve over cost.
const COSTS: usize = 20;
/// Cases to tell.
const TOLD: usize = 3;

/// What the finished trials recorded beside their scores.
struct Recorded<'a> {
    summary: &'a Summary,
    /// Arm, seed and details, in the order of the records.
    trials: Vec<(&'a str, u64, Details)>,
}

/// Charts and told cases of a study.
///
/// # Errors
/// [`crate::failure::BadInput`] if a trial has details of another form.
pub fn extras(split: &str, summary: &Summary, records: &[TrialRecord]) -> Result<Extras> {
    let mut trials = Vec::new();
    for record in records {
        let Some(found) = record.measurements.get(split).filter(|found| !found.details.is_null()) else { continue };
        let details = serde_json::from_value(found.details.clone())
            .map_err(|e| bad_input(format!("trials/{}/{}/result.json: details: {e}", record.arm, record.seed)))?;
        trials.push((record.arm.as_str(), record.seed, details));
    }
    let recorded = Recorded { summary, trials };
    let charts = [
        recorded.accuracy_by_questions(),
        recorded.accuracy_by_cost(),
        recorded.utility_by_price(),
        recorded.calibration(),
        recorded.confusion(),
    ];
    Ok(Extras {
        title: "Questions, costs and errors".to_owned(),
        charts: charts.into_iter().flatten().collect(),
        told_title: "Cases, question by question".to_owned(),
        told_intro: format!(
            "The same simulated cases, as {} met them. Beliefs are those of the model that is attached to the problem \
             after the answers so far; an arm that sees cases alone does not know them. {NOTICE}",
            recorded.tellers().iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>().join(" and ")
        ),
        told: recorded.told(),
    })
}

impl<'a> Recorded<'a> {
    fn of<'s>(&'s self, arm: &str) -> impl Iterator<Item = &'s Details> {
        self.trials.iter().filter(move |(name, ..)| *name == arm).map(|(.., details)| details)
    }

    /// Arms with a score, best first.
    fn ranked(&self, keep: impl Fn(&ArmSummary) -> bool) -> Vec<&'a ArmSummary> {
        let score = |arm: &ArmSummary| arm.results.iqm.unwrap_or(f64::NEG_INFINITY);
        let mut arms: Vec<&ArmSummary> =
            self.summary.arms.iter().filter(|arm| arm.results.iqm.is_some() && keep(arm)).collect();
        arms.sort_by(|a, b| score(b).total_cmp(&score(a)));
        arms
    }

    fn best(&self, kind: ArmKind) -> Option<&'a ArmSummary> {
        best(&self.ranked(|arm| arm.kind == kind && (kind != ArmKind::Reference || is_contestant(arm))))
    }

    /// The arms that are drawn, in the order of the study, and what to say of the others.
    fn drawn(&self) -> (Vec<&'a ArmSummary>, &'static str) {
        let all = self.ranked(|arm| arm.name != ALL_KNOWN);
        if all.len() <= ALL_UP_TO {
            let all = self.summary.arms.iter().filter(|arm| arm.results.iqm.is_some() && arm.name != ALL_KNOWN);
            return (all.collect(), "");
        }
        let kept: Vec<&str> = BEST
            .iter()
            .flat_map(|(kind, most)| all.iter().filter(|arm| arm.kind == *kind).take(*most))
            .map(|arm| arm.name.as_str())
            .collect();
        let arms = self.summary.arms.iter().filter(|arm| kept.contains(&arm.name.as_str())).collect();
        (arms, " Only the best arms of each kind are drawn.")
    }

    fn chart(
        &self,
        (name, title): (&str, &str),
        caption: &str,
        (x, y): (&str, &str),
        references: Vec<(String, f64)>,
        points: impl Fn(&Details) -> Vec<(f64, f64)>,
    ) -> Option<Chart> {
        let (arms, note) = self.drawn();
        let line = |arm: &ArmSummary| SeedLines {
            arm: arm.name.clone(),
            seeds: self.of(&arm.name).map(&points).filter(|points| !points.is_empty()).collect(),
        };
        let lines: Vec<SeedLines> = arms.into_iter().map(line).filter(|line| !line.seeds.is_empty()).collect();
        let data = LineChart { x: x.to_owned(), y: y.to_owned(), lines, references, marks: Vec::new() };
        (!data.lines.is_empty()).then(|| Chart {
            name: name.to_owned(),
            title: title.to_owned(),
            caption: format!("{caption}{note}"),
            data: ChartData::Lines(data),
        })
    }

    /// Accuracy of the best model where every finding is known, if that was measured.
    fn all_known(&self) -> Vec<(String, f64)> {
        let found: Vec<f64> = self.of(ALL_KNOWN).filter_map(|d| d.accuracy_at_k.last().copied()).collect();
        let mean = found.iter().sum::<f64>() / found.len().max(1) as f64;
        if found.is_empty() { Vec::new() } else { vec![("every finding known".to_owned(), mean)] }
    }

    fn about_all_known(&self) -> &'static str {
        if self.all_known().is_empty() {
            ""
        } else {
            " Grey dotted line: the best model there is, told every finding free of charge (bayes_all)."
        }
    }

    fn accuracy_by_questions(&self) -> Option<Chart> {
        self.chart(
            ("accuracy_by_questions", "Accuracy against the number of questions"),
            &format!(
                "Share of test cases whose diagnosis would be right if it were declared after so many questions; where \
                 an arm has declared before, its answer stands.{}",
                self.about_all_known()
            ),
            ("questions asked", "accuracy (share of cases)"),
            self.all_known(),
            |details| details.accuracy_at_k.iter().enumerate().map(|(k, &accuracy)| (k as f64, accuracy)).collect(),
        )
    }

    fn accuracy_by_cost(&self) -> Option<Chart> {
        let dearest = |arm: &&ArmSummary| {
            self.of(&arm.name).flat_map(|d| d.accuracy_at_cost.iter().map(|p| p.0)).fold(0.0, f64::max)
        };
        let most = self.drawn().0.iter().map(dearest).fold(0.0, f64::max);
        if most <= 0.0 {
            return None;
        }
        self.chart(
            ("accuracy_by_cost", "Accuracy against the cost of questions"),
            &format!(
                "Share of test cases whose diagnosis would be right if it were declared with what a cost of at most so \
                 much has bought; where an arm has declared before, its answer stands.{}",
                self.about_all_known()
            ),
            ("cost of the questions of a case, at most (cost units)", "accuracy (share of cases)"),
            self.all_known(),
            |details| steps(&details.accuracy_at_cost, most),
        )
    }

    fn utility_by_price(&self) -> Option<Chart> {
        let own = self.trials.iter().find_map(|(.., details)| details.lambda);
        let told = own.map_or_else(String::new, |lambda| format!(", {lambda}"));
        let mut chart = self.chart(
            ("utility_by_price", "Utility against the price of questions"),
            &format!(
                "Mean utility of a test case: 1 for a right diagnosis, −1 for a wrong one, less λ times the cost of its \
                 questions. Every arm asks as it did at the λ of the study{told}, so its line falls by what its \
                 questions cost."
            ),
            ("λ, price of a cost unit (utility)", "utility of a case"),
            Vec::new(),
            |details| details.utility.clone(),
        )?;
        if let ChartData::Lines(lines) = &mut chart.data {
            lines.marks.extend(own.map(|lambda| (format!("λ of the study: {lambda}"), lambda)));
        }
        Some(chart)
    }

    fn calibration(&self) -> Option<Chart> {
        let arms = [ArmKind::Rl, ArmKind::Supervised, ArmKind::Reference].into_iter().filter_map(|k| self.best(k));
        let bin = |&(cases, predicted, observed): &(usize, f64, f64)| Bin { cases: cases as u64, predicted, observed };
        let of = |arm: &ArmSummary| Reliability {
            arm: arm.name.clone(),
            seeds: self.of(&arm.name).map(|d| d.calibration.iter().map(bin).collect()).collect(),
        };
        let arms: Vec<Reliability> = arms.map(of).filter(|arm| !arm.seeds.is_empty()).collect();
        (!arms.is_empty()).then(|| Chart {
            name: "calibration".to_owned(),
            title: "Calibration at the end of a case".to_owned(),
            caption: "The best arm of each kind: how often the likeliest diagnosis was right among cases in which it had \
                      about the same probability, in ten bins. The probabilities are those of the model that is attached \
                      to the problem (planners: of the model they plan with) after the questions that the arm chose. \
                      Error: expected calibration error, the mean distance from the dashed line."
                .to_owned(),
            data: ChartData::Calibration(arms),
        })
    }

    fn confusion(&self) -> Option<Chart> {
        let kinds = [ArmKind::Rl, ArmKind::Supervised, ArmKind::Reference];
        let arm = kinds.into_iter().find_map(|kind| self.best(kind))?;
        let first = self.of(&arm.name).find(|details| !details.diagnoses.is_empty())?;
        let size = first.diagnoses.len();
        let mut counts = vec![vec![0; size]; size];
        for details in self.of(&arm.name).filter(|details| details.diagnoses == first.diagnoses) {
            for (sums, row) in counts.iter_mut().zip(&details.confusion) {
                sums.iter_mut().zip(row).for_each(|(sum, count): (&mut u64, &u64)| *sum += count);
            }
        }
        Some(Chart {
            name: "confusion".to_owned(),
            title: "Confusion of true and declared diagnoses".to_owned(),
            caption: format!(
                "Test cases of all seeds of {}: a row is a true diagnosis, a column what was declared. Diagnoses that \
                 neither occurred nor were declared are left out.",
                arm.name
            ),
            data: ChartData::Confusion(Confusion {
                arm: arm.name.clone(),
                truth: "true diagnosis".to_owned(),
                answer: "declared diagnosis".to_owned(),
                classes: first.diagnoses.clone(),
                counts,
            }),
        })
    }

    /// Whose cases are told: the best arm that learns, and the best planner.
    fn tellers(&self) -> Vec<&'a ArmSummary> {
        let learner = self.best(ArmKind::Rl).or_else(|| self.best(ArmKind::Supervised));
        learner.into_iter().chain(self.best(ArmKind::Reference)).collect()
    }

    /// The first cases of the first seed that all tellers finished; those that they played alike only where there are not
    /// enough others.
    fn told(&self) -> Vec<ToldCase> {
        let tellers = self.tellers();
        let stories = |arm: &ArmSummary, seed: u64| {
            self.trials
                .iter()
                .find(|(name, s, _)| *name == arm.name && *s == seed)
                .map(|(.., details)| &details.stories)
        };
        let Some(first) = tellers.first() else { return Vec::new() };
        let everywhere = |seed: &&u64| tellers.iter().all(|arm| stories(arm, **seed).is_some());
        let Some(&seed) = first.results.seeds.iter().find(everywhere) else { return Vec::new() };
        let tale = |arm: &&ArmSummary, case: usize| {
            let story = stories(arm, seed)?.get(case)?;
            // A number and its percent sign stay on one line of the page.
            let lines = story.lines.iter().map(|line| line.replace(" %", "\u{a0}%")).collect();
            Some(Tale { arm: arm.name.clone(), lines, end: story.end.clone() })
        };
        let case = |case: usize| ToldCase {
            title: format!("Case {} of seed {seed}", case + 1),
            tales: tellers.iter().filter_map(|arm| tale(arm, case)).collect(),
        };
        let recorded = tellers.iter().filter_map(|arm| stories(arm, seed)).map(Vec::len).max().unwrap_or_default();
        let cases = (0..recorded).map(case).filter(|case| !case.tales.is_empty());
        let (mut told, alike): (Vec<ToldCase>, Vec<ToldCase>) = cases.partition(|case| !played_alike(case));
        told.extend(alike);
        told.truncate(TOLD);
        told
    }
}

/// Whether all arms asked the same and declared the same; what they believed does not count.
fn played_alike(case: &ToldCase) -> bool {
    let asked = |line: &String| line.split(" → ").next().unwrap_or_default().to_owned();
    let done = |tale: &Tale| {
        let lines = tale.lines.iter().filter(|line| line.starts_with("asked ")).map(asked).collect::<Vec<_>>();
        (lines, tale.end.clone())
    };
    case.tales.len() > 1 && case.tales.windows(2).all(|pair| done(&pair[0]) == done(&pair[1]))
}

/// A step function at equal distances from 0 to `most`, so that seeds can be averaged.
fn steps(points: &[(f64, f64)], most: f64) -> Vec<(f64, f64)> {
    let at = |cost: f64| points.iter().take_while(|(x, _)| *x <= cost * (1.0 + 1e-12)).last().map(|p| p.1);
    let costs = (0..=COSTS).map(|i| most * i as f64 / COSTS as f64);
    costs.filter_map(|cost| Some((cost, at(cost)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::measure::Story;
    use super::super::verdict::tests::summary;
    use super::*;
    use crate::study::Measurement;
    use std::collections::BTreeMap;

    fn record(arm: &str, seed: u64, details: &Details) -> TrialRecord {
        let details = serde_json::to_value(details).expect("JSON");
        let found = Measurement { episode_return: 0.0, metrics: BTreeMap::new(), details };
        TrialRecord {
            arm: arm.to_owned(),
            seed,
            curve: Vec::new(),
            measurements: BTreeMap::from([("test".to_owned(), found)]),
            ledger: retune::agent::Ledger::default(),
            policy_lag: retune::rollout::LagHistogram::default(),
            trainable_parameters: 0,
        }
    }

    fn details(accuracy: f64, name: &str) -> Details {
        let story = |i: usize| Story { lines: vec![format!("{name} asked {i}")], end: format!("{name} declared {i}") };
        Details {
            lambda: Some(0.25),
            accuracy_at_k: vec![0.5, accuracy],
            accuracy_at_cost: vec![(0.0, 0.5), (3.0, accuracy)],
            utility: vec![(0.0, 2.0 * accuracy - 1.0)],
            calibration: vec![(0, 0.0, 0.0), (10, 0.8, accuracy)],
            diagnoses: vec!["flu".into(), "cold".into()],
            confusion: vec![vec![3, 1], vec![0, 6]],
            stories: (0..5).map(story).collect(),
            ..Details::default()
        }
    }

    fn study(arms: &[(&str, ArmKind, f64)]) -> (Summary, Vec<TrialRecord>) {
        let records = arms.iter().flat_map(|&(arm, _, score)| {
            (0..5).map(move |seed| record(arm, seed, &details(score + 0.001 * seed as f64, arm)))
        });
        (summary(arms), records.collect())
    }

    #[test]
    fn everything_that_was_recorded_is_shown() {
        let arms = [
            ("random", ArmKind::Reference, 0.6),
            ("greedy_gain", ArmKind::Reference, 0.8),
            ("bayes_all", ArmKind::Reference, 0.9),
            ("ppo", ArmKind::Rl, 0.85),
            ("dqn", ArmKind::Rl, 0.7),
            ("supervised", ArmKind::Supervised, 0.75),
        ];
        let (summary, records) = study(&arms);
        let found = extras("test", &summary, &records).expect("valid");
        let names: Vec<&str> = found.charts.iter().map(|chart| chart.name.as_str()).collect();
        assert_eq!(
            names,
            ["accuracy_by_questions", "accuracy_by_cost", "utility_by_price", "calibration", "confusion"]
        );
        let ChartData::Lines(lines) = &found.charts[0].data else { panic!("{:?}", found.charts[0]) };
        assert_eq!(
            lines.lines.iter().map(|l| l.arm.as_str()).collect::<Vec<_>>(),
            ["random", "greedy_gain", "ppo", "dqn", "supervised"]
        );
        assert_eq!(lines.lines[2].seeds[1], [(0.0, 0.5), (1.0, 0.851)]);
        assert!(lines.references.len() == 1 && (lines.references[0].1 - 0.902).abs() < 1e-12, "{:?}", lines.references);
        assert!(found.charts[2].caption.contains("at the λ of the study, 0.25, so"), "{}", found.charts[2].caption);
        let ChartData::Lines(prices) = &found.charts[2].data else { panic!("{:?}", found.charts[2]) };
        assert_eq!(prices.marks, [("λ of the study: 0.25".to_owned(), 0.25)]);
        let ChartData::Calibration(of) = &found.charts[3].data else { panic!("{:?}", found.charts[3]) };
        assert_eq!(of.iter().map(|r| r.arm.as_str()).collect::<Vec<_>>(), ["ppo", "supervised", "greedy_gain"]);
        let ChartData::Confusion(of) = &found.charts[4].data else { panic!("{:?}", found.charts[4]) };
        assert_eq!((of.arm.as_str(), &of.counts), ("ppo", &vec![vec![15, 5], vec![0, 30]]));
        assert_eq!(found.told.len(), 3);
        let ends: Vec<&str> = found.told[1].tales.iter().map(|tale| tale.end.as_str()).collect();
        assert_eq!(ends, ["ppo declared 1", "greedy_gain declared 1"]);
        assert!(found.told_intro.contains("not a medical device"));
    }

    #[test]
    fn of_many_arms_the_best_of_each_kind_are_drawn_and_the_caption_says_so() {
        let names: Vec<String> = (0..6).map(|i| format!("rl_{i}")).collect();
        let mut arms: Vec<(&str, ArmKind, f64)> =
            names.iter().enumerate().map(|(i, name)| (name.as_str(), ArmKind::Rl, 0.5 + 0.01 * i as f64)).collect();
        arms.extend([("greedy_gain", ArmKind::Reference, 0.8), ("utility_1", ArmKind::Reference, 0.7)]);
        let (summary, records) = study(&arms);
        let found = extras("test", &summary, &records).expect("valid");
        let ChartData::Lines(lines) = &found.charts[0].data else { panic!("{:?}", found.charts[0]) };
        let drawn: Vec<&str> = lines.lines.iter().map(|l| l.arm.as_str()).collect();
        assert_eq!(drawn, ["rl_3", "rl_4", "rl_5", "greedy_gain", "utility_1"]);
        assert!(found.charts[0].caption.contains("Only the best arms"));
        assert!(lines.references.is_empty() && !found.charts[0].caption.contains("bayes_all"));
    }

    #[test]
    fn details_of_another_form_are_refused_and_missing_ones_left_out() {
        let (summary, mut records) = study(&[("ppo", ArmKind::Rl, 0.7)]);
        records[0].measurements.get_mut("test").expect("there").details = serde_json::json!({ "theta": "high" });
        let message = extras("test", &summary, &records).expect_err("no number").to_string();
        assert!(message.contains("trials/ppo/0/result.json"), "{message}");
        records
            .iter_mut()
            .for_each(|r| r.measurements.get_mut("test").expect("there").details = serde_json::Value::Null);
        let found = extras("test", &summary, &records).expect("valid");
        assert!(found.charts.is_empty() && found.told.is_empty());
    }

    #[test]
    fn cases_that_were_played_alike_are_told_last() {
        let told = |name: &str| Details {
            stories: (0..5)
                .map(|i| Story {
                    lines: vec![
                        format!("believed at first: by {name}"),
                        format!("asked {} (cost 1): yes → believed by {name}", if i == 4 { name } else { "fever" }),
                    ],
                    end: format!("declared {}", if i == 2 { name } else { "flu" }),
                })
                .collect(),
            ..details(0.7, name)
        };
        let arms = [("greedy_gain", ArmKind::Reference, 0.8), ("ppo", ArmKind::Rl, 0.85)];
        let records: Vec<TrialRecord> = arms.iter().map(|(arm, ..)| record(arm, 0, &told(arm))).collect();
        let found = extras("test", &summary(&arms), &records).expect("valid");
        let titles: Vec<&str> = found.told.iter().map(|case| case.title.as_str()).collect();
        assert_eq!(titles, ["Case 3 of seed 0", "Case 5 of seed 0", "Case 1 of seed 0"]);
    }

    #[test]
    fn a_step_holds_until_the_next() {
        let found = steps(&[(0.0, 0.2), (1.0, 0.5), (4.0, 0.9)], 4.0);
        assert_eq!(found.len(), COSTS + 1);
        assert_eq!((found[4], found[5], found[19].1, found[20]), ((0.8, 0.2), (1.0, 0.5), 0.5, (4.0, 0.9)));
    }
}
