//! `release_evidences.json`: what can be asked.

use super::{line_of, natural_order, scalar, text, wrong};
use crate::diag_query::problem::{Finding, TestKind};
use retune::env::EnvError;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most states of all questions together; the release has some 1,000.
const MAX_STATES: usize = 1 << 16;

/// Kind of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// Yes or no.
    Binary,
    /// One of several values.
    Categorical,
    /// Any of several values.
    Multiple,
}

/// A question, and the findings that it answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Code, such as `E_54`.
    pub code: String,
    /// Kind of answer.
    pub data_type: DataType,
    /// Whether it is about the past rather than a symptom.
    pub antecedent: bool,
    /// Ids of the values; empty for yes and no.
    pub values: Vec<String>,
    /// The value that means nothing was found; 0 for yes and no.
    pub default: usize,
    /// First of its findings: one for yes and no and for one of several values; one a value, in their order, for any of
    /// several.
    pub first: usize,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidences {
    /// The questions, `E_2` before `E_10`.
    pub questions: Vec<Evidence>,
    /// Their findings.
    pub findings: Vec<Finding>,
    index: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    code_question: Option<String>,
    #[serde(default)]
    question_en: Option<String>,
    #[serde(default)]
    is_antecedent: bool,
    data_type: String,
    default_value: Value,
    #[serde(rename = "possible-values", alias = "possible_values", default)]
    values: Vec<Value>,
    #[serde(default)]
    value_meaning: Value,
}

/// Reads the questions; `file` is its name in messages.
///
/// # Errors
/// [`EnvError::Data`] with the line: not JSON of that form, an unknown kind or parent, values that do not fit.
pub fn read_evidences(file: &str, bytes: &[u8]) -> Result<Evidences, EnvError> {
    let json = text(file, bytes)?;
    let raw: BTreeMap<String, Raw> = serde_json::from_str(json).map_err(|e| {
        wrong(file, e.line(), format!("{e}; expected {{code: {{data_type, default_value, possible-values, …}}}}"))
    })?;
    if raw.is_empty() {
        return Err(wrong(file, 1, "no evidences, expected at least one".to_owned()));
    }
    let mut codes: Vec<&String> = raw.keys().collect();
    codes.sort_by_key(|code| natural_order(code));
    let mut made = Evidences { questions: Vec::new(), findings: Vec::new(), index: HashMap::new() };
    let mut states = 0;
    for code in &codes {
        let fail = |message: String| wrong(file, line_of(json, code), format!("{code}: {message}"));
        let question = question(code, &raw[*code], made.findings.len()).map_err(&fail)?;
        states += 2 * question.values.len().max(1);
        if states > MAX_STATES {
            return Err(fail(format!("the questions have more than {MAX_STATES} states together")));
        }
        made.index.insert((*code).clone(), made.questions.len());
        made.findings.extend(findings(&question, &raw[*code]));
        made.questions.push(question);
    }
    for code in codes {
        let parent = raw[code].code_question.as_deref().filter(|parent| *parent != code && !parent.is_empty());
        if let Some(parent) = parent {
            let fail = |message: String| wrong(file, line_of(json, code), format!("{code}: {message}"));
            let parent = made.find(parent).map_err(|e| fail(format!("code_question: {e}")))?;
            let (parent, of) = (parent.first, parent.data_type);
            if of == DataType::Multiple {
                return Err(fail("code_question has several answers, expected one of type B or C".to_owned()));
            }
            let own = made.find(code).map_err(fail)?.range();
            made.findings[own].iter_mut().for_each(|finding| finding.requires = Some(parent));
        }
    }
    Ok(made)
}

fn question(code: &str, raw: &Raw, first: usize) -> Result<Evidence, String> {
    let data_type = match raw.data_type.as_str() {
        "B" => DataType::Binary,
        "C" => DataType::Categorical,
        "M" => DataType::Multiple,
        other => return Err(format!("data_type {other}, expected B, C or M")),
    };
    let value = |v: &Value| scalar(v).ok_or_else(|| format!("value {v}, expected a string or a number"));
    let values: Vec<String> = raw.values.iter().map(value).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    if let Some(value) = values.iter().find(|value| !seen.insert(value.as_str())) {
        return Err(format!("value {value} stands twice in possible-values"));
    }
    let mut made = Evidence {
        code: code.to_owned(),
        data_type,
        antecedent: raw.is_antecedent,
        values: Vec::new(),
        default: 0,
        first,
    };
    if data_type != DataType::Binary {
        let default = value(&raw.default_value)?;
        let at = values.iter().position(|v| *v == default);
        let expected = || format!("default_value {default}, expected one of {}", values.join(", "));
        made.default = at.ok_or_else(expected)?;
        made.values = values;
    }
    Ok(made)
}

/// The findings of a question, not yet tied to that of another.
fn findings(question: &Evidence, raw: &Raw) -> Vec<Finding> {
    let spoken = raw.question_en.as_deref().filter(|q| !q.trim().is_empty()).unwrap_or(&question.code).trim();
    let kind = TestKind::History;
    let yes_or_no = || vec!["no".to_owned(), "yes".to_owned()];
    let meaning = |value: &String| {
        let meant = &raw.value_meaning[value.as_str()];
        let english = meant.as_str().or_else(|| meant["en"].as_str()).map(str::trim).filter(|m| !m.is_empty());
        english.unwrap_or(value).to_owned()
    };
    let name = spoken.to_owned();
    match question.data_type {
        DataType::Binary => {
            vec![Finding { id: question.code.clone(), name, states: yes_or_no(), default: 0, kind, requires: None }]
        }
        DataType::Categorical => {
            let states = question.values.iter().map(meaning).collect();
            let (id, default) = (question.code.clone(), question.default);
            vec![Finding { id, name, states, default, kind, requires: None }]
        }
        DataType::Multiple => {
            let finding = |(i, value): (usize, &String)| Finding {
                id: format!("{}{}{value}", question.code, super::AT),
                name: format!("{spoken} {}", meaning(value)),
                states: yes_or_no(),
                // The value for "nothing" is present in a patient without any other.
                default: usize::from(i == question.default),
                kind,
                requires: None,
            };
            question.values.iter().enumerate().map(finding).collect()
        }
    }
}

impl Evidence {
    /// Its findings.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<usize> {
        let len = if self.data_type == DataType::Multiple { self.values.len() } else { 1 };
        self.first..self.first + len
    }

    /// Finding and state that a value of the question means; `None` for the bare code.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub fn state(&self, value: Option<&str>) -> Result<(usize, usize), String> {
        let code = &self.code;
        match (self.data_type, value) {
            (DataType::Binary, None) => Ok((self.first, 1)),
            (DataType::Binary, Some(value)) => Err(format!("{code} has no values, found {value}")),
            (_, None) => Err(format!("{code} has values, expected {code}{}VALUE", super::AT)),
            (data_type, Some(value)) => {
                let at = self.values.iter().position(|v| v == value).ok_or_else(|| {
                    let known: Vec<&str> = self.values.iter().map(String::as_str).take(12).collect();
                    format!("{code} has no value {value}, expected one of {}", known.join(", "))
                })?;
                let multiple = data_type == DataType::Multiple;
                Ok(if multiple { (self.first + at, 1) } else { (self.first, at) })
            }
        }
    }
}

impl Evidences {
    /// The question with this code.
    ///
    /// # Errors
    /// What is wrong with the code.
    pub fn find(&self, code: &str) -> Result<&Evidence, String> {
        let at = self.index.get(code).ok_or_else(|| format!("there is no evidence {code}"))?;
        Ok(&self.questions[*at])
    }

    /// Question and value of an entry such as `E_54_@_V_161`.
    ///
    /// # Errors
    /// What is wrong with the entry.
    pub fn parse<'a>(&self, entry: &'a str) -> Result<(&Evidence, Option<&'a str>), String> {
        let (code, value) = entry.split_once(super::AT).map_or((entry, None), |(code, value)| (code, Some(value)));
        Ok((self.find(code)?, value))
    }
}
