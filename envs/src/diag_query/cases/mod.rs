//! Real cases: tables in CSV or ARFF, and recorded dialogues.
//!
//! A table becomes cases in two steps. [`Coding::fit`] looks at the training rows alone and settles states, cuts and
//! diagnoses; [`Coding::case`] applies that to any row. So nothing about a test case reaches cuts or priors.

mod arff;
mod coding;
mod csv_table;
mod dialogue;
mod folds;
#[cfg(test)]
mod tests;

pub use arff::read_arff;
pub use coding::{Code, Coding, CodingOptions, Unseen};
pub use csv_table::read_csv;
pub use dialogue::{Dialogues, read_dialogues};
pub use folds::{split_by_column, stratified_folds};

use retune::env::EnvError;

/// A table as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct RawTable {
    /// The file, for messages.
    pub file: String,
    /// Columns in file order.
    pub columns: Vec<RawColumn>,
    /// Rows in file order; at least one.
    pub rows: Vec<RawRow>,
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct RawColumn {
    /// Name, unique in the table.
    pub name: String,
    /// What the file says about its values.
    pub kind: ColumnKind,
}

/// What a file says about the values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnKind {
    /// Nothing.
    Open,
    /// One of these.
    Nominal(Vec<String>),
    /// Numbers.
    Numeric,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct RawRow {
    /// Line in the file, from 1.
    pub line: usize,
    /// One value a column; `None` where it is missing.
    pub cells: Vec<Option<String>>,
}

impl RawTable {
    /// Number of the column with this name.
    ///
    /// # Errors
    /// [`EnvError::Data`] naming some columns there are.
    pub fn column(&self, name: &str) -> Result<usize, EnvError> {
        self.columns.iter().position(|c| c.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).take(12).collect();
            wrong(&self.file, 1, format!("there is no column {name}, expected one of {}", known.join(", ")))
        })
    }

    fn checked(self) -> Result<Self, EnvError> {
        for (i, column) in self.columns.iter().enumerate() {
            if self.columns[..i].iter().any(|c| c.name == column.name) {
                return Err(wrong(&self.file, 1, format!("two columns are called {}", column.name)));
            }
        }
        if self.rows.is_empty() {
            return Err(wrong(&self.file, 1, "there are no cases, expected at least one".to_owned()));
        }
        Ok(self)
    }
}

/// An [`EnvError::Data`] that names a line.
fn wrong(file: &str, line: usize, message: String) -> EnvError {
    EnvError::Data { file: file.to_owned(), message: format!("line {line}: {message}") }
}

/// The text of a file, or where it stops being text.
fn text<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, EnvError> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        wrong(file, line, "not UTF-8 text".to_owned())
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// A cell: missing if empty, `?` or `NA`.
fn cell(value: &str) -> Option<String> {
    let value = value.trim();
    if matches!(value, "" | "?" | "NA") { None } else { Some(value.to_owned()) }
}
