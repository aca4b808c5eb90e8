//! Which rows are for training and which for testing.

use super::{RawTable, wrong};
use retune::env::EnvError;
use retune::rng::Seed;
use std::collections::BTreeMap;

/// Number of the fold of each row: each diagnosis is spread evenly over `k` folds, in random order.
///
/// # Errors
/// [`EnvError::Config`] for fewer than two folds; [`EnvError::Data`] for a row without a diagnosis, or a diagnosis with
/// one row, which could only be tested where it was never seen.
pub fn stratified_folds(table: &RawTable, diagnosis: &str, k: usize, seed: u64) -> Result<Vec<usize>, EnvError> {
    if k < 2 {
        let (key, value, expected) = ("folds".to_owned(), k.to_string(), "at least 2".to_owned());
        return Err(EnvError::Config { key, value, expected });
    }
    let column = table.column(diagnosis)?;
    let mut by_class: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, row) in table.rows.iter().enumerate() {
        let missing = || wrong(&table.file, row.line, format!("{diagnosis}: the diagnosis is missing"));
        by_class.entry(row.cells[column].as_deref().ok_or_else(missing)?).or_default().push(i);
    }
    let mut folds = vec![0; table.rows.len()];
    let mut rng = Seed::root(seed).child("diag_query").child("folds").rng();
    let mut next = 0;
    for (class, mut rows) in by_class {
        if let [only] = rows[..] {
            let message = format!("{diagnosis}: {class} has one case, expected at least 2 for training and testing");
            return Err(wrong(&table.file, table.rows[only].line, message));
        }
        for i in (1..rows.len()).rev() {
            rows.swap(i, rng.below(i + 1));
        }
        // Going on where the last class ended keeps the folds of equal size.
        for row in rows {
            folds[row] = next % k;
            next += 1;
        }
    }
    Ok(folds)
}

/// Rows by the value of a column, such as a hospital or a given split, in value order.
///
/// # Errors
/// [`EnvError::Data`] if there is no such column, or a row has no value in it.
pub fn split_by_column(table: &RawTable, column: &str) -> Result<BTreeMap<String, Vec<usize>>, EnvError> {
    let at = table.column(column)?;
    let mut parts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, row) in table.rows.iter().enumerate() {
        let missing = || wrong(&table.file, row.line, format!("{column}: no value, expected the part it belongs to"));
        parts.entry(row.cells[at].clone().ok_or_else(missing)?).or_default().push(i);
    }
    Ok(parts)
}
