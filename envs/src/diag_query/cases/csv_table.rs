//! Tables in CSV.

use super::{ColumnKind, RawColumn, RawRow, RawTable, cell, text, wrong};
use csv::{ReaderBuilder, StringRecord};
use retune::env::EnvError;

/// Reads a table with a header line; `file` is its name in messages. Missing are empty cells, `?` and `NA`.
///
/// # Errors
/// [`EnvError::Data`] with the line.
pub fn read_csv(file: &str, bytes: &[u8]) -> Result<RawTable, EnvError> {
    let mut reader = ReaderBuilder::new().from_reader(text(file, bytes)?.as_bytes());
    let at = |e: csv::Error| {
        let line = e.position().map_or(1, |p| p.line() as usize);
        wrong(file, line, e.to_string())
    };
    let header = reader.headers().map_err(at)?.clone();
    let columns: Vec<RawColumn> =
        header.iter().map(|name| RawColumn { name: name.trim().to_owned(), kind: ColumnKind::Open }).collect();
    if columns.iter().any(|c| c.name.is_empty()) || columns.is_empty() {
        return Err(wrong(file, 1, "a column has no name, expected a header with a name for each".to_owned()));
    }
    let (mut rows, mut record) = (Vec::new(), StringRecord::new());
    while reader.read_record(&mut record).map_err(at)? {
        let line = record.position().map_or(0, |p| p.line() as usize);
        rows.push(RawRow { line, cells: record.iter().map(cell).collect() });
    }
    RawTable { file: file.to_owned(), columns, rows }.checked()
}
