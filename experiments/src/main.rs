//! The command `experiment`.

use std::process::ExitCode;

/// Every tensor operation allocates; this allocator is several times as fast at it as the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// Part of the allocator, which its bindings leave out unless asked for everything.
    fn mi_option_set(option: std::ffi::c_int, value: std::ffi::c_long);
}

/// `mi_option_purge_delay`.
const PURGE_DELAY: std::ffi::c_int = 15;

/// Freed memory is kept for the next allocation for good. The allocator's own limit, a second, is over before a long
/// training step wants the same buffers again, and the system clears every page that it hands out anew: that took a
/// fifth of the processor time of a step.
const KEEP: std::ffi::c_long = -1;

fn main() -> ExitCode {
    // SAFETY: it is linked in as the allocator of this program, and there is no second thread yet, as it demands.
    unsafe { mi_option_set(PURGE_DELAY, KEEP) };
    retune_experiments::run()
}
