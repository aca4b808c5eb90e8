//! The measures of DDXPlus (Fansi Tchango et al. 2022): differentials and collected evidence.

use super::{MetricsError, ranked};

/// One patient with what an agent made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct DifferentialCase {
    /// The patient's differential g, `[diseases]`.
    pub truth: Vec<f64>,
    /// The agent's final distribution p, `[diseases]`.
    pub predicted: Vec<f64>,
    /// The disease.
    pub label: usize,
    /// Questions asked, the initial evidence not counted.
    pub questions: usize,
    /// Evidences that the patient has, `[evidences]`.
    pub present: Vec<bool>,
    /// Evidences that were asked, `[evidences]`.
    pub inquired: Vec<bool>,
}

/// Which evidences and diseases belong to which group.
#[derive(Clone, Debug, PartialEq)]
pub struct Masks {
    /// Evidences that are symptoms.
    pub symptoms: Vec<bool>,
    /// Evidences that are antecedents.
    pub antecedents: Vec<bool>,
    /// Diseases of a severity below 3.
    pub severe: Vec<bool>,
}

/// Recall, precision and F1, each averaged over patients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ratio {
    /// Recall.
    pub recall: f64,
    /// Precision.
    pub precision: f64,
    /// F1 of each patient, averaged.
    pub f1: f64,
}

/// Means over patients; the letters are those of the paper.
#[derive(Clone, Debug, PartialEq)]
pub struct DifferentialMetrics {
    /// IL: questions plus one.
    pub interaction_length: f64,
    /// GTPA: the disease has more than τ.
    pub gtpa: f64,
    /// GTPA@k: and it is among the k likeliest.
    pub gtpa_at: Vec<(usize, f64)>,
    /// DDR, DDP, DDF1.
    pub differential: Ratio,
    /// The same after cutting both differentials to their own top k.
    pub differential_at: Vec<(usize, Ratio)>,
    /// DSR, DSP, DSF1: severe diseases kept in, and ruled out.
    pub severe: Ratio,
    /// PER, PEP, PEF1.
    pub evidence: Ratio,
    /// PSR, PSP, PSF1: symptoms alone.
    pub symptoms: Ratio,
    /// PAR, PAP, PAF1: antecedents alone.
    pub antecedents: Ratio,
}

fn ratio(recall: f64, precision: f64) -> Ratio {
    Ratio { recall, precision, f1: 2.0 * precision * recall / (precision + recall + 1e-10) }
}

fn per(hits: usize, of: usize) -> f64 {
    hits as f64 / of.max(1) as f64
}

fn mean(ratios: impl ExactSizeIterator<Item = Ratio>) -> Ratio {
    let n = ratios.len() as f64;
    let mut sum = Ratio::default();
    for r in ratios {
        sum = Ratio { recall: sum.recall + r.recall, precision: sum.precision + r.precision, f1: sum.f1 + r.f1 };
    }
    Ratio { recall: sum.recall / n, precision: sum.precision / n, f1: sum.f1 / n }
}

/// Diseases of more than τ, among the `k` likeliest.
fn members(p: &[f64], tau: f64, k: usize) -> Vec<bool> {
    let mut found = vec![false; p.len()];
    ranked(p).into_iter().take(k).filter(|&d| p[d] > tau).for_each(|d| found[d] = true);
    found
}

fn both(a: &[bool], b: &[bool]) -> usize {
    a.iter().zip(b).filter(|(a, b)| **a && **b).count()
}

fn count(a: &[bool]) -> usize {
    a.iter().filter(|a| **a).count()
}

fn overlap(case: &DifferentialCase, tau: f64, k: usize) -> Ratio {
    let (g, p) = (members(&case.truth, tau, k), members(&case.predicted, tau, k));
    let hits = both(&g, &p);
    ratio(per(hits, count(&g)), per(hits, count(&p)))
}

fn severe(case: &DifferentialCase, masks: &Masks, tau: f64) -> Ratio {
    let all = case.truth.len();
    let (g, p) = (members(&case.truth, tau, all), members(&case.predicted, tau, all));
    let in_severe =
        |inside: &[bool], outside: &[bool]| (0..all).filter(|&d| masks.severe[d] && inside[d] && !outside[d]).count();
    let (n, s) = (count(&masks.severe), both(&masks.severe, &g));
    // Severe diseases that are wrongly added, and wrongly left out.
    let (added, lost) = (in_severe(&p, &g), in_severe(&g, &p));
    ratio(per(s - lost, s), per(n - s - added, n - s))
}

fn collected(case: &DifferentialCase, group: Option<&[bool]>) -> Ratio {
    let within = |list: &[bool]| -> Vec<bool> {
        group.map_or_else(|| list.to_vec(), |group| list.iter().zip(group).map(|(a, b)| *a && *b).collect())
    };
    let (present, inquired) = (within(&case.present), within(&case.inquired));
    let hits = both(&present, &inquired);
    ratio(per(hits, count(&present)), per(hits, count(&inquired)))
}

/// All measures with threshold τ, the `@k` ones for each of `ks`.
///
/// # Errors
/// If there are no cases or a list has a wrong length.
pub fn differential(
    cases: &[DifferentialCase],
    masks: &Masks,
    tau: f64,
    ks: &[usize],
) -> Result<DifferentialMetrics, MetricsError> {
    let (diseases, evidences) = (masks.severe.len(), masks.symptoms.len());
    let fits = |c: &DifferentialCase| {
        c.truth.len() == diseases
            && c.predicted.len() == diseases
            && c.label < diseases
            && c.present.len() == evidences
            && c.inquired.len() == evidences
    };
    if cases.is_empty() || masks.antecedents.len() != evidences || !cases.iter().all(fits) {
        let message = format!("expected cases over {diseases} diseases and {evidences} evidences, at least one");
        return Err(MetricsError(message));
    }
    let n = cases.len() as f64;
    let share = |holds: &dyn Fn(&DifferentialCase) -> bool| cases.iter().filter(|c| holds(c)).count() as f64 / n;
    let found = |c: &DifferentialCase, k: usize| members(&c.predicted, tau, k)[c.label];
    Ok(DifferentialMetrics {
        interaction_length: cases.iter().map(|c| (c.questions + 1) as f64).sum::<f64>() / n,
        gtpa: share(&|c| found(c, diseases)),
        gtpa_at: ks.iter().map(|&k| (k, share(&|c| found(c, k)))).collect(),
        differential: mean(cases.iter().map(|c| overlap(c, tau, diseases))),
        differential_at: ks.iter().map(|&k| (k, mean(cases.iter().map(|c| overlap(c, tau, k))))).collect(),
        severe: mean(cases.iter().map(|c| severe(c, masks, tau))),
        evidence: mean(cases.iter().map(|c| collected(c, None))),
        symptoms: mean(cases.iter().map(|c| collected(c, Some(&masks.symptoms)))),
        antecedents: mean(cases.iter().map(|c| collected(c, Some(&masks.antecedents)))),
    })
}
