//! The update rule against plain formulas, fixed points against dynamic programming, exact resume, bad numbers.

mod agents;
mod rule;
mod tasks;
