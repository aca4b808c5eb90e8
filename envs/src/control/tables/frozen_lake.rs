//! FrozenLake-v1.

use super::grid::{Directions, Grid, built, directions, only};
use crate::finite::{Mdp, Outcome};

/// Left, down, right, up.
const DIRECTIONS: Directions = [(0, -1), (1, 0), (0, 1), (-1, 0)];

/// The two published maps: S start, F frozen, H hole, G goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LakeMap {
    /// 16 cells, 100 steps.
    Small,
    /// 64 cells, 200 steps.
    Large,
}

impl LakeMap {
    fn rows(self) -> &'static [&'static [u8]] {
        match self {
            Self::Small => &[b"SFFF", b"FHFH", b"FFFH", b"HFFG"],
            Self::Large => &[
                b"SFFFFFFF",
                b"FFFFFFFF",
                b"FFFHFFFF",
                b"FFFFFHFF",
                b"FFFHFFFF",
                b"FHHFFFHF",
                b"FHFFHFHF",
                b"FFFHFFFG",
            ],
        }
    }
}

/// Walk over a frozen lake to the goal without falling into a hole, as FrozenLake-v1 of Gymnasium 1.4.
///
/// The state is the number of the cell, row by row from the start in the upper left corner. Actions are left, down,
/// right, up. On a slippery lake a move goes in the direction of the action or at right angles to it, each with
/// probability 1/3. Reaching the goal pays 1, everything else nothing. The episode terminates in a hole and at the goal,
/// and is truncated after 100 steps (200 on the large map).
#[must_use]
pub fn frozen_lake(map: LakeMap, slippery: bool) -> Mdp {
    let cells = map.rows().concat();
    let grid = Grid { rows: map.rows().len(), columns: map.rows()[0].len() };
    let over = |cell: usize| matches!(cells[cell], b'H' | b'G');
    let arrive = |cell: usize| {
        let reward = f64::from(u8::from(cells[cell] == b'G'));
        Outcome { probability: 1.0, reward, next: cell, terminated: over(cell) }
    };
    let step = |cell: usize, action: usize| {
        if over(cell) {
            return vec![Outcome::end(0.0, cell)];
        }
        let directions = directions(action, slippery);
        let probability = 1.0 / directions.len() as f64;
        let to = |d: &usize| arrive(grid.moved(cell, DIRECTIONS[*d])).with_probability(probability);
        directions.iter().map(to).collect()
    };
    let outcomes = (0..grid.cells()).map(|cell| (0..4).map(|action| step(cell, action)).collect()).collect();
    let (name, limit) = match (map, slippery) {
        (LakeMap::Small, true) => ("control/frozen_lake/4x4", 100),
        (LakeMap::Small, false) => ("control/frozen_lake/4x4/not_slippery", 100),
        (LakeMap::Large, true) => ("control/frozen_lake/8x8", 200),
        (LakeMap::Large, false) => ("control/frozen_lake/8x8/not_slippery", 200),
    };
    let about = "Cross a frozen lake without falling into a hole.";
    built(name, about, only(0, grid.cells()), outcomes).with_time_limit(limit)
}
