//! The update rule against plain formulas, fixed points against dynamic programming, exact resume, bad numbers.

mod agents;
mod labels;
mod rule;
mod tasks;
