//! `release_conditions.json`: what can be declared.

use super::{line_of, text, wrong};
use crate::diag_query::problem::Diagnosis;
use retune::env::EnvError;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// What can be declared, in name order.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// The pathologies with their severities.
    pub diagnoses: Vec<Diagnosis>,
    /// Code of the International Classification of Diseases, per pathology; empty where there is none.
    pub icd10: Vec<String>,
    /// Codes of the symptoms and antecedents of each pathology.
    pub evidences: Vec<Vec<String>>,
    index: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    condition_name: Option<String>,
    #[serde(rename = "cond-name-eng", default)]
    english: Option<String>,
    #[serde(rename = "icd10-id", default)]
    icd10: Option<String>,
    #[serde(default)]
    symptoms: BTreeMap<String, Value>,
    #[serde(default)]
    antecedents: BTreeMap<String, Value>,
    severity: Value,
}

/// Reads the pathologies; `file` is its name in messages.
///
/// # Errors
/// [`EnvError::Data`] with the line: not JSON of that form, a severity outside 1 to 5, one name for two pathologies.
pub fn read_conditions(file: &str, bytes: &[u8]) -> Result<Conditions, EnvError> {
    let json = text(file, bytes)?;
    let raw: BTreeMap<String, Raw> = serde_json::from_str(json)
        .map_err(|e| wrong(file, e.line(), format!("{e}; expected {{name: {{condition_name, severity, …}}}}")))?;
    if raw.is_empty() {
        return Err(wrong(file, 1, "no conditions, expected at least one".to_owned()));
    }
    let (diagnoses, icd10, evidences, index) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
    let mut made = Conditions { diagnoses, icd10, evidences, index };
    for (number, (key, raw)) in raw.into_iter().enumerate() {
        let fail = |message: String| wrong(file, line_of(json, &key), format!("{key}: {message}"));
        let severity = super::scalar(&raw.severity).and_then(|s| s.parse::<u8>().ok());
        let severity = severity.filter(|s| (1..=5).contains(s));
        let severity = severity.ok_or_else(|| fail(format!("severity {}, expected 1 (worst) to 5", raw.severity)))?;
        let name = raw.english.or_else(|| raw.condition_name.clone()).unwrap_or_else(|| key.clone());
        // Patients name a pathology by any of these.
        for alias in [Some(key.clone()), raw.condition_name, Some(name.clone())].into_iter().flatten() {
            if *made.index.entry(alias.clone()).or_insert(number) != number {
                return Err(fail(format!("{alias} is the name of two conditions")));
            }
        }
        made.diagnoses.push(Diagnosis { id: key.clone(), name, severity: Some(severity) });
        made.icd10.push(raw.icd10.unwrap_or_default());
        made.evidences.push(raw.symptoms.into_keys().chain(raw.antecedents.into_keys()).collect());
    }
    Ok(made)
}

impl Conditions {
    /// Number of the pathology that a table calls `name`.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn find(&self, name: &str) -> Result<usize, String> {
        self.index.get(name).copied().ok_or_else(|| format!("there is no pathology {name:?} among the conditions"))
    }
}
