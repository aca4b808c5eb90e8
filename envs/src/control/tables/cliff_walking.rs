//! CliffWalking-v1.

use super::grid::{Directions, Grid, built, directions, only};
use crate::finite::{Mdp, Outcome};

/// Up, right, down, left.
const DIRECTIONS: Directions = [(-1, 0), (0, 1), (1, 0), (0, -1)];
const GRID: Grid = Grid { rows: 4, columns: 12 };
/// Lower left corner.
const START: usize = 36;
/// Lower right corner.
const GOAL: usize = 47;

/// Walk along a cliff (Sutton and Barto 2018, example 6.6), as CliffWalking-v1 of Gymnasium 1.4.
///
/// The state is the number of the cell, row by row. Actions are up, right, down, left. Every step costs 1; stepping
/// off the cliff between start and goal costs 100 and leads back to the start. If slippery, a move goes in the direction
/// of the action or at right angles to it, each with probability 1/3. The episode terminates at the goal. As in
/// Gymnasium there is no time limit, so whoever plays a policy that may never arrive should set one
/// ([`retune::env::TimeLimit`]).
#[must_use]
pub fn cliff_walking(slippery: bool) -> Mdp {
    let step = |cell: usize, action: usize| {
        let directions = directions(action, slippery);
        let probability = 1.0 / directions.len() as f64;
        directions.iter().map(|&d| arrive(GRID.moved(cell, DIRECTIONS[d])).with_probability(probability)).collect()
    };
    let outcomes = (0..GRID.cells()).map(|cell| (0..4).map(|action| step(cell, action)).collect()).collect();
    let name = if slippery { "control/cliff_walking/slippery" } else { "control/cliff_walking" };
    built(name, "Walk along a cliff without stepping off it.", only(START, GRID.cells()), outcomes)
}

fn arrive(cell: usize) -> Outcome {
    match cell {
        GOAL => Outcome::end(-1.0, GOAL),
        _ if (START + 1..GOAL).contains(&cell) => Outcome::certain(-100.0, START),
        _ => Outcome::certain(-1.0, cell),
    }
}
