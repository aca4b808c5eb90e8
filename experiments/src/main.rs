//! The command `experiment`.

use std::process::ExitCode;

/// Every tensor operation allocates; this allocator is several times as fast at it as the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    retune_experiments::run()
}
