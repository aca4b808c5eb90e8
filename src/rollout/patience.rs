//! Waiting for actors, with a word when none comes.

use crossbeam::channel::{Receiver, RecvError, RecvTimeoutError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long all actors together may be silent before that is worth a warning. A round of slow env steps may take as long
/// and go on, so nothing ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// Receives, and says once that actors seem dead: that nothing has come from any of them for long.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    said: AtomicBool,
}

impl Default for Patience {
    fn default() -> Self {
        Self { limit: PATIENCE, said: AtomicBool::new(false) }
    }
}

impl Patience {
    /// The next message, however long it takes. `missing` names the shards that are waited for.
    ///
    /// # Errors
    /// If nobody can send any more.
    pub fn receive<T>(&self, from: &Receiver<T>, missing: impl FnOnce() -> Vec<usize>) -> Result<T, RecvError> {
        if self.said.load(Ordering::Relaxed) {
            return from.recv();
        }
        match from.recv_timeout(self.limit) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Disconnected) => Err(RecvError),
            Err(RecvTimeoutError::Timeout) => {
                self.said.store(true, Ordering::Relaxed);
                let (secs, shards) = (self.limit.as_secs(), missing());
                tracing::warn!(
                    "dead actors: nothing has come from the actor threads for {secs} s; waiting for shards {shards:?}, \
                     an env step may hang"
                );
                from.recv()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::bounded;

    #[test]
    fn silence_is_said_once_and_waited_out() {
        let patience = Patience { limit: Duration::ZERO, ..Patience::default() };
        let (to, from) = bounded(1);
        to.send(1).unwrap();
        assert_eq!(patience.receive(&from, || panic!("there is a message")), Ok(1));
        let late = || {
            to.send(2).unwrap();
            vec![3]
        };
        assert_eq!(patience.receive(&from, late), Ok(2));
        assert!(patience.said.load(Ordering::Relaxed));
        to.send(4).unwrap();
        assert_eq!(patience.receive(&from, || panic!("it was said before")), Ok(4));
        drop(to);
        assert_eq!(patience.receive(&from, Vec::new), Err(RecvError));
        let fresh = Patience::default();
        assert_eq!(fresh.receive(&from, || panic!("nobody is left to wait for")), Err(RecvError));
    }
}
