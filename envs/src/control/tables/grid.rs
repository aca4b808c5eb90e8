//! Moves on a grid.

use crate::finite::Mdp;

/// The four directions of a grid task, in the order of its actions; neighbours in the list (and its two ends) are at
/// right angles.
pub type Directions = [(isize, isize); 4];

/// Rows and columns of a grid whose states are numbered row by row.
#[derive(Clone, Copy)]
pub struct Grid {
    pub rows: usize,
    pub columns: usize,
}

impl Grid {
    /// The cell that a move from `cell` leads to; a move off the grid leads nowhere.
    pub fn moved(self, cell: usize, (down, right): (isize, isize)) -> usize {
        let (row, column) = (cell / self.columns, cell % self.columns);
        let along = |x: usize, by: isize, n: usize| x.saturating_add_signed(by).min(n - 1);
        along(row, down, self.rows) * self.columns + along(column, right, self.columns)
    }

    pub fn cells(self) -> usize {
        self.rows * self.columns
    }
}

/// The directions that an action may take: its own, and if slippery also the two at right angles, in Gymnasium's order.
pub fn directions(action: usize, slippery: bool) -> Vec<usize> {
    if slippery { vec![(action + 3) % 4, action, (action + 1) % 4] } else { vec![action] }
}

/// Certainty of one state.
pub fn only(state: usize, states: usize) -> Vec<f64> {
    (0..states).map(|s| f64::from(u8::from(s == state))).collect()
}

/// A process built from constants.
pub fn built(name: &str, description: &str, start: Vec<f64>, outcomes: Vec<Vec<Vec<crate::finite::Outcome>>>) -> Mdp {
    Mdp::new(name, description, start, outcomes).expect("the tables of this folder are distributions")
}
