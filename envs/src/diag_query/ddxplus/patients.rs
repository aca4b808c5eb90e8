//! The patient tables `release_*_patients.csv`.

use super::conditions::Conditions;
use super::evidences::{DataType, Evidences};
use super::literal::{pairs, strings};
use super::{text, wrong};
use crate::diag_query::composite::{Composite, CompositeModel};
use crate::diag_query::problem::{Case, CaseSource, Finding, Problem, TestKind};
use csv::{ReaderBuilder, StringRecord};
use retune::env::EnvError;
use retune::rng::StreamRng;
use std::sync::Arc;

/// Id of the finding with the age, in the bins of the publication.
pub const AGE: &str = "AGE";

/// Id of the finding with the sex.
pub const SEX: &str = "SEX";

/// Names of the bins of the age, years.
pub const AGE_BINS: [&str; 8] =
    ["below 1", "1 to 4", "5 to 14", "15 to 29", "30 to 44", "45 to 59", "60 to 74", "75 or above"];

/// First age of each bin but the first.
const AGE_CUTS: [u32; 7] = [1, 5, 15, 30, 45, 60, 75];

/// States of the sex.
const SEXES: [&str; 2] = ["M", "F"];

/// Oldest age that is believed.
const MAX_AGE: u32 = 150;

/// Most numbers of a table of rates.
const MAX_CELLS: usize = 1 << 26;

const COLUMNS: [&str; 6] = ["AGE", "DIFFERENTIAL_DIAGNOSIS", "SEX", "PATHOLOGY", "EVIDENCES", "INITIAL_EVIDENCE"];

/// A patient, with only what differs from the default.
#[derive(Clone, Debug, PartialEq)]
pub struct Patient {
    /// Number of the pathology.
    pub pathology: usize,
    /// Finding and state, ascending.
    pub present: Vec<(u32, u32)>,
    /// What is known from the start: age, sex and the complaint.
    pub given: Vec<u32>,
    /// Pathology and its probability, as listed.
    pub differential: Vec<(usize, f64)>,
}

/// Patients with what they can be asked and what they may have.
#[derive(Clone, Debug)]
pub struct Patients {
    /// What can be asked: the findings of all questions, then age and sex.
    pub findings: Arc<Vec<Finding>>,
    /// What can be declared.
    pub conditions: Arc<Conditions>,
    /// In file order.
    pub patients: Arc<Vec<Patient>>,
}

/// Reads the first `limit` patients; `file` is its name in messages.
///
/// # Errors
/// [`EnvError::Data`] with the line: a missing column, an unknown evidence, value or pathology, a list that is no Python
/// literal, an age or sex that is none, a probability outside 0 to 1, no patients.
pub fn read_patients(
    file: &str,
    bytes: &[u8],
    evidences: &Evidences,
    conditions: &Arc<Conditions>,
    limit: usize,
) -> Result<Patients, EnvError> {
    let mut reader = ReaderBuilder::new().from_reader(text(file, bytes)?.as_bytes());
    let at = |e: csv::Error| wrong(file, e.position().map_or(1, |p| p.line() as usize), e.to_string());
    let header = reader.headers().map_err(at)?.clone();
    let mut columns = [0; COLUMNS.len()];
    for (place, name) in columns.iter_mut().zip(COLUMNS) {
        let found = header.iter().position(|h| h.trim().trim_start_matches('\u{feff}') == name);
        let expected = || format!("there is no column {name}, expected {}", COLUMNS.join(", "));
        *place = found.ok_or_else(|| wrong(file, 1, expected()))?;
    }
    let (mut patients, mut record) = (Vec::new(), StringRecord::new());
    while patients.len() < limit && reader.read_record(&mut record).map_err(at)? {
        let line = record.position().map_or(0, |p| p.line() as usize);
        let cells = columns.map(|c| record.get(c).unwrap_or_default());
        patients.push(patient(cells, evidences, conditions).map_err(|message| wrong(file, line, message))?);
    }
    if patients.is_empty() {
        return Err(wrong(file, 1, "no patients, expected at least one".to_owned()));
    }
    let mut findings = evidences.findings.clone();
    for (id, states) in [(AGE, &AGE_BINS[..]), (SEX, &SEXES[..])] {
        let states = states.iter().map(|&s| s.to_owned()).collect();
        let name = id.to_lowercase();
        findings.push(Finding {
            id: id.to_owned(),
            name,
            states,
            default: 0,
            kind: TestKind::Demographic,
            requires: None,
        });
    }
    Ok(Patients { findings: Arc::new(findings), conditions: Arc::clone(conditions), patients: Arc::new(patients) })
}

/// A patient from the cells in the order of [`COLUMNS`].
fn patient(cells: [&str; 6], evidences: &Evidences, conditions: &Conditions) -> Result<Patient, String> {
    let [age, differential, sex, pathology, listed, initial] = cells;
    let years = age.trim().parse::<u32>().ok().filter(|years| *years <= MAX_AGE);
    let years = years.ok_or_else(|| format!("AGE {age}, expected whole years from 0 to {MAX_AGE}"))?;
    let bin = AGE_CUTS.iter().filter(|cut| years >= **cut).count();
    let sex_state = SEXES.iter().position(|s| *s == sex.trim());
    let sex_state = sex_state.ok_or_else(|| format!("SEX {sex}, expected M or F"))?;
    let pathology = conditions.find(pathology.trim()).map_err(|e| format!("PATHOLOGY: {e}"))?;
    let mut present = Vec::new();
    for entry in strings(listed).map_err(|e| format!("EVIDENCES: {e}"))? {
        let state = evidences.parse(&entry).and_then(|(question, value)| Ok((question, question.state(value)?)));
        let (question, (finding, state)) = state.map_err(|e| format!("EVIDENCES: {e}"))?;
        // With another value of several, the one for "nothing" is absent.
        let nothing = question.first + question.default;
        if question.data_type == DataType::Multiple && finding != nothing {
            present.push((nothing as u32, 0));
        }
        present.push((finding as u32, state as u32));
    }
    present.sort_unstable();
    present.dedup();
    if let Some(twice) = present.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let id = &evidences.findings[twice[0].0 as usize].id;
        return Err(format!("EVIDENCES: {id} has two different values"));
    }
    let (age_at, sex_at) = (evidences.findings.len() as u32, evidences.findings.len() as u32 + 1);
    present.extend([(age_at, bin as u32), (sex_at, sex_state as u32)]);
    let mut given = vec![age_at, sex_at];
    if !initial.trim().is_empty() {
        let (question, value) = evidences.parse(initial.trim()).map_err(|e| format!("INITIAL_EVIDENCE: {e}"))?;
        match value {
            None => given.extend(question.range().map(|f| f as u32)),
            value => given.push(question.state(value).map_err(|e| format!("INITIAL_EVIDENCE: {e}"))?.0 as u32),
        }
    }
    let listed = if differential.trim().is_empty() { Ok(Vec::new()) } else { pairs(differential) };
    let listed = listed.map_err(|e| format!("DIFFERENTIAL_DIAGNOSIS: {e}"))?;
    let differential = listed.into_iter().map(|(name, p)| {
        if !(0.0..=1.0).contains(&p) {
            return Err(format!("DIFFERENTIAL_DIAGNOSIS: {name} has probability {p}, expected 0 to 1"));
        }
        Ok((conditions.find(&name).map_err(|e| format!("DIFFERENTIAL_DIAGNOSIS: {e}"))?, p))
    });
    Ok(Patient { pathology, present, given, differential: differential.collect::<Result<_, _>>()? })
}

impl Patients {
    /// Those whose number in the file `kept` accepts.
    #[must_use]
    pub fn filtered(&self, kept: impl Fn(usize) -> bool) -> Self {
        let numbered = self.patients.iter().enumerate().filter(|(i, _)| kept(*i));
        Self { patients: Arc::new(numbered.map(|(_, patient)| patient.clone()).collect()), ..self.clone() }
    }

    /// Everything about a patient.
    #[must_use]
    pub fn case(&self, patient: &Patient) -> Case {
        let mut findings: Vec<Option<usize>> = self.findings.iter().map(|f| Some(f.default)).collect();
        patient.present.iter().for_each(|&(finding, state)| findings[finding as usize] = Some(state as usize));
        Case { diagnosis: patient.pathology, findings, given: patient.given.iter().map(|&f| f as usize).collect() }
    }

    /// The problem of diagnosing these patients, with rates estimated from `training` patients as the model.
    ///
    /// # Errors
    /// [`EnvError`] if the two were read with different questions or conditions, or are too large.
    pub fn problem(&self, name: &str, training: &Self) -> Result<Problem, EnvError> {
        if self.findings != training.findings || self.conditions != training.conditions {
            let message = "the training patients have other questions or conditions".to_owned();
            return Err(EnvError::Data { file: name.to_owned(), message });
        }
        self.with(name, Arc::new(self.clone()), training.estimate(name)?)
    }

    /// The problem of diagnosing patients that are drawn from the rates of these, findings independent given the
    /// pathology.
    ///
    /// # Errors
    /// [`EnvError`] if the table of rates would be too large.
    pub fn rates(&self, name: &str) -> Result<Problem, EnvError> {
        let model = self.estimate(name)?;
        self.with(name, Arc::new(model.clone()), model)
    }

    fn with(&self, name: &str, source: Arc<dyn CaseSource>, model: Composite) -> Result<Problem, EnvError> {
        let problem = Problem {
            name: name.to_owned(),
            diagnoses: self.conditions.diagnoses.clone(),
            findings: self.findings.to_vec(),
            source,
            model: Some(Arc::new(model)),
        };
        problem.validate()?;
        Ok(problem)
    }

    /// P(state | pathology) by counts plus one half, P(pathology) by counts plus one.
    fn estimate(&self, name: &str) -> Result<Composite, EnvError> {
        let classes = self.conditions.diagnoses.len();
        let invalid = |message: String| EnvError::Data { file: name.to_owned(), message };
        let cells = self.findings.iter().map(|f| f.states.len()).sum::<usize>() * classes;
        if cells > MAX_CELLS {
            return Err(invalid(format!("{cells} rates, expected at most {MAX_CELLS}")));
        }
        let mut prior = vec![1.0; classes];
        let mut tables: Vec<Vec<f64>> = self.findings.iter().map(|f| vec![0.5; f.states.len() * classes]).collect();
        let mut listed = vec![vec![0.0; classes]; tables.len()];
        for patient in self.patients.iter() {
            prior[patient.pathology] += 1.0;
            for &(finding, state) in &patient.present {
                tables[finding as usize][state as usize * classes + patient.pathology] += 1.0;
                listed[finding as usize][patient.pathology] += 1.0;
            }
        }
        for ((table, finding), listed) in tables.iter_mut().zip(self.findings.iter()).zip(&listed) {
            for class in 0..classes {
                let patients = prior[class] - 1.0;
                // The patients that do not list it have it in its default state.
                table[finding.default * classes + class] += patients - listed[class];
                let sum = patients + 0.5 * finding.states.len() as f64;
                table.iter_mut().skip(class).step_by(classes).for_each(|p| *p /= sum);
            }
        }
        let model = CompositeModel::new(classes, prior, (0..classes).collect(), tables);
        Ok(Composite::new(model.map_err(|e| invalid(e.to_string()))?))
    }
}

impl CaseSource for Patients {
    fn draw(&self, rng: &mut StreamRng) -> Case {
        self.case(&self.patients[rng.below(self.patients.len())])
    }

    fn listed(&self) -> Option<usize> {
        Some(self.patients.len())
    }

    fn max_given(&self) -> usize {
        self.patients.iter().map(|p| p.given.len()).max().unwrap_or_default()
    }
}
