//! How many threads one tensor operation may use.
//!
//! Studies run one trial per core, so an operation that spreads over all cores would only wait for the others.
//! candle reads these variables at its first operation and rayon at its first use, hence the setting at the start of
//! the process. A person's own values are left alone. Results do not depend on them.

use std::num::NonZeroUsize;

/// Threads of one matrix product.
const MATMUL: &str = "RAYON_NUM_THREADS";
/// Threads of one elementwise operation.
const ELEMENTWISE: &str = "CANDLE_NUM_THREADS";

/// One thread per tensor operation, unless the environment says otherwise.
///
/// Must be called before the process has a second thread.
pub fn one_per_operation() {
    for name in [MATMUL, ELEMENTWISE] {
        if std::env::var_os(name).is_none() {
            // SAFETY: called from `commands::run` before any thread is started, so nothing reads the environment
            // at the same time.
            unsafe { std::env::set_var(name, "1") };
        }
    }
}

/// Cores this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Threads of one matrix product and of one elementwise operation.
#[must_use]
pub fn per_operation() -> (usize, usize) {
    let read = |name| std::env::var(name).ok().and_then(|v| v.parse().ok()).filter(|&n| n > 0).unwrap_or_else(cores);
    (read(MATMUL), read(ELEMENTWISE))
}
