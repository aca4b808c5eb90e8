//! Panics of code that others wrote (environments, actors, agents) as messages with a backtrace.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

/// Frames of a backtrace that are kept: the ones nearest to the panic.
const FRAMES: usize = 12;

/// Symbols that tell nothing about the cause: the machinery of panicking, catching and starting threads.
const MACHINERY: [&str; 9] =
    ["std::", "core::", "alloc::", "<core::", "<alloc::", "<std::", "rust_begin_unwind", "__rust", "clone"];

thread_local! {
    /// `None` while nobody catches panics on this thread.
    static CAUGHT: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Caught {
    /// Where, and through which calls.
    trace: String,
}

/// Runs `work` and turns a panic into its message, place and the innermost frames of its backtrace.
///
/// A hook for panics is installed on first use; it hands panics that nobody catches here on to the hook before it.
///
/// # Errors
/// The message, if `work` panicked. The caller must not use what `work` may have left half-changed.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    install();
    let outer = CAUGHT.with(|caught| caught.replace(Some(Caught::default())));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let caught = CAUGHT.with(|caught| caught.replace(outer)).unwrap_or_default();
    outcome.map_err(|payload| format!("panicked: {}{}", message(payload.as_ref()), caught.trace))
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !note(info) {
                before(info);
            }
        }));
    });
}

/// Writes down where the panic is, if somebody catches on this thread.
fn note(info: &PanicHookInfo<'_>) -> bool {
    CAUGHT.with(|caught| {
        // Borrowed only here and in `catch_panic`, never across foreign code.
        let Ok(mut caught) = caught.try_borrow_mut() else { return false };
        let Some(caught) = caught.as_mut() else { return false };
        let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
        caught.trace = format!("{place}{}", relevant(&Backtrace::force_capture().to_string()));
        true
    })
}

/// The frames that tell something, one line each.
fn relevant(backtrace: &str) -> String {
    let mut frames: Vec<String> = Vec::new();
    for line in backtrace.lines().map(str::trim) {
        match (line.split_once(": "), frames.last_mut()) {
            (Some((number, symbol)), _) if number.parse::<usize>().is_ok() => frames.push(symbol.to_owned()),
            (_, Some(frame)) if line.starts_with("at ") => *frame = format!("{frame} {line}"),
            _ => {}
        }
    }
    // With line tables only, symbols are bare names; the standard library is then told by where its source lay.
    let machinery =
        |frame: &&String| MACHINERY.iter().any(|start| frame.starts_with(start)) || frame.contains(" at /rustc/");
    let own = |frame: &&String| frame.contains("catch_panic");
    // The innermost frames are those of the hook; what panicked lies beyond the machinery that called it.
    let beyond = frames.iter().skip_while(|frame| !machinery(frame));
    beyond
        .filter(|frame| !machinery(frame) && !own(frame))
        .take(FRAMES)
        .map(|frame| format!("\n    in {frame}"))
        .collect()
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn deep_down(depth: u32) -> u32 {
        assert!(depth > 0, "the bottom is reached");
        std::hint::black_box(deep_down(depth - 1)) + 1
    }

    #[test]
    fn a_panic_comes_with_its_place_and_the_calls_that_led_to_it() {
        let message = catch_panic(|| deep_down(3)).unwrap_err();
        assert!(message.starts_with("panicked: the bottom is reached at "), "{message}");
        assert!(message.contains("panics.rs:") && message.contains("deep_down"), "{message}");
        assert!(!message.contains("core::panicking"), "{message}");
        assert!(message.lines().count() <= FRAMES + 1, "{message}");
    }

    #[test]
    fn what_does_not_panic_is_returned_and_catching_can_be_nested() {
        assert_eq!(catch_panic(|| 5), Ok(5));
        let nested = catch_panic(|| {
            let inner = catch_panic(|| panic!("inner {}", 1)).unwrap_err();
            assert!(inner.starts_with("panicked: inner 1"), "{inner}");
            panic!("outer")
        });
        assert!(nested.unwrap_err().starts_with("panicked: outer at "));
    }
}
