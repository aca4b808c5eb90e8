//! Bayesian networks from BIF, the text form of the bnlearn repository.
//!
//! ```text
//! file     = { network | variable | probability } ;                 // any order; // and /* */ comments
//! network  = "network" [name] "{" {property} "}" ;
//! variable = "variable" name "{" {property} "type" "discrete" "[" int "]" "{" name {"," name} "}" ";" {property} "}" ;
//! probability = "probability" "(" name ["|" name {"," name}] ")" "{" {property | row} "}" ;
//! row      = "table" nums ";" | "(" name {"," name} ")" nums ";" | "default" nums ";" ;
//! ```
//!
//! The key of a row has the order of the parents in the head, its numbers that of the states. A `default` row stands
//! for every combination without one. A flat `table` for a variable with parents is refused, because dialects
//! disagree on its order. Every row is divided by its sum, which may miss one by at most 1e-4.

mod build;
mod error;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

pub use error::{BifError, BifErrorKind};

use super::network::Network;

/// How large a network may be. Checked before memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BifLimits {
    /// States of one variable.
    pub max_states: usize,
    /// Cells of one table.
    pub max_table_cells: usize,
    /// Cells of all tables together: a `default` row of a few bytes can stand for a whole table.
    pub max_total_cells: usize,
}

impl Default for BifLimits {
    /// 4,096 states; 2^26 cells a table and 2^27 together (one gibibyte).
    fn default() -> Self {
        Self { max_states: 4096, max_table_cells: 1 << 26, max_total_cells: 1 << 27 }
    }
}

/// Reads a network; `file` is its name in messages.
///
/// # Errors
/// [`BifError`] with the line and what would be right.
pub fn read(file: &str, bytes: &[u8], limits: &BifLimits) -> Result<Network, BifError> {
    let not_text = |offset: usize| {
        let line = 1 + bytes[..offset].iter().filter(|&&b| b == b'\n').count();
        BifError { file: file.to_owned(), line, kind: BifErrorKind::NotText { offset } }
    };
    let text = std::str::from_utf8(bytes).map_err(|e| not_text(e.valid_up_to()))?;
    if let Some(offset) = text.find('\0') {
        return Err(not_text(offset));
    }
    let ast = parser::parse(file, text, limits)?;
    build::build(file, &ast, limits)
}
