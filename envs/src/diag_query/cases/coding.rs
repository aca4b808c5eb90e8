//! Values to states, settled on training rows.

use super::{ColumnKind, RawRow, RawTable, wrong};
use crate::diag_query::composite::{Composite, CompositeModel};
use crate::diag_query::problem::{Case, Diagnosis, Finding, ListSource, Problem, TestKind};
use retune::env::EnvError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Different numbers from which on a column without a declared kind is cut rather than taken as nominal.
const MANY_NUMBERS: usize = 10;

/// What to do with a state that no training row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// Refuse the row.
    Refuse,
    /// Take the value as missing.
    Missing,
}

/// How a table becomes cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CodingOptions {
    /// Column with the diagnosis; the last one if there is none.
    pub diagnosis: Option<String>,
    /// Columns that are no findings, such as a hospital or a split.
    pub skip: Vec<String>,
    /// Parts that a numeric column is cut into at the quantiles of the training rows; at least 2.
    pub bins: usize,
    /// Cuts in place of quantiles, by column, ascending.
    pub cuts: BTreeMap<String, Vec<f64>>,
    /// What to do with a state that no training row has.
    pub unseen: Unseen,
}

impl Default for CodingOptions {
    fn default() -> Self {
        Self { diagnosis: None, skip: Vec::new(), bins: 4, cuts: BTreeMap::new(), unseen: Unseen::Refuse }
    }
}

/// How the values of one column become states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The names of the states.
    Nominal(Vec<String>),
    /// Cuts, ascending: state i holds the numbers from cut i − 1 up to below cut i.
    Cuts(Vec<f64>),
}

/// A finding and the column it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodedColumn {
    name: String,
    column: usize,
    code: Code,
}

/// Diagnoses, findings and cuts as the training rows settle them. Saved beside a model that was trained with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coding {
    diagnosis: usize,
    diagnoses: Vec<String>,
    findings: Vec<CodedColumn>,
    unseen: Unseen,
}

impl Coding {
    /// Settles everything on the rows with the numbers `training`.
    ///
    /// # Errors
    /// [`EnvError::Data`] or [`EnvError::Config`] naming file, line, column and what would be right: an unknown column,
    /// a column with fewer than two states in the training rows, fewer than two diagnoses, cuts out of order.
    pub fn fit(table: &RawTable, training: &[usize], options: &CodingOptions) -> Result<Self, EnvError> {
        if options.bins < 2 {
            let (key, value, expected) = ("bins".to_owned(), options.bins.to_string(), "at least 2".to_owned());
            return Err(EnvError::Config { key, value, expected });
        }
        let diagnosis = match &options.diagnosis {
            Some(name) => table.column(name)?,
            None => table.columns.len() - 1,
        };
        let skip: Vec<usize> = options.skip.iter().map(|name| table.column(name)).collect::<Result<_, _>>()?;
        for name in options.cuts.keys() {
            table.column(name)?;
        }
        let rows: Vec<&RawRow> = training.iter().map(|&i| &table.rows[i]).collect();
        let diagnoses: BTreeSet<String> = rows.iter().filter_map(|r| r.cells[diagnosis].clone()).collect();
        if diagnoses.len() < 2 {
            let name = &table.columns[diagnosis].name;
            let message = format!("{name}: {} diagnoses in the training rows, expected at least 2", diagnoses.len());
            return Err(wrong(&table.file, 1, message));
        }
        let mut findings = Vec::new();
        for column in (0..table.columns.len()).filter(|c| *c != diagnosis && !skip.contains(c)) {
            let code = code(table, column, &rows, options)?;
            findings.push(CodedColumn { name: table.columns[column].name.clone(), column, code });
        }
        Ok(Self { diagnosis, diagnoses: diagnoses.into_iter().collect(), findings, unseen: options.unseen })
    }

    /// The states of a row.
    ///
    /// # Errors
    /// [`EnvError::Data`] with the line: no or an unknown diagnosis, all findings missing, a state that no training row
    /// has, a value that is no number.
    pub fn case(&self, table: &RawTable, row: usize) -> Result<Case, EnvError> {
        let RawRow { line, cells } = &table.rows[row];
        let fail = |message: String| wrong(&table.file, *line, message);
        let name = &table.columns[self.diagnosis].name;
        let given = cells[self.diagnosis].as_ref().ok_or_else(|| fail(format!("{name}: the diagnosis is missing")))?;
        let diagnosis = self.diagnoses.iter().position(|d| d == given).ok_or_else(|| {
            fail(format!(
                "{name}: {given} is no diagnosis of the training rows, expected {}",
                self.diagnoses.join(", ")
            ))
        })?;
        let state = |f: &CodedColumn| match &cells[f.column] {
            None => Ok(None),
            Some(value) => f.state(value, self.unseen).map_err(&fail),
        };
        let findings: Vec<Option<usize>> = self.findings.iter().map(state).collect::<Result<_, _>>()?;
        if findings.iter().all(Option::is_none) {
            return Err(fail("all findings are missing, expected at least one".to_owned()));
        }
        Ok(Case { diagnosis, findings, given: Vec::new() })
    }

    /// Several rows.
    ///
    /// # Errors
    /// As [`Coding::case`].
    pub fn cases(&self, table: &RawTable, rows: &[usize]) -> Result<Vec<Case>, EnvError> {
        rows.iter().map(|&row| self.case(table, row)).collect()
    }

    /// Number of diagnoses.
    #[must_use]
    pub fn num_diagnoses(&self) -> usize {
        self.diagnoses.len()
    }

    /// States of each finding.
    #[must_use]
    pub fn states(&self) -> Vec<usize> {
        self.findings.iter().map(|f| f.code.states()).collect()
    }

    /// The problem of diagnosing `cases`, with naive Bayes fitted to `training` cases (add-half) as the model.
    ///
    /// # Errors
    /// If there are no cases, or they do not fit.
    pub fn problem(&self, name: &str, cases: Vec<Case>, training: &[Case]) -> Result<Problem, EnvError> {
        let invalid = |message: String| EnvError::Data { file: name.to_owned(), message };
        let model = CompositeModel::naive_bayes(self.diagnoses.len(), &self.states(), training, 0.5);
        let model = Composite::new(model.map_err(|e| invalid(e.to_string()))?);
        let spoken = |id: &String| id.replace('_', " ");
        let finding = |f: &CodedColumn| {
            let states = f.code.names();
            let default =
                states.iter().position(|s| matches!(s.as_str(), "absent" | "no" | "normal" | "none" | "norm"));
            let default = default.unwrap_or_default();
            let (id, name, kind) = (f.name.clone(), spoken(&f.name), TestKind::Exam);
            Finding { id, name, states, default, kind, requires: None }
        };
        let diagnosis = |d: &String| Diagnosis { id: d.clone(), name: spoken(d), severity: None };
        let problem = Problem {
            name: name.to_owned(),
            diagnoses: self.diagnoses.iter().map(diagnosis).collect(),
            findings: self.findings.iter().map(finding).collect(),
            source: Arc::new(ListSource::new(cases)?),
            model: Some(Arc::new(model)),
        };
        problem.validate()?;
        Ok(problem)
    }
}

impl CodedColumn {
    fn state(&self, value: &str, unseen: Unseen) -> Result<Option<usize>, String> {
        match &self.code {
            Code::Nominal(states) => match (states.iter().position(|s| s == value), unseen) {
                (None, Unseen::Refuse) => {
                    let known = states.join(", ");
                    Err(format!("{}: no training row has {value}, expected one of {known}", self.name))
                }
                (found, _) => Ok(found),
            },
            Code::Cuts(cuts) => {
                let number = number(value).ok_or_else(|| format!("{}: {value} is no number", self.name))?;
                Ok(Some(cuts.iter().filter(|cut| number >= **cut).count()))
            }
        }
    }
}

impl Code {
    fn states(&self) -> usize {
        match self {
            Self::Nominal(states) => states.len(),
            Self::Cuts(cuts) => cuts.len() + 1,
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Nominal(states) => states.clone(),
            Self::Cuts(cuts) => {
                let below = cuts.first().map(|cut| format!("below {cut}"));
                let between = cuts.windows(2).map(|pair| format!("{} to {}", pair[0], pair[1]));
                let last = cuts.last().map_or_else(|| "any".to_owned(), |cut| format!("from {cut}"));
                below.into_iter().chain(between).chain([last]).collect()
            }
        }
    }
}

fn number(value: &str) -> Option<f64> {
    value.parse::<f64>().ok().filter(|n| n.is_finite())
}

/// The code of a column, from the training rows and what the file declares.
fn code(table: &RawTable, column: usize, rows: &[&RawRow], options: &CodingOptions) -> Result<Code, EnvError> {
    let name = &table.columns[column].name;
    let values: Vec<&str> = rows.iter().filter_map(|r| r.cells[column].as_deref()).collect();
    let numbers: Option<Vec<f64>> = values.iter().map(|v| number(v)).collect();
    let distinct: BTreeSet<&str> = values.iter().copied().collect();
    let fail = |message: String| Err(wrong(&table.file, 1, format!("{name}: {message}")));
    let numeric = match &table.columns[column].kind {
        ColumnKind::Numeric => true,
        ColumnKind::Nominal(_) => false,
        ColumnKind::Open => numbers.is_some() && distinct.len() > MANY_NUMBERS,
    };
    if let Some(cuts) = options.cuts.get(name) {
        let ascending = cuts.windows(2).all(|pair| pair[0] < pair[1]) && cuts.iter().all(|c| c.is_finite());
        return if cuts.is_empty() || !ascending {
            fail(format!("cuts {cuts:?}, expected ascending numbers, at least one"))
        } else {
            Ok(Code::Cuts(cuts.clone()))
        };
    }
    if numeric {
        let Some(numbers) = numbers else { return fail("a value is no number".to_owned()) };
        let cuts = quantile_cuts(numbers, options.bins);
        return if cuts.is_empty() {
            fail("it has one value in the training rows, expected at least two (or skip the column)".to_owned())
        } else {
            Ok(Code::Cuts(cuts))
        };
    }
    let states: Vec<String> = match &table.columns[column].kind {
        ColumnKind::Nominal(declared) => declared.clone(),
        _ => distinct.iter().map(|&s| s.to_owned()).collect(),
    };
    if states.len() < 2 {
        let found = states.len();
        return fail(format!("{found} state(s) in the training rows, expected at least 2 (or skip the column)"));
    }
    Ok(Code::Nominal(states))
}

/// Quantiles i / bins by linear interpolation; equal ones once, and none at or below the smallest value.
fn quantile_cuts(mut numbers: Vec<f64>, bins: usize) -> Vec<f64> {
    if numbers.is_empty() {
        return Vec::new();
    }
    numbers.sort_by(f64::total_cmp);
    let quantile = |i: usize| {
        let at = (numbers.len() - 1) as f64 * i as f64 / bins as f64;
        let (low, high) = (numbers[at.floor() as usize], numbers[at.ceil() as usize]);
        low + (high - low) * (at - at.floor())
    };
    let mut cuts: Vec<f64> = (1..bins).map(quantile).filter(|cut| *cut > numbers[0]).collect();
    cuts.dedup();
    cuts
}
