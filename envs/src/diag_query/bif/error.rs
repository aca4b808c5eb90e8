//! What can be wrong with a BIF file.

use std::fmt;

/// What is wrong with a BIF file, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{file}, line {line}: {kind}")]
pub struct BifError {
    /// The file, as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: BifErrorKind,
}

/// Kinds of [`BifError`]; each message names what was found and what would be right.
#[derive(Clone, Debug, PartialEq)]
pub enum BifErrorKind {
    /// The bytes are not UTF-8 text.
    NotText {
        /// Offset of the first byte that is not.
        offset: usize,
    },
    /// The file ends inside something.
    UnexpectedEof {
        /// What should have followed.
        expected: String,
    },
    /// Something else was expected here.
    Syntax {
        /// What was found.
        found: String,
        /// What should have been.
        expected: String,
    },
    /// There is no variable.
    EmptyNetwork,
    /// Two variables of one name, or one parent named twice.
    DuplicateVariable {
        /// Its name.
        name: String,
        /// Line of the first.
        first_line: usize,
    },
    /// Two states of one name.
    DuplicateState {
        /// The variable.
        variable: String,
        /// The state.
        state: String,
    },
    /// The number in brackets is not the number of names.
    StateCountMismatch {
        /// The variable.
        variable: String,
        /// The number in brackets.
        declared: u64,
        /// Names in braces.
        listed: usize,
    },
    /// More states than the limit.
    CardinalityTooLarge {
        /// The variable.
        variable: String,
        /// The number in brackets.
        states: u64,
        /// [`super::BifLimits::max_states`].
        limit: usize,
    },
    /// A table, or all tables together, would not fit the limit.
    TableTooLarge {
        /// The variable whose table goes beyond it.
        variable: String,
        /// Cells it would take; `None` beyond 2^64.
        cells: Option<u64>,
        /// The limit.
        limit: usize,
        /// Whether the limit is that of all tables together.
        together: bool,
    },
    /// A name that no variable has.
    UnknownVariable {
        /// The name.
        name: String,
        /// Some names that would do.
        known: Vec<String>,
    },
    /// A name that no state of the variable has.
    UnknownState {
        /// The variable.
        variable: String,
        /// The name.
        state: String,
        /// Some names that would do.
        known: Vec<String>,
    },
    /// A row has a wrong number of keys or of probabilities.
    WrongArity {
        /// The variable whose table it is.
        variable: String,
        /// What was counted: `states in the key` or `probabilities`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A combination of parent states without a row, and no `default`.
    MissingRow {
        /// The variable.
        variable: String,
        /// The combination, in parent order; empty if there are no parents.
        key: Vec<String>,
    },
    /// Two rows for one combination of parent states.
    DuplicateRow {
        /// The variable.
        variable: String,
        /// The combination, `table` or `default`.
        key: String,
    },
    /// A variable without a `probability` block.
    MissingProbability {
        /// The variable.
        variable: String,
    },
    /// Two `probability` blocks for one variable.
    DuplicateProbability {
        /// The variable.
        variable: String,
        /// Line of the first.
        first_line: usize,
    },
    /// A number that is no probability.
    InvalidProbability {
        /// The variable.
        variable: String,
        /// The number, as written.
        value: String,
    },
    /// A row that does not sum to one.
    RowSum {
        /// The variable.
        variable: String,
        /// Its sum.
        sum: f64,
    },
    /// Variables that are their own ancestors.
    Cycle {
        /// Names, each a parent of the next, the first again at the end.
        path: Vec<String>,
    },
    /// Something of BIF that this reader does not take.
    Unsupported {
        /// What it is and what to write instead.
        what: String,
    },
}

impl fmt::Display for BifErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText { offset } => write!(f, "not text: byte {offset} is not UTF-8; expected a BIF text file"),
            Self::UnexpectedEof { expected } => write!(f, "the file ends here, expected {expected}"),
            Self::Syntax { found, expected } => write!(f, "found {found}, expected {expected}"),
            Self::EmptyNetwork => f.write_str("no variable; expected at least one `variable NAME { … }`"),
            Self::DuplicateVariable { name, first_line } => {
                write!(f, "{name} stands here a second time (first on line {first_line}), expected distinct names")
            }
            Self::DuplicateState { variable, state } => {
                write!(f, "state {state} of {variable} stands here a second time, expected distinct names")
            }
            Self::StateCountMismatch { variable, declared, listed } => {
                write!(f, "{variable} declares {declared} states and names {listed}, expected equal numbers")
            }
            Self::CardinalityTooLarge { variable, states, limit } => {
                write!(f, "{variable} declares {states} states, expected at most {limit}")
            }
            Self::TableTooLarge { variable, cells, limit, together } => {
                let cells = cells.map_or_else(|| "more than 2^64".to_owned(), |c| c.to_string());
                let whole = if *together { "all tables up to that of " } else { "the table of " };
                write!(f, "{whole}{variable} would take {cells} cells, expected at most {limit}")
            }
            Self::UnknownVariable { name, known } => {
                write!(f, "there is no variable {name}, expected one of {}", known.join(", "))
            }
            Self::UnknownState { variable, state, known } => {
                write!(f, "{variable} has no state {state}, expected one of {}", known.join(", "))
            }
            Self::WrongArity { variable, what, found, expected } => {
                write!(f, "{variable}: {found} {what}, expected {expected}")
            }
            Self::MissingRow { variable, key } if key.is_empty() => {
                write!(f, "{variable} has no row, expected `table` and a probability for each state")
            }
            Self::MissingRow { variable, key } => {
                write!(f, "{variable} has no row for ({}), expected one or a `default`", key.join(", "))
            }
            Self::DuplicateRow { variable, key } => {
                write!(f, "{variable} has a second row for {key}, expected one")
            }
            Self::MissingProbability { variable } => {
                write!(f, "{variable} has no probabilities, expected a block `probability ( {variable} … )`")
            }
            Self::DuplicateProbability { variable, first_line } => {
                write!(f, "a second block of probabilities for {variable} (first on line {first_line}), expected one")
            }
            Self::InvalidProbability { variable, value } => {
                write!(f, "{variable}: {value} is no probability, expected a number from 0 to 1")
            }
            Self::RowSum { variable, sum } => {
                write!(f, "{variable}: this row sums to {sum}, expected 1 within 1e-4")
            }
            Self::Cycle { path } => write!(f, "{} is a cycle, expected arcs without one", path.join(" → ")),
            Self::Unsupported { what } => write!(f, "unsupported: {what}"),
        }
    }
}
