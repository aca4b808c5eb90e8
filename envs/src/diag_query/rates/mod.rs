//! Tables of P(finding | disease): sparse ones over many diseases, one's own in CSV or JSON, and the Human Phenotype
//! Ontology's.

mod hpo;
mod obo;
mod sparse;
mod table;
#[cfg(test)]
mod tests;

pub use hpo::{HpoOptions, HpoTable, read_hpoa};
pub use obo::{Ontology, read_obo};
pub use sparse::{SparseModel, SparseRates};
pub use table::{BACKGROUND, RateTable, read_rates, read_rates_json};

use retune::env::EnvError;

/// An [`EnvError::Data`] that names a line.
pub(super) fn wrong(file: &str, line: usize, message: String) -> EnvError {
    EnvError::Data { file: file.to_owned(), message: format!("line {line}: {message}") }
}

/// The text of a file, or where it stops being text.
pub(super) fn text<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, EnvError> {
    std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        wrong(file, line, "not UTF-8 text".to_owned())
    })
}
