//! Recorded dialogues in the JSON form of the DXY and MuZhi data: what the patient said, and what asking found.

use super::text;
use crate::diag_query::composite::{Composite, CompositeModel};
use crate::diag_query::problem::{Case, Diagnosis, Finding, ListSource, Problem, TestKind};
use retune::env::EnvError;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    pid: serde_json::Value,
    #[serde(default)]
    exp_sxs: BTreeMap<String, String>,
    #[serde(default)]
    imp_sxs: BTreeMap<String, String>,
    label: String,
}

impl Record {
    fn is_empty(&self) -> bool {
        self.exp_sxs.is_empty() && self.imp_sxs.is_empty()
    }
}

/// Dialogues with names numbered: symptoms and diseases in name order.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialogues {
    /// Names of the symptoms. State 0 is "no", state 1 "yes".
    pub symptoms: Vec<String>,
    /// Names of the diseases.
    pub diseases: Vec<String>,
    /// The dialogues of each file. What was volunteered is given; a symptom that was never recorded, or of which the
    /// patient was unsure, has no state and is answered with `unknown`.
    pub files: Vec<Vec<Case>>,
}

/// Reads several files, such as a training and a test part, with one numbering of all names.
///
/// # Errors
/// [`EnvError::Data`] naming the file and the record: not JSON of that form, a value other than "0", "1" or "2", a
/// symptom with different values in both parts, a file without any symptom. Single records without symptoms are in the
/// published data: they are kept, and counted in a warning.
pub fn read_dialogues(files: &[(&str, &[u8])]) -> Result<Dialogues, EnvError> {
    let mut read = Vec::with_capacity(files.len());
    for (file, bytes) in files {
        let records: Vec<Record> = serde_json::from_str(text(file, bytes)?).map_err(|e| EnvError::Data {
            file: (*file).to_owned(),
            message: format!("{e}; expected an array of {{pid, exp_sxs, imp_sxs, label}}"),
        })?;
        if records.is_empty() {
            let message = "no dialogues, expected at least one".to_owned();
            return Err(EnvError::Data { file: (*file).to_owned(), message });
        }
        let empty: Vec<usize> = (1..=records.len()).filter(|&i| records[i - 1].is_empty()).collect();
        if empty.len() == records.len() {
            let message = "no record has symptoms, expected some in exp_sxs or imp_sxs".to_owned();
            return Err(EnvError::Data { file: (*file).to_owned(), message });
        }
        if let Some(first) = empty.first() {
            tracing::warn!("{file}: {} records have no symptoms, the first of them is record {first}", empty.len());
        }
        read.push((*file, records));
    }
    let all = || read.iter().flat_map(|(_, records)| records);
    let symptoms: BTreeSet<&String> = all().flat_map(|r| r.exp_sxs.keys().chain(r.imp_sxs.keys())).collect();
    let diseases: BTreeSet<&String> = all().map(|r| &r.label).collect();
    let mut dialogues = Dialogues {
        symptoms: symptoms.into_iter().cloned().collect(),
        diseases: diseases.into_iter().cloned().collect(),
        files: Vec::new(),
    };
    for (file, records) in &read {
        let mut cases = Vec::with_capacity(records.len());
        for (i, record) in records.iter().enumerate() {
            let fail = |message: String| EnvError::Data {
                file: (*file).to_owned(),
                message: format!("record {} (pid {}): {message}", i + 1, record.pid),
            };
            cases.push(dialogues.case(record).map_err(fail)?);
        }
        dialogues.files.push(cases);
    }
    Ok(dialogues)
}

impl Dialogues {
    fn case(&self, record: &Record) -> Result<Case, String> {
        let mut findings = vec![None; self.symptoms.len()];
        let mut given = Vec::new();
        for (part, symptoms) in [("exp_sxs", &record.exp_sxs), ("imp_sxs", &record.imp_sxs)] {
            for (name, value) in symptoms {
                let state = match value.as_str() {
                    "0" => Some(0),
                    "1" => Some(1),
                    "2" => None,
                    other => return Err(format!("{part}.{name} = {other}, expected \"0\", \"1\" or \"2\"")),
                };
                if part == "imp_sxs" && record.exp_sxs.get(name).is_some_and(|explicit| explicit != value) {
                    return Err(format!("{name} is {} in exp_sxs and {value} in imp_sxs", record.exp_sxs[name]));
                }
                let at = self.symptoms.binary_search(name).map_err(|_| format!("{name} is not numbered"))?;
                findings[at] = state;
                if part == "exp_sxs" {
                    given.push(at);
                }
            }
        }
        let diagnosis = self.diseases.binary_search(&record.label);
        Ok(Case { diagnosis: diagnosis.map_err(|_| "the label is not numbered".to_owned())?, findings, given })
    }

    /// The problem of diagnosing `cases`, with naive Bayes fitted to `training` cases (add-half) as the model.
    ///
    /// # Errors
    /// If there are no cases, or they do not fit.
    pub fn problem(&self, name: &str, cases: Vec<Case>, training: &[Case]) -> Result<Problem, EnvError> {
        let states = vec![2; self.symptoms.len()];
        let model = CompositeModel::naive_bayes(self.diseases.len(), &states, training, 0.5)
            .map_err(|e| EnvError::Data { file: name.to_owned(), message: e.to_string() })?;
        let finding = |symptom: &String| Finding {
            id: symptom.clone(),
            name: symptom.clone(),
            states: vec!["no".to_owned(), "yes".to_owned()],
            default: 0,
            kind: TestKind::History,
            requires: None,
        };
        let diagnosis = |d: &String| Diagnosis { id: d.clone(), name: d.clone(), severity: None };
        let problem = Problem {
            name: name.to_owned(),
            diagnoses: self.diseases.iter().map(diagnosis).collect(),
            findings: self.symptoms.iter().map(finding).collect(),
            source: Arc::new(ListSource::new(cases)?),
            model: Some(Arc::new(Composite::new(model))),
        };
        problem.validate()?;
        Ok(problem)
    }

    /// Implicit symptoms among `asked` per implicit symptom of the case; 1 if there are none.
    #[must_use]
    pub fn recall(case: &Case, asked: &[usize]) -> f64 {
        let implicit = |i: &usize| case.findings[*i].is_some() && !case.given.contains(i);
        let all = (0..case.findings.len()).filter(implicit).count();
        if all == 0 { 1.0 } else { asked.iter().filter(|i| implicit(i)).count() as f64 / all as f64 }
    }
}
