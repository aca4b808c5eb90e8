//! Ctrl-C: the first asks to stop cleanly, the second ends at once.

use anyhow::{Context, Result};
use retune::agent::Stop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Time a round of training has to finish by itself after the first request. What ends within it is kept in the
/// checkpoint, so that nothing is lost; a longer round is given up and done again after `resume`. One second leaves
/// another for writing the checkpoint within the promised two.
const GRACE: Duration = Duration::from_secs(1);

/// Two requests to stop, the second a moment after the first.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    /// Stop at the next boundary between rounds, and write a checkpoint.
    pub soft: Stop,
    /// Give up what is being done.
    pub hard: Stop,
}

impl Interrupt {
    /// Listens to Ctrl-C and to a request to terminate.
    ///
    /// # Errors
    /// If the signal handler cannot be set.
    pub fn listen(quiet: bool) -> Result<Self> {
        let interrupt = Self::default();
        let heard = interrupt.clone();
        let asked = AtomicBool::new(false);
        ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            if !quiet {
                eprintln!("\nStopping at the next checkpoint; once more ends at once.");
            }
            heard.soft.request();
            let hard = heard.hard.clone();
            // A thread of its own: the handler must be free to hear the second request.
            std::thread::spawn(move || {
                std::thread::sleep(GRACE);
                hard.request();
            });
        })
        .context("cannot listen to Ctrl-C")?;
        Ok(interrupt)
    }
}
