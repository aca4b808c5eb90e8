//! Recorded patients of DDXPlus, split for training and measuring.

use super::config::DataSettings;
use super::tables::Parts;
use super::world::{Hashes, file_stem, read};
use crate::failure::bad_input;
use anyhow::Result;
use retune_envs::diag_query::ddxplus::{Patients, read_conditions, read_evidences, read_patients};
use retune_envs::diag_query::problem::Problem;
use std::path::Path;
use std::sync::Arc;

/// Tables of patients in the release: to train, to choose thresholds by, to be measured on.
const PARTS: [&str; 3] = ["train", "validate", "test"];

/// The release with the patients that are used of it.
pub struct Recorded {
    name: String,
    train: Patients,
    validation: Option<Patients>,
    test: Option<Patients>,
    folds: usize,
    validation_share: f64,
}

impl Recorded {
    /// The release in the folder that the settings name; `None` if they name none.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] or [`retune::env::EnvError`] naming the file and the line.
    pub fn new(data: &DataSettings, hashes: &mut Hashes) -> Result<Option<Self>> {
        if data.ddxplus.is_empty() {
            return Ok(None);
        }
        let folder = Path::new(&data.ddxplus);
        let mut file = |name: &str| -> Result<(String, Vec<u8>)> {
            let path = folder.join(name).display().to_string();
            let bytes = read("--ddxplus", &path)?;
            hashes.add(name, &bytes);
            Ok((path, bytes))
        };
        let (path, bytes) = file("release_evidences.json")?;
        let evidences = read_evidences(&path, &bytes)?;
        let (path, bytes) = file("release_conditions.json")?;
        let conditions = Arc::new(read_conditions(&path, &bytes)?);
        let limit = if data.max_patients == 0 { usize::MAX } else { data.max_patients };
        let mut parts = Vec::new();
        for part in PARTS {
            // Unpacked from the archives of the release, tables have no ending.
            let names = [format!("release_{part}_patients.csv"), format!("release_{part}_patients")];
            if let Some(name) = names.iter().find(|name| folder.join(name).is_file()) {
                let (path, bytes) = file(name)?;
                parts.push((part, read_patients(&path, &bytes, &evidences, &conditions, limit)?));
            }
        }
        let take = |part: &str, parts: &mut Vec<(&str, Patients)>| {
            let at = parts.iter().position(|(name, _)| *name == part);
            at.map(|at| parts.remove(at).1)
        };
        let (validation, test) = (take("validate", &mut parts), take("test", &mut parts));
        // One table alone is all there is, whatever it is called.
        let (train, validation, test) = match (take("train", &mut parts), validation, test) {
            (Some(train), validation, test) => (train, validation, test),
            (None, Some(only), None) | (None, None, Some(only)) => (only, None, None),
            (None, Some(train), Some(test)) => (train, None, Some(test)),
            (None, None, None) => {
                return Err(bad_input(format!(
                    "--ddxplus {}: there are no patients, expected release_train_patients.csv, and if there are \
                     release_validate_patients.csv and release_test_patients.csv",
                    data.ddxplus
                )));
            }
        };
        let (name, folds, validation_share) = (file_stem(&data.ddxplus), data.folds, data.validation_share);
        Ok(Some(Self { name, train, validation, test, folds, validation_share }))
    }

    /// The problem of patients that are drawn from the rates of the training patients.
    ///
    /// # Errors
    /// If the table of rates would be too large.
    pub fn rates(&self) -> Result<Problem> {
        Ok(self.train.rates(&self.name)?)
    }

    /// The parts of a seed: the tables of the release; where one is missing, a share of the training patients.
    /// The attached model has the rates of those that agents train on.
    ///
    /// # Errors
    /// If a part would be empty.
    pub fn parts(&self, seed: u64) -> Result<Parts> {
        let (train, test) = match &self.test {
            Some(test) => (self.train.clone(), test.clone()),
            None => split(&self.train, self.folds, seed),
        };
        let (train, validation) = match &self.validation {
            Some(validation) => (train, validation.clone()),
            None => split(&train, (1.0 / self.validation_share).round().max(2.0) as usize, seed),
        };
        let smallest = [&train, &validation, &test].map(|part| part.patients.len()).into_iter().min();
        if smallest == Some(0) {
            let found = self.train.patients.len();
            return Err(bad_input(format!("--ddxplus {}: {found} patients cannot be split, expected more", self.name)));
        }
        let problem = |patients: &Patients| patients.problem(&self.name, &train);
        Ok(Parts { train: problem(&train)?, validation: problem(&validation)?, test: problem(&test)? })
    }
}

/// All but every `every`-th patient, and these.
fn split(patients: &Patients, every: usize, seed: u64) -> (Patients, Patients) {
    let (every, at) = (every as u64, seed % every as u64);
    let picked = |i: usize| i as u64 % every == at;
    (patients.filtered(|i| !picked(i)), patients.filtered(picked))
}
