//! How many threads the fused kernels use: one setting for the process, one override for the current thread.
//!
//! The setting never changes a result: every reduction has a fixed order and every split of the work is by fixed
//! blocks or by independent elements, so the number of threads decides only who computes what.
//!
//! Work below [`MIN_PARALLEL_WORK`] stays on the calling thread: waking a pool costs some ten microseconds, which is
//! ten forward passes of a small policy network. Actor threads wrap their loop in [`with_single_thread`]. A learner
//! thread may wrap its loop in [`run`], so that it is a worker of the pool itself and hands nothing over.

use candle_core::utils::get_num_threads;
use rayon::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Multiply-adds or similar below which the pool is left asleep: about 20 µs of vector work on one core.
pub const MIN_PARALLEL_WORK: usize = 1 << 19;

/// Stack of a pool thread. candle walks the graph recursively, and [`run`] lets a learner do that on a pool thread.
const STACK_BYTES: usize = 64 << 20;

/// 0 until decided.
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// Pools by size. Kept, since a pool in use by another thread must not be torn down.
static POOLS: Mutex<BTreeMap<usize, Arc<rayon::ThreadPool>>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// Overrides the process-wide setting on this thread; 0 for none.
    static OVERRIDE: Cell<usize> = const { Cell::new(0) };
}

/// Sets the number of threads of all fused kernels in this process, at least 1.
///
/// Without a call it is what `RAYON_NUM_THREADS` says, or the number of cores.
pub fn set_threads(threads: usize) {
    THREADS.store(threads.max(1), Ordering::Relaxed);
}

/// The number of threads that a large kernel called on this thread uses.
#[must_use]
pub fn threads() -> usize {
    match OVERRIDE.get() {
        0 => match THREADS.load(Ordering::Relaxed) {
            0 => get_num_threads().max(1),
            set => set,
        },
        own => own,
    }
}

/// Runs `f` with `threads` threads for every kernel that it calls on this thread.
pub fn with_threads<R>(threads: usize, f: impl FnOnce() -> R) -> R {
    /// Puts the previous value back, also when `f` panics.
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            OVERRIDE.set(self.0);
        }
    }
    let _restore = Restore(OVERRIDE.replace(threads.max(1)));
    f()
}

/// Runs `f` with every kernel on the calling thread, as actor threads do.
pub fn with_single_thread<R>(f: impl FnOnce() -> R) -> R {
    with_threads(1, f)
}

/// Runs `f` on a thread of the pool, so that kernels inside it start without a hand-over between threads.
///
/// It also has the large stack that candle's recursive graph walk wants. With one thread, `f` runs where it is.
pub fn run<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let threads = threads();
    match pool(threads) {
        Some(pool) => pool.install(|| with_threads(threads, f)),
        None => f(),
    }
}

/// The pool with this many threads; `None` for one thread, or if the system refuses to start them.
fn pool(threads: usize) -> Option<Arc<rayon::ThreadPool>> {
    if threads < 2 {
        return None;
    }
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&threads) {
        return Some(pool.clone());
    }
    let built = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("kernel-{index}"))
        .stack_size(STACK_BYTES)
        .build();
    match built {
        Ok(pool) => {
            let pool = Arc::new(pool);
            pools.insert(threads, pool.clone());
            Some(pool)
        }
        Err(error) => {
            // The result is the same, only slower, so this is no reason to stop a run.
            tracing::warn!(threads, %error, "cannot start kernel threads, computing on one");
            None
        }
    }
}

/// Calls `f` inside the pool with its size if `work` is worth it, else in place with 1.
pub(super) fn parallel<R: Send>(work: usize, f: impl FnOnce(usize) -> R + Send) -> R {
    let threads = if work < MIN_PARALLEL_WORK { 1 } else { threads() };
    match pool(threads) {
        Some(pool) => pool.install(|| f(threads)),
        None => f(1),
    }
}

/// Calls `f(i)` for `0..tasks`, in any order, on several threads if `work` (of all tasks together) is worth it.
pub(super) fn for_each(tasks: usize, work: usize, f: impl Fn(usize) + Send + Sync) {
    parallel(work, |threads| match threads {
        1 => (0..tasks).for_each(f),
        _ => (0..tasks).into_par_iter().for_each(f),
    });
}

/// Calls `f` on every thread that a large kernel uses, at the same time; what each gave.
pub(super) fn on_each<R: Send>(f: impl Fn() -> R + Send + Sync) -> Vec<R> {
    parallel(usize::MAX, |threads| match threads {
        1 => vec![f()],
        _ => rayon::broadcast(|_| f()),
    })
}

/// Calls `f(i, chunk)` for consecutive chunks of `out`, as [`for_each`] does.
pub(in crate::nn) fn for_each_chunk<T: Send>(
    out: &mut [T],
    chunk: usize,
    work: usize,
    f: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    parallel(work, |threads| match threads {
        1 => out.chunks_mut(chunk).enumerate().for_each(|(i, part)| f(i, part)),
        _ => out.par_chunks_mut(chunk).enumerate().for_each(|(i, part)| f(i, part)),
    });
}

/// Calls `f(i, a, b)` for consecutive chunks of two slices of equal length, as [`for_each`] does.
pub(super) fn for_each_chunk2<A: Send, B: Send>(
    a: &mut [A],
    b: &mut [B],
    chunk: usize,
    work: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Send + Sync,
) {
    let mut parts: Vec<_> = a.chunks_mut(chunk).zip(b.chunks_mut(chunk)).collect();
    for_each_chunk(&mut parts, 1, work, |i, part| part.iter_mut().for_each(|(a, b)| f(i, a, b)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn the_override_holds_for_this_thread_only_and_ends() {
        let outside = threads();
        with_threads(3, || {
            assert_eq!(threads(), 3);
            with_single_thread(|| assert_eq!(threads(), 1));
            assert_eq!(threads(), 3);
            let elsewhere = std::thread::spawn(threads).join().expect("no panic");
            assert_eq!(elsewhere, outside);
        });
        assert_eq!(threads(), outside);
    }

    #[test]
    fn the_override_ends_on_panic() {
        let outside = threads();
        let caught = std::panic::catch_unwind(|| with_threads(7, || panic!("expected")));
        assert!(caught.is_err());
        assert_eq!(threads(), outside);
    }

    #[test]
    fn small_work_stays_on_the_calling_thread() {
        let here = std::thread::current().id();
        with_threads(4, || {
            for_each(64, MIN_PARALLEL_WORK - 1, |_| assert_eq!(std::thread::current().id(), here));
        });
    }

    #[test]
    fn every_task_runs_once_for_any_number_of_threads() {
        for count in [1, 2, 5] {
            let sum = AtomicU64::new(0);
            with_threads(count, || {
                for_each(1000, usize::MAX, |i| {
                    sum.fetch_add(1 << (i % 20), Ordering::Relaxed);
                });
            });
            assert_eq!(sum.into_inner(), 50 * ((1 << 20) - 1));
        }
    }

    #[test]
    fn run_moves_to_a_pool_thread_and_keeps_the_count() {
        let name = with_threads(2, || run(|| (threads(), std::thread::current().name().map(str::to_owned))));
        assert_eq!(name.0, 2);
        assert!(name.1.is_some_and(|n| n.starts_with("kernel-")));
    }
}
