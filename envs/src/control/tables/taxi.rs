//! Taxi-v3.

use super::grid::built;
use crate::finite::{Mdp, Outcome};

/// A colon can be passed, a bar is a wall. Column c of the grid is character 2c + 1.
const MAP: [&[u8]; 5] = [b"|R: | : :G|", b"| : | : : |", b"| : : : : |", b"| | : | : |", b"|Y| : |B: |"];
/// Row and column of R, G, Y and B.
const STANDS: [(usize, usize); 4] = [(0, 0), (0, 4), (4, 0), (4, 3)];
/// Where the passenger is who sits in the taxi.
const IN_TAXI: usize = 4;
const STATES: usize = 500;
const ACTIONS: usize = 6;

/// State `((row · 5 + column) · 5 + passenger) · 4 + destination`.
#[derive(Clone, Copy, PartialEq)]
struct Ride {
    row: usize,
    column: usize,
    /// Stand 0 to 3, or 4 in the taxi.
    passenger: usize,
    /// Stand 0 to 3.
    destination: usize,
}

impl Ride {
    fn from_state(state: usize) -> Self {
        let (destination, rest) = (state % 4, state / 4);
        Self { row: rest / 25, column: rest / 5 % 5, passenger: rest % 5, destination }
    }

    fn state(self) -> usize {
        ((self.row * 5 + self.column) * 5 + self.passenger) * 4 + self.destination
    }

    /// The stand at which the taxi is.
    fn stand(self) -> Option<usize> {
        STANDS.iter().position(|&at| at == (self.row, self.column))
    }

    fn step(self, action: usize) -> Outcome {
        let moved = |ride: Self| Outcome::certain(-1.0, ride.state());
        let refused = Outcome::certain(-10.0, self.state());
        match (action, self.stand()) {
            (0..=3, _) => moved(self.drive(action)),
            (4, Some(stand)) if stand == self.passenger => moved(Self { passenger: IN_TAXI, ..self }),
            (5, Some(stand)) if self.passenger == IN_TAXI => {
                let out = Self { passenger: stand, ..self };
                if stand == self.destination { Outcome::end(20.0, out.state()) } else { moved(out) }
            }
            _ => refused,
        }
    }

    /// South, north, east, west; nowhere if there is a wall or an edge.
    fn drive(self, action: usize) -> Self {
        let passable = |character: usize| MAP[self.row][character] == b':';
        match action {
            0 => Self { row: (self.row + 1).min(4), ..self },
            1 => Self { row: self.row.saturating_sub(1), ..self },
            2 if passable(2 * self.column + 2) => Self { column: self.column + 1, ..self },
            3 if passable(2 * self.column) => Self { column: self.column - 1, ..self },
            _ => self,
        }
    }
}

/// Fetch a passenger and bring them to their destination (Dietterich 2000), as Taxi-v3 of Gymnasium (which in 1.4 is
/// called Taxi-v4, and is the same without its options for rain and fickle passengers).
///
/// The state is `((row · 5 + column) · 5 + passenger) · 4 + destination`, where the passenger is at stand 0 to 3 (red,
/// green, yellow, blue) or 4, in the taxi. Actions are south, north, east, west, pick up, drop off. A step costs 1,
/// picking up or dropping off where that is impossible 10, and dropping off at the destination pays 20 and terminates
/// the episode. It begins with the passenger at a stand that is not the destination, uniformly over the 300 such
/// states, and is truncated after 200 steps.
#[must_use]
pub fn taxi() -> Mdp {
    let ride = |state: usize| (0..ACTIONS).map(|action| vec![Ride::from_state(state).step(action)]).collect();
    let begins = |state: usize| {
        let Ride { passenger, destination, .. } = Ride::from_state(state);
        if passenger < IN_TAXI && passenger != destination { 1.0 / 300.0 } else { 0.0 }
    };
    let about = "Fetch a passenger with a taxi and bring them to their destination.";
    let start = (0..STATES).map(begins).collect();
    built("control/taxi", about, start, (0..STATES).map(ride).collect()).with_time_limit(200)
}

/// Which actions of [`taxi`] change the state, `[500][6]`: Gymnasium's `action_mask`.
#[must_use]
pub fn taxi_mask() -> Vec<Vec<bool>> {
    let changes = |ride: Ride, action: usize| ride.step(action).next != ride.state();
    (0..STATES).map(|s| (0..ACTIONS).map(|action| changes(Ride::from_state(s), action)).collect()).collect()
}
