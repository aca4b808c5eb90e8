//! Names and places of the matrices in a flat array.

use super::padded;
use crate::{Error, Result};

/// One named matrix: `rows` rows of `cols` values, `stride` apart, from `offset` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is called in snapshots and files.
    pub name: String,
    /// Rows; 1 for a vector.
    pub rows: usize,
    /// Columns that count.
    pub cols: usize,
    /// Distance of rows, a multiple of [`super::LANES`]; what lies between is zero.
    pub stride: usize,
    /// Index of the first value.
    pub offset: usize,
}

impl Block {
    /// Its part of a flat array, padding included.
    #[must_use]
    pub fn of<'a>(&self, flat: &'a [f32]) -> &'a [f32] {
        &flat[self.offset..self.offset + self.rows * self.stride]
    }

    /// Its part of a flat array, padding included.
    pub fn of_mut<'a>(&self, flat: &'a mut [f32]) -> &'a mut [f32] {
        &mut flat[self.offset..self.offset + self.rows * self.stride]
    }

    /// Its values without padding, row by row, `[rows, cols]`.
    #[must_use]
    pub fn read(&self, flat: &[f32]) -> Vec<f32> {
        self.of(flat).chunks_exact(self.stride).flat_map(|row| &row[..self.cols]).copied().collect()
    }

    /// Replaces its values by `values`, `[rows, cols]` row by row.
    ///
    /// # Errors
    /// [`Error::State`] if there are more or fewer.
    pub fn write(&self, flat: &mut [f32], values: &[f32]) -> Result<()> {
        if values.len() != self.rows * self.cols {
            let (name, found) = (&self.name, values.len());
            let (rows, cols) = (self.rows, self.cols);
            return Err(Error::State(format!("parameter {name} has shape [{rows}, {cols}], given are {found} values")));
        }
        for (row, values) in self.of_mut(flat).chunks_exact_mut(self.stride).zip(values.chunks_exact(self.cols)) {
            row[..self.cols].copy_from_slice(values);
        }
        Ok(())
    }
}

/// All matrices of a model in name order, which is also their order in memory: a pass over the array is a pass in
/// name order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    blocks: Vec<Block>,
    len: usize,
}

impl Layout {
    /// Places matrices of the given (name, rows, columns).
    ///
    /// # Errors
    /// [`Error::State`] if a name comes twice or a matrix is empty.
    pub fn new(shapes: impl IntoIterator<Item = (String, usize, usize)>) -> Result<Self> {
        let mut shapes: Vec<_> = shapes.into_iter().collect();
        shapes.sort();
        let mut layout = Self::default();
        for (name, rows, cols) in shapes {
            if rows == 0 || cols == 0 {
                return Err(Error::State(format!("parameter {name} would have shape [{rows}, {cols}]")));
            }
            if layout.blocks.last().is_some_and(|b| b.name == name) {
                return Err(Error::State(format!("parameter {name} is defined twice")));
            }
            let (stride, offset) = (padded(cols), layout.len);
            layout.len += rows * stride;
            layout.blocks.push(Block { name, rows, cols, stride, offset });
        }
        Ok(layout)
    }

    /// Length of the flat array, padding included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no matrices.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Values without padding.
    #[must_use]
    pub fn count(&self) -> usize {
        self.blocks.iter().map(|b| b.rows * b.cols).sum()
    }

    /// In name order.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The matrix of this name.
    ///
    /// # Errors
    /// [`Error::State`] if there is none.
    pub fn block(&self, name: &str) -> Result<&Block> {
        let found = self.blocks.binary_search_by(|b| b.name.as_str().cmp(name));
        found.map(|i| &self.blocks[i]).map_err(|_| Error::State(format!("there is no parameter {name}")))
    }

    /// The matrix with the first value of `flat` that is not finite.
    #[must_use]
    pub fn non_finite(&self, flat: &[f32]) -> Option<&Block> {
        self.blocks.iter().find(|b| b.of(flat).iter().any(|x| !x.is_finite()))
    }
}
