//! Files beside networks: cases, dialogues, costs and utilities.

use super::config::DiagQuerySettings;
use super::world::{Hashes, file_stem, read};
use crate::failure::bad_input;
use anyhow::Result;
use retune::rng::Seed;
use retune_envs::diag_query::cases::{
    Coding, CodingOptions, Dialogues, RawTable, Unseen, read_arff, read_csv, read_dialogues, stratified_folds,
};
use retune_envs::diag_query::env::{Costs, MAX_COST, Utility};
use retune_envs::diag_query::problem::{Case, Problem};
use std::collections::BTreeMap;

/// A file of cases, split by seed.
pub struct Table {
    name: String,
    kind: Kind,
    root: Seed,
    validation_share: f64,
}

enum Kind {
    /// Rows with the fold of each, and how they become cases.
    Rows { table: RawTable, folds: Vec<usize>, num_folds: usize, options: CodingOptions },
    /// Recorded dialogues; the second file, if there is one, is to be measured on.
    Dialogues { dialogues: Dialogues, num_folds: usize },
}

/// The parts of one seed.
pub struct Parts {
    /// To train in.
    pub train: Problem,
    /// Training cases that the attached model was not fitted to.
    pub validation: Problem,
    /// To be measured on.
    pub test: Problem,
}

/// Makes the problem of diagnosing some cases with a model fitted to others.
type MakeProblem<'a> = &'a dyn Fn(Vec<Case>, &[Case]) -> Result<Problem>;

impl Table {
    /// The file of cases that the settings name; `None` if they name another source.
    ///
    /// # Errors
    /// [`crate::failure::BadInput`] or [`retune::env::EnvError`] naming the file and the line.
    pub fn new(config: &DiagQuerySettings, files: &mut Hashes) -> Result<Option<Self>> {
        let data = &config.data;
        let made = |name: String, kind| {
            let root = Seed::root(config.seed).child("diag_query").child("parts");
            Ok(Some(Self { name, kind, root, validation_share: data.validation_share }))
        };
        if !data.dialogues.is_empty() {
            let train = read("--dialogues", &data.dialogues)?;
            let mut named = vec![(data.dialogues.as_str(), train.as_slice())];
            let test = if data.test_dialogues.is_empty() {
                Vec::new()
            } else {
                read("data.test_dialogues", &data.test_dialogues)?
            };
            if !data.test_dialogues.is_empty() {
                files.add("test_dialogues", &test);
                named.push((data.test_dialogues.as_str(), test.as_slice()));
            }
            let dialogues = read_dialogues(&named)?;
            files.add("dialogues", &train);
            return made(file_stem(&data.dialogues), Kind::Dialogues { dialogues, num_folds: data.folds });
        }
        let soybean = config.env.problem == "soybean" && data.own().is_empty();
        if data.cases.is_empty() && !soybean {
            return Ok(None);
        }
        let (file, bytes) = if soybean {
            ("soybean.arff".to_owned(), retune_assets::soybean::ARFF.to_vec())
        } else {
            (data.cases.clone(), read("--cases", &data.cases)?)
        };
        let is_arff = file.to_ascii_lowercase().ends_with(".arff");
        let table = if is_arff { read_arff(&file, &bytes)? } else { read_csv(&file, &bytes)? };
        files.add("cases", &bytes);
        let last = table.columns.last().map(|c| c.name.clone()).unwrap_or_default();
        let diagnosis = if data.diagnosis.is_empty() { last } else { data.diagnosis.clone() };
        let folds = stratified_folds(&table, &diagnosis, data.folds, config.seed)?;
        let options = CodingOptions {
            diagnosis: Some(diagnosis),
            skip: data.skip.clone(),
            bins: data.bins,
            unseen: Unseen::Missing,
            ..CodingOptions::default()
        };
        made(file_stem(&file), Kind::Rows { table, folds, num_folds: data.folds, options })
    }

    /// The parts of a seed, which is measured on the fold of that number (counted around).
    ///
    /// # Errors
    /// If a part cannot be used, such as one with a single diagnosis.
    pub fn parts(&self, seed: u64) -> Result<Parts> {
        match &self.kind {
            Kind::Rows { table, folds, num_folds, options } => {
                let fold = (seed % *num_folds as u64) as usize;
                let (testing, training): (Vec<usize>, Vec<usize>) =
                    (0..table.rows.len()).partition(|&row| folds[row] == fold);
                let coding = Coding::fit(table, &training, options)?;
                let (train, test) = (coding.cases(table, &training)?, coding.cases(table, &testing)?);
                self.split(seed, train, test, &|cases, fitted_to| Ok(coding.problem(&self.name, cases, fitted_to)?))
            }
            Kind::Dialogues { dialogues, num_folds } => {
                let (train, test) = match &dialogues.files[..] {
                    [train, test, ..] => (train.clone(), test.clone()),
                    [all] => {
                        let fold = seed % *num_folds as u64;
                        let numbered = all.iter().cloned().enumerate();
                        let (test, train): (Vec<_>, Vec<_>) =
                            numbered.partition(|(i, _)| *i as u64 % *num_folds as u64 == fold);
                        let cases = |part: Vec<(usize, Case)>| part.into_iter().map(|(_, case)| case).collect();
                        (cases(train), cases(test))
                    }
                    [] => return Err(bad_input("--dialogues: there are none")),
                };
                self.split(seed, train, test, &|cases, fitted_to| Ok(dialogues.problem(&self.name, cases, fitted_to)?))
            }
        }
    }

    fn split(&self, seed: u64, train: Vec<Case>, test: Vec<Case>, problem: MakeProblem<'_>) -> Result<Parts> {
        let mut order: Vec<usize> = (0..train.len()).collect();
        let mut rng = self.root.child("validation").index(seed).rng();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i + 1));
        }
        let held_out = ((train.len() as f64 * self.validation_share).round() as usize).clamp(1, train.len());
        let (validation, rest) = order.split_at(held_out);
        let take = |rows: &[usize]| -> Vec<Case> { rows.iter().map(|&i| train[i].clone()).collect() };
        Ok(Parts {
            validation: problem(take(validation), &take(rest))?,
            test: problem(test, &train)?,
            train: problem(train.clone(), &train)?,
        })
    }
}

/// What answers cost: `unit`, `clinical`, or a CSV file with a finding and its cost on every line.
///
/// # Errors
/// [`crate::failure::BadInput`] naming the file and the line.
pub fn costs(name: &str, files: &mut Hashes) -> Result<Costs> {
    match name {
        "unit" => return Ok(Costs::Unit),
        "clinical" => return Ok(Costs::Clinical),
        _ => {}
    }
    let mut costs = BTreeMap::new();
    for (line, cells) in lines("--costs", name, files, "costs")? {
        let wrong = |what: &str| bad_input(format!("{name}: line {line}: {what}"));
        let [finding, cost] = &cells[..] else {
            return Err(wrong(&format!("{} values, expected a finding and its cost", cells.len())));
        };
        let Ok(cost) = cost.parse::<f64>() else {
            return Err(wrong(&format!("{finding}: {cost} is no number, expected a cost from 0 to {MAX_COST}")));
        };
        if !(0.0..=MAX_COST).contains(&cost) {
            return Err(wrong(&format!("{finding}: a cost of {cost}, expected a number from 0 to {MAX_COST}")));
        }
        if costs.insert(finding.clone(), cost).is_some() {
            return Err(wrong(&format!("{finding} stands twice")));
        }
    }
    Ok(Costs::Map(costs))
}

/// Names that come with the program, for the problem `child`.
const CHILD_NAMES: &str = include_str!("../../presets/diag_query/child_names.csv");

/// Other names of findings and diagnoses by id: none, those of `child`, or a CSV file with an id and a name on every line.
///
/// # Errors
/// [`crate::failure::BadInput`] naming the file and the line.
pub fn names(name: &str, files: &mut Hashes) -> Result<BTreeMap<String, String>> {
    let read = match name {
        "" => return Ok(BTreeMap::new()),
        "child" => {
            files.add("names", CHILD_NAMES.as_bytes());
            split_lines(CHILD_NAMES)
        }
        file => lines("eval.names", file, files, "names")?,
    };
    let mut names = BTreeMap::new();
    for (line, cells) in read {
        let wrong = |what: &str| bad_input(format!("eval.names {name}: line {line}: {what}"));
        let [id, other] = &cells[..] else {
            return Err(wrong(&format!("{} values, expected an id and a name", cells.len())));
        };
        if other.is_empty() || names.insert(id.clone(), other.clone()).is_some() {
            return Err(wrong(&format!("{id} has no name or stands twice")));
        }
    }
    if names.is_empty() {
        return Err(bad_input(format!("eval.names {name}: no names, expected an id and a name on every line")));
    }
    Ok(names)
}

/// What declaring is worth: `simple`, `severity`, or a CSV file with a row for each true diagnosis.
///
/// # Errors
/// [`crate::failure::BadInput`] naming the file and the line.
pub fn utility(name: &str, kappa: f64, files: &mut Hashes) -> Result<Utility> {
    match name {
        "simple" => return Ok(Utility::Simple),
        "severity" => return Ok(Utility::Severity { kappa }),
        _ => {}
    }
    let mut rows = Vec::new();
    for (line, cells) in lines("env.utility", name, files, "utility")? {
        let numbers: Option<Vec<f64>> = cells.iter().map(|c| c.parse().ok().filter(|u: &f64| u.is_finite())).collect();
        rows.push(numbers.ok_or_else(|| bad_input(format!("{name}: line {line}: expected finite numbers")))?);
    }
    Ok(Utility::Matrix(rows))
}

/// A line of a file by its number, and its cells.
type Line = (usize, Vec<String>);

/// The lines of a small file of commas; empty ones and those that begin with `#` are left out.
fn lines(option: &str, file: &str, files: &mut Hashes, kept: &str) -> Result<Vec<Line>> {
    let bytes = read(option, file)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| bad_input(format!("{option} {file}: not UTF-8 text")))?;
    files.add(kept, &bytes);
    Ok(split_lines(text))
}

fn split_lines(text: &str) -> Vec<Line> {
    let used = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let split = |line: &str| line.split(',').map(|cell| cell.trim().to_owned()).collect();
    used.map(|(i, line)| (i + 1, split(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("costs.csv");
        std::fs::write(&path, text).expect("written");
        costs(&path.display().to_string(), &mut Hashes::default()).map_or_else(|e| e.to_string(), |c| format!("{c:?}"))
    }

    #[test]
    fn costs_are_read_and_mistakes_named_with_their_line() {
        assert!(message("# cost of a test\nsmoke, 0.5\n\nxray,5\n").contains("\"smoke\": 0.5"));
        assert!(message("smoke,0.5\nxray,-1\n").contains("line 2: xray: a cost of -1"));
        assert!(message("smoke,nan\n").contains("line 1"));
        assert!(message("smoke,1e300\n").contains("from 0 to 1000000"));
        assert!(message("smoke,1e6\n").contains("\"smoke\": 1000000.0"));
        assert!(message("smoke\n").contains("line 1: 1 values"));
        assert!(message("smoke,1\nsmoke,2\n").contains("line 2: smoke stands twice"));
    }
}
