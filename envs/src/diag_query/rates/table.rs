//! A table of rates of one's own: how often each disease shows each finding.

use super::sparse::{SparseModel, SparseRates};
use super::{text, wrong};
use crate::diag_query::problem::{Diagnosis, Finding, Problem, TestKind};
use csv::{ReaderBuilder, StringRecord};
use retune::env::EnvError;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Rate of pairs that a table does not list.
pub const BACKGROUND: f64 = 0.001;

/// Rates of listed pairs, with diseases and findings numbered as they come first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RateTable {
    /// Names of the diseases.
    pub diseases: Vec<String>,
    /// Names of the findings.
    pub findings: Vec<String>,
    /// Disease, finding, rate.
    pub rates: Vec<(usize, usize, f64)>,
    /// Prior of each disease, up to a factor; 1 where the table gives none.
    pub prior: Vec<f64>,
}

/// Numbers names as they come first.
#[derive(Default)]
struct Names {
    index: HashMap<String, usize>,
    /// Whether no names but these may come.
    closed: bool,
}

impl Names {
    fn number(&mut self, kind: &str, name: &str, list: &mut Vec<String>) -> Result<usize, String> {
        if name.is_empty() {
            return Err(format!("the {kind} has no name"));
        }
        if let Some(&number) = self.index.get(name) {
            return Ok(number);
        }
        if self.closed {
            return Err(format!("there is no {kind} {name} among those listed"));
        }
        self.index.insert(name.to_owned(), list.len());
        list.push(name.to_owned());
        Ok(list.len() - 1)
    }
}

fn rate(value: &str) -> Result<f64, String> {
    let rate = value.parse::<f64>().ok().filter(|rate| (0.0..=1.0).contains(rate));
    rate.ok_or_else(|| format!("rate {value}, expected a number from 0 to 1"))
}

fn weight(value: &str) -> Result<f64, String> {
    let weight = value.parse::<f64>().ok().filter(|weight| weight.is_finite() && *weight >= 0.0);
    weight.ok_or_else(|| format!("prior {value}, expected a finite number from 0"))
}

/// Reads a CSV table with the columns `disease`, `finding`, `rate` and optionally `prior`; `file` is its name in messages.
/// A prior may stand on any row of a disease, on several if it is the same.
///
/// # Errors
/// [`EnvError::Data`] with the line: a missing column, a pair that stands twice, a rate outside 0 to 1, a prior that is
/// negative or another than before, a prior for some diseases only.
pub fn read_rates(file: &str, bytes: &[u8]) -> Result<RateTable, EnvError> {
    let mut reader = ReaderBuilder::new().from_reader(text(file, bytes)?.trim_start_matches('\u{feff}').as_bytes());
    let at = |e: csv::Error| wrong(file, e.position().map_or(1, |p| p.line() as usize), e.to_string());
    let header = reader.headers().map_err(at)?.clone();
    let column = |name: &str| header.iter().position(|h| h.trim() == name);
    let needed = |name: &str| {
        column(name).ok_or_else(|| {
            wrong(file, 1, format!("there is no column {name}, expected disease, finding, rate and optionally prior"))
        })
    };
    let (disease_at, finding_at, rate_at) = (needed("disease")?, needed("finding")?, needed("rate")?);
    let prior_at = column("prior");
    let mut table = RateTable::default();
    let (mut diseases, mut findings) = (Names::default(), Names::default());
    let (mut lines, mut priors) = (HashMap::new(), BTreeMap::new());
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(at)? {
        let line = record.position().map_or(0, |p| p.line() as usize);
        let fail = |message: String| wrong(file, line, message);
        let cell = |at: usize| record.get(at).unwrap_or_default().trim();
        let disease = diseases.number("disease", cell(disease_at), &mut table.diseases).map_err(fail)?;
        let finding = findings.number("finding", cell(finding_at), &mut table.findings).map_err(fail)?;
        if let Some(first) = lines.insert((disease, finding), line) {
            let pair = format!("{} and {}", table.diseases[disease], table.findings[finding]);
            return Err(fail(format!("{pair} stand together a second time (first on line {first})")));
        }
        table.rates.push((disease, finding, rate(cell(rate_at)).map_err(fail)?));
        if let Some(value) = prior_at.map(cell).filter(|value| !value.is_empty()) {
            let value = weight(value).map_err(fail)?;
            let first = *priors.entry(disease).or_insert(value);
            if first != value {
                return Err(fail(format!("{} has prior {value} here and {first} above", table.diseases[disease])));
            }
        }
    }
    table.finish(file, &priors)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    diseases: Vec<JsonDisease>,
    /// All findings; without it, those that the diseases list.
    #[serde(default)]
    findings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonDisease {
    name: String,
    #[serde(default)]
    prior: Option<f64>,
    rates: BTreeMap<String, f64>,
}

/// Reads the same in JSON: `{"diseases": [{"name": …, "prior": …, "rates": {finding: rate}}], "findings": […]}`. With
/// `findings`, a disease may list no others.
///
/// # Errors
/// [`EnvError::Data`] with the line, or naming the disease, as [`read_rates`].
pub fn read_rates_json(file: &str, bytes: &[u8]) -> Result<RateTable, EnvError> {
    let json: Json = serde_json::from_str(text(file, bytes)?).map_err(|e| {
        wrong(file, e.line(), format!("{e}; expected {{diseases: [{{name, prior, rates}}], findings}}"))
    })?;
    let plain = |message: String| EnvError::Data { file: file.to_owned(), message };
    let mut table = RateTable::default();
    let (mut diseases, mut findings) = (Names::default(), Names::default());
    for name in &json.findings {
        let known = table.findings.len();
        if findings.number("finding", name, &mut table.findings).map_err(plain)? < known {
            return Err(plain(format!("finding {name} stands twice")));
        }
    }
    findings.closed = !json.findings.is_empty();
    let mut priors = BTreeMap::new();
    for listed in &json.diseases {
        let fail = |message: String| plain(format!("disease {}: {message}", listed.name));
        let known = table.diseases.len();
        let disease = diseases.number("disease", &listed.name, &mut table.diseases).map_err(fail)?;
        if disease < known {
            return Err(fail("stands twice".to_owned()));
        }
        for (name, value) in &listed.rates {
            let finding = findings.number("finding", name, &mut table.findings).map_err(fail)?;
            table.rates.push((disease, finding, rate(&value.to_string()).map_err(fail)?));
        }
        if let Some(prior) = listed.prior {
            priors.insert(disease, weight(&prior.to_string()).map_err(fail)?);
        }
    }
    table.finish(file, &priors)
}

impl RateTable {
    fn finish(mut self, file: &str, priors: &BTreeMap<usize, f64>) -> Result<Self, EnvError> {
        if self.rates.is_empty() {
            return Err(wrong(file, 1, "no rates, expected at least one".to_owned()));
        }
        if !priors.is_empty()
            && let Some(without) = (0..self.diseases.len()).find(|d| !priors.contains_key(d))
        {
            let name = &self.diseases[without];
            return Err(wrong(file, 1, format!("{name} has no prior, expected one for all diseases or for none")));
        }
        self.prior = (0..self.diseases.len()).map(|d| priors.get(&d).copied().unwrap_or(1.0)).collect();
        Ok(self)
    }

    /// The `most` diseases of the highest prior, of equals the first, in their order, and what these list.
    #[must_use]
    pub fn limited(&self, most: usize) -> Self {
        let mut order: Vec<usize> = (0..self.diseases.len()).collect();
        order.sort_by(|&a, &b| self.prior[b].total_cmp(&self.prior[a]));
        order.truncate(most);
        order.sort_unstable();
        let mut rates: Vec<(usize, usize, f64)> = Vec::new();
        for &(disease, finding, rate) in &self.rates {
            rates.extend(order.binary_search(&disease).ok().map(|disease| (disease, finding, rate)));
        }
        let mut listed: Vec<usize> = rates.iter().map(|&(_, finding, _)| finding).collect();
        listed.sort_unstable();
        listed.dedup();
        rates.iter_mut().for_each(|rate| rate.1 = listed.binary_search(&rate.1).unwrap_or_default());
        Self {
            diseases: order.iter().map(|&d| self.diseases[d].clone()).collect(),
            findings: listed.iter().map(|&f| self.findings[f].clone()).collect(),
            prior: order.iter().map(|&d| self.prior[d]).collect(),
            rates,
        }
    }

    /// The table as a model and a source of cases; rates are kept within 0.001 and 0.999.
    ///
    /// # Errors
    /// [`EnvError::Config`] if the background is no rate or no disease has a positive prior.
    pub fn model(&self, background: f64) -> Result<SparseModel, EnvError> {
        let mut rates = SparseRates::new(self.diseases.len(), self.findings.len(), background)?;
        self.rates.iter().for_each(|&(disease, finding, rate)| rates.set(finding, disease, rate));
        rates.finish(self.prior.clone())
    }

    /// The problem of telling the diseases apart, with patients drawn from the table.
    ///
    /// # Errors
    /// As [`RateTable::model`].
    pub fn problem(&self, name: &str, background: f64) -> Result<Problem, EnvError> {
        let model = self.model(background)?;
        let spoken = |id: &String| id.replace('_', " ");
        let finding = |id: &String| Finding {
            id: id.clone(),
            name: spoken(id),
            states: vec!["no".to_owned(), "yes".to_owned()],
            default: 0,
            kind: TestKind::Exam,
            requires: None,
        };
        let diagnosis = |id: &String| Diagnosis { id: id.clone(), name: spoken(id), severity: None };
        let problem = Problem {
            name: name.to_owned(),
            diagnoses: self.diseases.iter().map(diagnosis).collect(),
            findings: self.findings.iter().map(finding).collect(),
            source: Arc::new(model.clone()),
            model: Some(Arc::new(model)),
        };
        problem.validate()?;
        Ok(problem)
    }
}
