//! Declarations to a network: names are looked up and every limit is checked before its table is allocated.

use super::BifLimits;
use super::error::{BifError, BifErrorKind};
use super::parser::{Ast, Block, Row, RowKey};
use crate::diag_query::network::{Network, Variable};
use std::collections::HashMap;

/// Rows may miss a sum of one by this much; they are then divided by their sum.
const ROW_TOLERANCE: f64 = 1e-4;
/// Names shown where an unknown one was used.
const NAMES_SHOWN: usize = 8;

pub fn build(file: &str, ast: &Ast<'_>, limits: &BifLimits) -> Result<Network, BifError> {
    let builder = Builder { file, ast, index: HashMap::with_capacity(ast.variables.len()) };
    builder.build(limits)
}

struct Builder<'a> {
    file: &'a str,
    ast: &'a Ast<'a>,
    index: HashMap<&'a str, usize>,
}

impl<'a> Builder<'a> {
    fn build(mut self, limits: &BifLimits) -> Result<Network, BifError> {
        if self.ast.variables.is_empty() {
            return Err(self.error(self.ast.last_line, BifErrorKind::EmptyNetwork));
        }
        for (i, variable) in self.ast.variables.iter().enumerate() {
            if let Some(first) = self.index.insert(variable.name.value, i) {
                let first_line = self.ast.variables[first].name.line;
                let kind = BifErrorKind::DuplicateVariable { name: variable.name.value.to_owned(), first_line };
                return Err(self.error(variable.name.line, kind));
            }
        }
        let blocks = self.blocks()?;
        let parents = blocks.iter().map(|block| self.parents(block)).collect::<Result<Vec<_>, _>>()?;
        self.check_sizes(&blocks, &parents, limits)?;
        let mut variables = Vec::with_capacity(blocks.len());
        for (v, (block, parents)) in blocks.iter().zip(parents).enumerate() {
            let table = self.table(v, block, &parents)?;
            let states = self.ast.variables[v].states.iter().map(|&s| s.to_owned()).collect();
            variables.push(Variable { name: self.name(v).to_owned(), states, parents, table });
        }
        let names: Vec<String> = variables.iter().map(|v| v.name.clone()).collect();
        Network::new(self.ast.name.to_owned(), variables).map_err(|cycle| {
            let path = cycle.iter().chain(cycle.first()).map(|&v| names[v].clone()).collect();
            self.error(cycle.first().map_or(1, |&v| blocks[v].variable.line), BifErrorKind::Cycle { path })
        })
    }

    fn error(&self, line: usize, kind: BifErrorKind) -> BifError {
        BifError { file: self.file.to_owned(), line, kind }
    }

    fn name(&self, variable: usize) -> &'a str {
        self.ast.variables[variable].name.value
    }

    fn num_states(&self, variable: usize) -> usize {
        self.ast.variables[variable].states.len()
    }

    fn find(&self, name: &str, line: usize) -> Result<usize, BifError> {
        self.index.get(name).copied().ok_or_else(|| {
            let known = shown(self.ast.variables.iter().map(|v| v.name.value));
            self.error(line, BifErrorKind::UnknownVariable { name: name.to_owned(), known })
        })
    }

    /// The block of each variable, in variable order.
    fn blocks(&self) -> Result<Vec<&'a Block<'a>>, BifError> {
        let mut blocks: Vec<Option<&Block<'a>>> = vec![None; self.ast.variables.len()];
        for block in &self.ast.blocks {
            let slot = &mut blocks[self.find(block.variable.value, block.variable.line)?];
            if let Some(first) = slot {
                let (variable, first_line) = (block.variable.value.to_owned(), first.variable.line);
                let kind = BifErrorKind::DuplicateProbability { variable, first_line };
                return Err(self.error(block.variable.line, kind));
            }
            *slot = Some(block);
        }
        let declared = blocks.into_iter().zip(&self.ast.variables);
        let found = declared.map(|(block, v)| {
            let variable = v.name.value.to_owned();
            block.ok_or_else(|| self.error(v.name.line, BifErrorKind::MissingProbability { variable }))
        });
        found.collect()
    }

    fn parents(&self, block: &Block<'_>) -> Result<Vec<usize>, BifError> {
        let mut parents = Vec::with_capacity(block.parents.len());
        for (i, parent) in block.parents.iter().enumerate() {
            let number = self.find(parent.value, parent.line)?;
            if let Some(first) = parents.iter().position(|&p| p == number) {
                let first_line = block.parents[..i][first].line;
                let kind = BifErrorKind::DuplicateVariable { name: parent.value.to_owned(), first_line };
                return Err(self.error(parent.line, kind));
            }
            parents.push(number);
        }
        Ok(parents)
    }

    fn check_sizes(&self, blocks: &[&Block<'_>], parents: &[Vec<usize>], limits: &BifLimits) -> Result<(), BifError> {
        let mut total: Option<u64> = Some(0);
        for (v, (block, parents)) in blocks.iter().zip(parents).enumerate() {
            let mut dims = parents.iter().chain([&v]).map(|&p| self.num_states(p) as u64);
            let cells = dims.try_fold(1u64, u64::checked_mul);
            total = total.zip(cells).and_then(|(total, cells)| total.checked_add(cells));
            let checks = [(cells, limits.max_table_cells, false), (total, limits.max_total_cells, true)];
            for (cells, limit, together) in checks {
                if cells.is_none_or(|c| c > limit as u64) {
                    let variable = self.name(v).to_owned();
                    let kind = BifErrorKind::TableTooLarge { variable, cells, limit, together };
                    return Err(self.error(block.variable.line, kind));
                }
            }
        }
        Ok(())
    }

    fn table(&self, v: usize, block: &Block<'_>, parents: &[usize]) -> Result<Vec<f64>, BifError> {
        let states = self.num_states(v);
        let rows: usize = parents.iter().map(|&p| self.num_states(p)).product();
        let mut table = vec![0.0; rows * states];
        let mut given = vec![false; rows];
        let mut default = None;
        for row in &block.rows {
            if row.key == RowKey::Table && !parents.is_empty() {
                let what = format!(
                    "a flat `table` for {}, which has parents (dialects disagree on its order); expected a row \
                     `(states of the parents) probabilities;` for each combination",
                    self.name(v)
                );
                return Err(self.error(row.line, BifErrorKind::Unsupported { what }));
            }
            let values = self.normalised(v, row)?;
            let at = match &row.key {
                RowKey::Default => {
                    if default.replace(values).is_some() {
                        return Err(self.duplicate_row(v, row, "default"));
                    }
                    continue;
                }
                RowKey::Table => 0,
                RowKey::States(key) => self.row_number(v, parents, key, row.line)?,
            };
            if std::mem::replace(&mut given[at], true) {
                let key = match &row.key {
                    RowKey::States(key) => format!("({})", key.join(", ")),
                    _ => "table".to_owned(),
                };
                return Err(self.duplicate_row(v, row, &key));
            }
            table[at * states..][..states].copy_from_slice(&values);
        }
        for (at, _) in given.iter().enumerate().filter(|(_, given)| !**given) {
            let Some(values) = &default else {
                let kind =
                    BifErrorKind::MissingRow { variable: self.name(v).to_owned(), key: self.row_key(parents, at) };
                return Err(self.error(block.variable.line, kind));
            };
            table[at * states..][..states].copy_from_slice(values);
        }
        Ok(table)
    }

    fn duplicate_row(&self, v: usize, row: &Row<'_>, key: &str) -> BifError {
        let kind = BifErrorKind::DuplicateRow { variable: self.name(v).to_owned(), key: key.to_owned() };
        self.error(row.line, kind)
    }

    /// The probabilities of a row divided by their sum: published files are off by up to 3e-7, and without this the
    /// answers would depend on which nodes are pruned.
    fn normalised(&self, v: usize, row: &Row<'_>) -> Result<Vec<f64>, BifError> {
        let (variable, found, expected) = (self.name(v).to_owned(), row.numbers.len(), self.num_states(v));
        if found != expected {
            let kind = BifErrorKind::WrongArity { variable, what: "probabilities", found, expected };
            return Err(self.error(row.line, kind));
        }
        let sum: f64 = row.numbers.iter().sum();
        if (sum - 1.0).abs() > ROW_TOLERANCE {
            return Err(self.error(row.line, BifErrorKind::RowSum { variable, sum }));
        }
        Ok(row.numbers.iter().map(|number| number / sum).collect())
    }

    fn row_number(&self, v: usize, parents: &[usize], key: &[&str], line: usize) -> Result<usize, BifError> {
        if key.len() != parents.len() {
            let (variable, found, expected) = (self.name(v).to_owned(), key.len(), parents.len());
            let kind = BifErrorKind::WrongArity { variable, what: "states in the key", found, expected };
            return Err(self.error(line, kind));
        }
        let mut row = 0;
        for (&parent, &state) in parents.iter().zip(key) {
            let states = &self.ast.variables[parent].states;
            let at = states.iter().position(|&s| s == state).ok_or_else(|| {
                let (variable, state) = (self.name(parent).to_owned(), state.to_owned());
                let known = shown(states.iter().copied());
                self.error(line, BifErrorKind::UnknownState { variable, state, known })
            })?;
            row = row * states.len() + at;
        }
        Ok(row)
    }

    fn row_key(&self, parents: &[usize], mut row: usize) -> Vec<String> {
        let mut key = Vec::with_capacity(parents.len());
        for &parent in parents.iter().rev() {
            let states = &self.ast.variables[parent].states;
            key.push(states[row % states.len()].to_owned());
            row /= states.len();
        }
        key.reverse();
        key
    }
}

fn shown<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Vec<String> {
    let mut shown: Vec<String> = names.clone().take(NAMES_SHOWN).map(str::to_owned).collect();
    if names.count() > NAMES_SHOWN {
        shown.push("…".to_owned());
    }
    shown
}
