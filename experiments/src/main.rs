//! The command `experiment`.
fn main() {}
