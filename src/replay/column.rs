//! Flat columns of numbers, one row per transition.

use crate::persist::StateDict;
use crate::{Error, Result};

/// A number that columns can hold and a [`StateDict`] can save.
pub(super) trait Element: Copy + Default {
    fn put(state: &mut StateDict, name: String, values: &[Self]);
    fn get(state: &StateDict, name: &str) -> Result<Vec<Self>>;
}

impl Element for f32 {
    fn put(state: &mut StateDict, name: String, values: &[Self]) {
        state.put_f32s(name, values);
    }
    fn get(state: &StateDict, name: &str) -> Result<Vec<Self>> {
        state.f32s(name)
    }
}

impl Element for u32 {
    fn put(state: &mut StateDict, name: String, values: &[Self]) {
        state.put_u32s(name, values);
    }
    fn get(state: &StateDict, name: &str) -> Result<Vec<Self>> {
        state.u32s(name)
    }
}

impl Element for u8 {
    fn put(state: &mut StateDict, name: String, values: &[Self]) {
        state.put_u8s(name, values);
    }
    fn get(state: &StateDict, name: &str) -> Result<Vec<Self>> {
        state.u8s(name)
    }
}

/// `[rows, width]`, row by row, allocated once.
#[derive(Clone, Debug)]
pub(super) struct Column<T> {
    name: &'static str,
    width: usize,
    data: Vec<T>,
}

impl<T: Element> Column<T> {
    /// All zero. Fails if so much memory cannot be addressed or reserved.
    pub fn new(name: &'static str, rows: usize, width: usize) -> Result<Self> {
        let count = rows.checked_mul(width);
        let reserved = count.map(|n| Vec::<T>::new().try_reserve_exact(n));
        match (count, reserved) {
            // Zeroed in one call, which the system does page by page as rows are used.
            (Some(count), Some(Ok(()))) => Ok(Self { name, width, data: vec![T::default(); count] }),
            _ => Err(Error::config("capacity", rows, format!("too many rows of {width} values to hold in memory"))),
        }
    }

    pub fn row(&self, row: usize) -> &[T] {
        &self.data[row * self.width..(row + 1) * self.width]
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.data[row * self.width..(row + 1) * self.width]
    }

    /// Overwrites a row. Fails if there are not exactly `width` values.
    pub fn set(&mut self, row: usize, values: &[T]) -> Result<()> {
        if values.len() != self.width {
            return Err(Error::State(format!("{} has {} values, expected {}", self.name, values.len(), self.width)));
        }
        self.row_mut(row).copy_from_slice(values);
        Ok(())
    }

    /// Overwrites a row of one value.
    pub fn set_one(&mut self, row: usize, value: T) {
        self.row_mut(row).fill(value);
    }

    /// The given rows one after the other, `[rows, width]`.
    pub fn gather(&self, rows: &[usize]) -> Vec<T> {
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for &row in rows {
            values.extend_from_slice(self.row(row));
        }
        values
    }

    /// All rows.
    pub fn into_data(self) -> Vec<T> {
        self.data
    }
}

/// What can be done to a column without knowing what it holds.
pub(super) trait AnyColumn {
    fn copy_row(&mut self, from: usize, to: usize);
    fn bytes(&self) -> usize;
    fn save(&self, rows: &[usize], state: &mut StateDict, prefix: &str);
    /// That `state` has this column with this many rows.
    fn check(&self, rows: usize, state: &StateDict, prefix: &str) -> Result<()>;
    /// Overwrites the given rows; call [`AnyColumn::check`] for all columns first.
    fn load(&mut self, rows: &[usize], state: &StateDict, prefix: &str) -> Result<()>;
}

impl<T: Element> AnyColumn for Column<T> {
    fn copy_row(&mut self, from: usize, to: usize) {
        self.data.copy_within(from * self.width..(from + 1) * self.width, to * self.width);
    }

    fn bytes(&self) -> usize {
        self.data.capacity() * size_of::<T>()
    }

    fn save(&self, rows: &[usize], state: &mut StateDict, prefix: &str) {
        T::put(state, format!("{prefix}{}", self.name), &self.gather(rows));
    }

    fn check(&self, rows: usize, state: &StateDict, prefix: &str) -> Result<()> {
        let name = format!("{prefix}{}", self.name);
        let found = T::get(state, &name)?.len();
        if found == rows * self.width {
            return Ok(());
        }
        Err(Error::State(format!("{name} has {found} values, expected {rows} rows of {}", self.width)))
    }

    fn load(&mut self, rows: &[usize], state: &StateDict, prefix: &str) -> Result<()> {
        let values = T::get(state, &format!("{prefix}{}", self.name))?;
        if self.width > 0 {
            for (&row, saved) in rows.iter().zip(values.chunks_exact(self.width)) {
                self.row_mut(row).copy_from_slice(saved);
            }
        }
        Ok(())
    }
}
