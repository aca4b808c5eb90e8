//! What is measured on played cases.

use crate::study::Measurement;
use retune::{Error, Result};
use retune_envs::diag_query::cases::Dialogues;
use retune_envs::diag_query::env::{Asked, likeliest};
use retune_envs::diag_query::metrics::{classification, cost_curve, mean_utility};
use retune_envs::diag_query::payoffs::Payoffs;
use retune_envs::diag_query::problem::{Case, Problem};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bins of the calibration.
const BINS: usize = 10;
/// The λ grid of the utilities.
pub const LAMBDAS: [f64; 7] = [0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1];
/// Most points of a curve over cost that are kept.
const CURVE_POINTS: usize = 120;

/// What was done with one case.
#[derive(Clone, Debug)]
pub struct Played {
    /// The patient.
    pub case: Case,
    /// What became known, in order.
    pub asked: Vec<Asked>,
    /// Cost of each question; what was given cost nothing and is not here.
    pub costs: Vec<f64>,
    /// Beliefs after 0, 1, … questions.
    pub posteriors: Vec<Vec<f64>>,
    /// What was declared.
    pub declared: usize,
    /// Return without shaping.
    pub episode_return: f64,
}

impl Played {
    /// The questions, without what was given.
    pub fn questions(&self) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(|asked| !asked.given)
    }

    fn is_right(&self) -> bool {
        self.declared == self.case.diagnosis
    }

    fn cost(&self) -> f64 {
        self.costs.iter().sum()
    }

    /// Whether declaring would have been right after 0, 1, … questions; at the end, whether it was.
    fn right(&self) -> Vec<bool> {
        let mut right: Vec<bool> = self.posteriors.iter().map(|p| likeliest(p) == self.case.diagnosis).collect();
        if let Some(last) = right.last_mut() {
            *last = self.is_right();
        }
        right
    }
}

/// What only reports of this experiment understand.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// λ of the study, by which the arm was asking; none in records of before it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    /// Stopping threshold θ, where one was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theta: Option<f64>,
    /// Accuracy of declaring after 0, 1, … questions; the last answer holds after the end.
    pub accuracy_at_k: Vec<f64>,
    /// The same if nothing but the number of questions ended an episode; empty where that was not played.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accuracy_at_k_without_stopping: Vec<f64>,
    /// Accuracy of declaring with what a cost has bought: (cost, accuracy).
    pub accuracy_at_cost: Vec<(f64, f64)>,
    /// Mean of +1 right, −1 wrong, −λ cost: (λ, utility).
    pub utility: Vec<(f64, f64)>,
    /// Bins of the top probability: (cases, mean probability, accuracy).
    pub calibration: Vec<(usize, f64, f64)>,
    /// Names of the diagnoses.
    pub diagnoses: Vec<String>,
    /// `[true][declared]` counts.
    pub confusion: Vec<Vec<u64>>,
    /// A few cases, told.
    pub stories: Vec<Story>,
}

/// One case, told question by question.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Story {
    /// What happened, in order.
    pub lines: Vec<String>,
    /// How it ended.
    pub end: String,
}

/// Measures played cases; `stories` of them are told.
///
/// # Errors
/// If there are none.
pub fn measurement(
    problem: &Problem,
    played: &[Played],
    t_max: usize,
    stories: usize,
) -> Result<(Measurement, Details)> {
    let invalid = |e: retune_envs::diag_query::metrics::MetricsError| Error::State(e.to_string());
    let labels: Vec<usize> = played.iter().map(|p| p.case.diagnosis).collect();
    let finals: Vec<Vec<f64>> = played.iter().filter_map(|p| p.posteriors.last().cloned()).collect();
    let found = classification(&labels, &finals).map_err(invalid)?;
    let curve =
        cost_curve(&played.iter().map(|p| (p.costs.clone(), p.right())).collect::<Vec<_>>()).map_err(invalid)?;
    let dearest = played.iter().map(Played::cost).fold(0.0, f64::max);
    let n = played.len() as f64;
    let mean = |value: &dyn Fn(&Played) -> f64| played.iter().map(value).sum::<f64>() / n;
    let se = |value: &dyn Fn(&Played) -> f64| {
        let average = mean(value);
        (mean(&|p| (value(p) - average).powi(2)) / n).sqrt()
    };
    let right = |p: &Played| f64::from(u8::from(p.is_right()));
    let confusion = confusion(problem, played);
    let mut metrics: BTreeMap<String, f64> = [
        ("episode_return_se", se(&|p| p.episode_return)),
        ("accuracy", mean(&right)),
        ("accuracy_se", se(&right)),
        ("macro_f1", macro_f1(&confusion)),
        ("top_3_accuracy", found.top_k(3)),
        ("log_loss", found.log_loss),
        ("brier", found.brier),
        ("ece", found.ece(BINS)),
        ("queries", mean(&|p| p.costs.len() as f64)),
        ("cost", mean(&Played::cost)),
        ("accuracy_at_cost_area", curve.area(dearest)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if played.iter().any(|p| !p.case.given.is_empty()) {
        let asked = |p: &Played| p.questions().map(|a| a.finding).collect::<Vec<_>>();
        metrics.insert("symptom_recall".to_owned(), mean(&|p| Dialogues::recall(&p.case, &asked(p))));
    }
    metrics.retain(|_, value| value.is_finite());
    let outcomes: Vec<(bool, f64)> = played.iter().map(|p| (p.is_right(), p.cost())).collect();
    let every = curve.points.len().div_ceil(CURVE_POINTS).max(1);
    let details = Details {
        accuracy_at_k: accuracy_at_k(played, t_max),
        accuracy_at_cost: curve.points.iter().step_by(every).copied().collect(),
        utility: LAMBDAS.iter().copied().zip(mean_utility(&outcomes, &LAMBDAS)).collect(),
        calibration: found.calibration(BINS),
        diagnoses: problem.diagnoses.iter().map(|d| d.name.clone()).collect(),
        confusion,
        stories: played.iter().take(stories).map(|p| story(problem, p)).collect(),
        ..Details::default()
    };
    let episode_return = mean(&|p| p.episode_return);
    Ok((Measurement { episode_return, metrics, details: serde_json::Value::Null }, details))
}

/// Accuracy of declaring after 0, 1, …, `t_max` questions; the last answer holds after the end.
#[must_use]
pub fn accuracy_at_k(played: &[Played], t_max: usize) -> Vec<f64> {
    let right: Vec<Vec<bool>> = played.iter().map(Played::right).collect();
    let at = |k: usize| right.iter().filter(|r| r.get(k).or(r.last()) == Some(&true)).count() as f64;
    (0..=t_max).map(|k| at(k) / played.len().max(1) as f64).collect()
}

/// Mean return of played cases and its standard error, what each declaration brought being replaced by its expectation
/// given the answers. Of beliefs that are right the mean estimates the same return, without the chance of who had what
/// (Rao–Blackwell). `None` where a belief is not known.
#[must_use]
pub fn expected_return(played: &[Played], payoffs: &Payoffs) -> Option<(f64, f64)> {
    let worth = |p: &Played| {
        let last = p.posteriors.last().filter(|posterior| p.declared < posterior.len())?;
        let expected: f64 = last.iter().enumerate().map(|(y, w)| w * payoffs.of(y, p.declared)).sum();
        Some(p.episode_return - payoffs.of(p.case.diagnosis, p.declared) + expected)
    };
    let worths: Vec<f64> = played.iter().map(worth).collect::<Option<_>>()?;
    let n = worths.len() as f64;
    let mean = worths.iter().sum::<f64>() / n;
    let se = (worths.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / n / n).sqrt();
    (n > 0.0).then_some((mean, se))
}

fn confusion(problem: &Problem, played: &[Played]) -> Vec<Vec<u64>> {
    let d = problem.diagnoses.len();
    let mut counts = vec![vec![0; d]; d];
    played.iter().for_each(|p| counts[p.case.diagnosis][p.declared] += 1);
    counts
}

/// Mean F1 of what was declared, over diagnoses that occur or were declared.
fn macro_f1(confusion: &[Vec<u64>]) -> f64 {
    let f1 = |d: usize| {
        let hits = confusion[d][d] as f64;
        let row: u64 = confusion[d].iter().sum();
        let column: u64 = confusion.iter().map(|r| r[d]).sum();
        let total = row + column;
        (total > 0).then(|| 2.0 * hits / total as f64)
    };
    let defined: Vec<f64> = (0..confusion.len()).filter_map(f1).collect();
    defined.iter().sum::<f64>() / defined.len().max(1) as f64
}

fn story(problem: &Problem, played: &Played) -> Story {
    let believed = |posterior: &[f64]| {
        let mut order: Vec<usize> = (0..posterior.len()).collect();
        order.sort_by(|&a, &b| posterior[b].total_cmp(&posterior[a]));
        let shown =
            order.iter().take(3).map(|&d| format!("{} {:.0} %", problem.diagnoses[d].name, 100.0 * posterior[d]));
        shown.collect::<Vec<_>>().join(", ")
    };
    let answer = |asked: &Asked| {
        let finding = &problem.findings[asked.finding];
        (finding.name.clone(), asked.reply.map_or_else(|| "unknown".to_owned(), |s| finding.states[s].clone()))
    };
    let mut lines = Vec::new();
    for asked in played.asked.iter().filter(|asked| asked.given) {
        let (name, state) = answer(asked);
        lines.push(format!("told {name}: {state}"));
    }
    lines.extend(played.posteriors.first().map(|p| format!("believed at first: {}", believed(p))));
    for ((asked, cost), posterior) in played.questions().zip(&played.costs).zip(played.posteriors.iter().skip(1)) {
        let (name, state) = answer(asked);
        lines.push(format!("asked {name} (cost {cost}): {state} → believed {}", believed(posterior)));
    }
    let (truth, declared) = (&problem.diagnoses[played.case.diagnosis].name, &problem.diagnoses[played.declared].name);
    let verdict = if played.is_right() { "right".to_owned() } else { format!("wrong, it was {truth}") };
    Story { lines, end: format!("declared {declared}: {verdict}; return {:.3}", played.episode_return) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A patient with two diagnoses; the belief at the end and what was declared.
    fn played(diagnosis: usize, belief: f64, declared: usize, cost: f64) -> Played {
        let payoffs = Payoffs::simple(2);
        Played {
            case: Case { diagnosis, findings: Vec::new(), given: Vec::new() },
            asked: Vec::new(),
            costs: vec![cost],
            posteriors: vec![vec![0.5, 0.5], vec![belief, 1.0 - belief]],
            declared,
            episode_return: payoffs.of(diagnosis, declared) - cost,
        }
    }

    #[test]
    fn the_chance_of_the_diagnosis_does_not_touch_an_expected_return() {
        let payoffs = Payoffs::simple(2);
        // Four patients who gave the same answer, of whom three have the first diagnosis, as was believed.
        let cases: Vec<Played> = [0, 0, 1, 0].map(|truth| played(truth, 0.75, 0, 0.25)).to_vec();
        let (mean, se) = expected_return(&cases, &payoffs).expect("beliefs are known");
        assert_eq!((mean, se), (0.25, 0.0));
        assert_eq!(cases.iter().map(|p| p.episode_return).sum::<f64>() / 4.0, mean, "the same in the mean");
        // Whoever declares against the belief is worth what the belief says.
        let (mean, _) = expected_return(&[played(1, 0.75, 1, 0.0)], &payoffs).expect("beliefs are known");
        assert_eq!(mean, -0.5);
        let unknown = Played { posteriors: vec![Vec::new()], ..played(0, 0.5, 0, 0.0) };
        assert_eq!((expected_return(&[unknown], &payoffs), expected_return(&[], &payoffs)), (None, None));
    }
}
