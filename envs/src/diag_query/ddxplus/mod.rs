//! DDXPlus (Fansi Tchango et al. 2022): questions, pathologies with severities, and synthetic patients with a
//! differential diagnosis.
//!
//! A question with one answer is a finding; one with any of several values is a yes-or-no finding for each value. Two more
//! findings, [`AGE`] and [`SEX`], are given from the start. All findings of a patient are known: what is not listed is in
//! its default state. Two problems come of it: [`Patients::problem`] plays recorded patients, [`Patients::rates`] draws
//! patients from the rates of their findings.

mod conditions;
mod evidences;
mod literal;
mod patients;
#[cfg(test)]
mod tests;

pub use conditions::{Conditions, read_conditions};
pub use evidences::{DataType, Evidence, Evidences, read_evidences};
pub use patients::{AGE, AGE_BINS, Patient, Patients, SEX, read_patients};

use super::rates::{text, wrong};
use serde_json::Value;

/// Between the code of a question and a value.
const AT: &str = "_@_";

/// A string or number as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// `E_2` before `E_10`.
fn natural_order(code: &str) -> (String, u64, String) {
    let digits = code.len() - code.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (stem, number) = code.split_at(code.len() - digits);
    (stem.to_owned(), number.parse().unwrap_or(u64::MAX), number.to_owned())
}

/// The line on which a key stands first.
fn line_of(json: &str, key: &str) -> usize {
    let quoted = format!("\"{key}\"");
    let at = json.find(&quoted).unwrap_or_default();
    1 + json[..at].bytes().filter(|b| *b == b'\n').count()
}
