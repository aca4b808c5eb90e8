//! `phenotype.hpoa`: how often a disease shows a term of the Human Phenotype Ontology.

use super::obo::Ontology;
use super::sparse::SparseRates;
use super::{text, wrong};
use crate::diag_query::problem::{Diagnosis, Finding, Problem, TestKind};
use retune::env::EnvError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Columns of the file.
const COLUMNS: usize = 12;

/// How the table becomes a problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HpoOptions {
    /// Rate of rows without a frequency; such rows are left out without one.
    pub without_frequency: Option<f64>,
    /// A disease shows a term at least as often as any kind of it.
    pub propagate: bool,
    /// Rate of terms that a disease does not list.
    pub background: f64,
    /// Only diseases whose id begins with this, such as `ORPHA:`.
    pub prefix: String,
    /// Only diseases with at least this many terms of positive rate.
    pub min_terms: usize,
    /// Only the first so many of them, by number.
    pub max_diseases: Option<usize>,
}

impl Default for HpoOptions {
    fn default() -> Self {
        let (prefix, max_diseases) = (String::new(), None);
        Self { without_frequency: None, propagate: false, background: 0.001, prefix, min_terms: 1, max_diseases }
    }
}

/// Diseases and the mean rate of each term they list.
#[derive(Clone, Debug, PartialEq)]
pub struct HpoTable {
    /// Id and name, in id order.
    pub diseases: Vec<(String, String)>,
    /// Per disease: term by number in the ontology, mean rate; in term order.
    pub rates: Vec<Vec<(usize, f64)>>,
}

/// Reads the rows about phenotypes (aspect `P`); `file` is its name in messages.
///
/// # Errors
/// [`EnvError::Data`] with the line: a wrong number of columns, a term that the ontology does not resolve, a frequency
/// that is none.
pub fn read_hpoa(file: &str, bytes: &[u8], ontology: &Ontology, options: &HpoOptions) -> Result<HpoTable, EnvError> {
    if options.without_frequency.is_some_and(|f| !(0.0..=1.0).contains(&f)) {
        let value = format!("{:?}", options.without_frequency);
        let (key, expected) = ("without_frequency".to_owned(), "a rate from 0 to 1".to_owned());
        return Err(EnvError::Config { key, value, expected });
    }
    /// Name, and per term the sum and the number of rates.
    type Found<'a> = (&'a str, BTreeMap<usize, (f64, f64)>);
    let mut diseases: BTreeMap<&str, Found<'_>> = BTreeMap::new();
    for (i, line) in text(file, bytes)?.lines().enumerate() {
        let number = i + 1;
        if line.is_empty() || line.starts_with('#') || line.starts_with("database_id\t") {
            continue;
        }
        let columns: Vec<&str> = line.trim_end_matches('\r').split('\t').collect();
        if columns.len() != COLUMNS {
            let message = format!("{} tab-separated columns, expected {COLUMNS}", columns.len());
            return Err(wrong(file, number, message));
        }
        let (id, name, qualifier, term, frequency, aspect) =
            (columns[0], columns[1], columns[2], columns[3], columns[7], columns[10]);
        if aspect != "P" || !id.starts_with(&options.prefix) {
            continue;
        }
        let term = ontology.resolve(term).map_err(|message| wrong(file, number, message))?;
        let rate = match (qualifier, frequency) {
            ("NOT", _) => Some(0.0),
            ("", "") => options.without_frequency,
            ("", frequency) => Some(rate(frequency).map_err(|message| wrong(file, number, message))?),
            (other, _) => return Err(wrong(file, number, format!("qualifier {other}, expected NOT or nothing"))),
        };
        if let Some(rate) = rate {
            let sum = diseases.entry(id).or_insert_with(|| (name, BTreeMap::new())).1.entry(term).or_default();
            *sum = (sum.0 + rate, sum.1 + 1.0);
        }
    }
    let mut table = HpoTable { diseases: Vec::new(), rates: Vec::new() };
    for (id, (name, sums)) in in_number_order(diseases) {
        let mut rates: BTreeMap<usize, f64> = sums.into_iter().map(|(term, (sum, n))| (term, sum / n)).collect();
        if options.propagate {
            propagate(ontology, &mut rates);
        }
        let positive = rates.values().filter(|r| **r > 0.0).count();
        if positive >= options.min_terms && options.max_diseases.is_none_or(|max| table.diseases.len() < max) {
            table.diseases.push((id.to_owned(), name.to_owned()));
            table.rates.push(rates.into_iter().collect());
        }
    }
    if table.diseases.is_empty() {
        return Err(wrong(file, 1, "no disease is left, expected at least one with enough terms".to_owned()));
    }
    Ok(table)
}

/// `ORPHA:93` before `ORPHA:585`.
fn in_number_order<T>(diseases: BTreeMap<&str, T>) -> Vec<(&str, T)> {
    let mut sorted: Vec<_> = diseases.into_iter().collect();
    let key = |id: &str| -> (String, u64) {
        let (database, number) = id.split_once(':').unwrap_or((id, ""));
        (database.to_owned(), number.parse().unwrap_or(u64::MAX))
    };
    // Stable: ids without a number stay in text order.
    sorted.sort_by_cached_key(|(id, _)| key(id));
    sorted
}

/// A frequency: `n/m`, `p%`, or a class of the ontology by the middle of its range.
fn rate(frequency: &str) -> Result<f64, String> {
    let expected = "expected n/m, p% or a class such as HP:0040281";
    let wrong = || format!("frequency {frequency}, {expected}");
    match frequency {
        "HP:0040280" => return Ok(1.0),
        "HP:0040281" => return Ok(0.895),
        "HP:0040282" => return Ok(0.545),
        "HP:0040283" => return Ok(0.17),
        "HP:0040284" => return Ok(0.025),
        "HP:0040285" => return Ok(0.0),
        _ => {}
    }
    let rate = if let Some((n, m)) = frequency.split_once('/') {
        let (n, m): (u64, u64) = (n.trim().parse().map_err(|_| wrong())?, m.trim().parse().map_err(|_| wrong())?);
        if m == 0 || n > m {
            return Err(format!("frequency {frequency}, expected n of m cases with 0 ≤ n ≤ m and m > 0"));
        }
        n as f64 / m as f64
    } else {
        frequency.strip_suffix('%').and_then(|p| p.trim().parse::<f64>().ok()).ok_or_else(wrong)? / 100.0
    };
    if (0.0..=1.0).contains(&rate) { Ok(rate) } else { Err(wrong()) }
}

fn propagate(ontology: &Ontology, rates: &mut BTreeMap<usize, f64>) {
    let mut open: Vec<(usize, f64)> = rates.iter().map(|(t, r)| (*t, *r)).collect();
    while let Some((term, rate)) = open.pop() {
        for &parent in ontology.parents(term) {
            let known = rates.entry(parent).or_insert(-1.0);
            if rate > *known {
                *known = rate;
                open.push((parent, rate));
            }
        }
    }
}

impl HpoTable {
    /// The problem of telling these diseases apart by their terms, each disease as likely.
    ///
    /// # Errors
    /// [`EnvError::Config`] if the background is no rate.
    pub fn problem(&self, name: &str, ontology: &Ontology, options: &HpoOptions) -> Result<Problem, EnvError> {
        let mut terms: Vec<usize> = self.rates.iter().flatten().map(|(term, _)| *term).collect();
        terms.sort_unstable();
        terms.dedup();
        let mut rates = SparseRates::new(self.diseases.len(), terms.len(), options.background)?;
        for (disease, listed) in self.rates.iter().enumerate() {
            for (term, rate) in listed {
                let finding = terms.binary_search(term).unwrap_or_default();
                rates.set(finding, disease, *rate);
            }
        }
        let rates = rates.finish(vec![1.0; self.diseases.len()])?;
        let finding = |&term: &usize| Finding {
            id: ontology.id(term).to_owned(),
            name: ontology.name(term).to_owned(),
            states: vec!["no".to_owned(), "yes".to_owned()],
            default: 0,
            kind: TestKind::Exam,
            requires: None,
        };
        let diagnosis =
            |(id, name): &(String, String)| Diagnosis { id: id.clone(), name: name.clone(), severity: None };
        let problem = Problem {
            name: name.to_owned(),
            diagnoses: self.diseases.iter().map(diagnosis).collect(),
            findings: terms.iter().map(finding).collect(),
            source: Arc::new(rates.clone()),
            model: Some(Arc::new(rates)),
        };
        problem.validate()?;
        Ok(problem)
    }
}
