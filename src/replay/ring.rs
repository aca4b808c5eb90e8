//! A bounded memory of values of one type.

use super::Sampling;
use crate::persist::StateDict;
use crate::rng::StreamRng;
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The last `capacity` values that were pushed.
///
/// Each value must be complete in itself (a transition, a labelled example): sampling draws single values and knows
/// nothing of what came before or after one.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay<T> {
    capacity: usize,
    items: Vec<T>,
    /// Position that the next value goes to.
    next: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayState {
    capacity: usize,
    next: usize,
}

impl<T> Replay<T> {
    /// An empty memory for `capacity` values.
    ///
    /// # Errors
    /// If `capacity` is zero.
    pub fn new(capacity: usize) -> Result<Self> {
        if capacity == 0 {
            return Err(Error::config("capacity", 0, "expected room for at least 1 value"));
        }
        Ok(Self { capacity, items: Vec::new(), next: 0 })
    }

    /// Takes in a value; when full, the oldest goes.
    pub fn push(&mut self, item: T) {
        match self.items.get_mut(self.next) {
            Some(oldest) => *oldest = item,
            None => self.items.push(item),
        }
        self.next = (self.next + 1) % self.capacity;
    }

    /// How many values it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many values it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The values from the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let oldest = if self.items.len() < self.capacity { 0 } else { self.next };
        self.items[oldest..].iter().chain(&self.items[..oldest])
    }

    /// `count` values drawn uniformly.
    ///
    /// # Errors
    /// If it is empty, or holds fewer than `count` without replacement.
    pub fn sample(&self, count: usize, sampling: Sampling, rng: &mut StreamRng) -> Result<Vec<&T>> {
        Ok(sampling.draw(self.items.len(), count, rng)?.into_iter().map(|i| &self.items[i]).collect())
    }

    /// Bytes of memory held; `heap` says what a value holds outside itself.
    pub fn bytes(&self, heap: impl Fn(&T) -> usize) -> usize {
        self.items.capacity() * size_of::<T>() + self.items.iter().map(heap).sum::<usize>()
    }
}

impl<T: Serialize + DeserializeOwned> Replay<T> {
    /// Puts the exact content into `state`, under names that begin with `prefix`. Values are written as JSON into one
    /// tensor of bytes; what is kept by the ten thousand belongs into a memory of flat columns instead.
    ///
    /// # Errors
    /// If a value has no JSON form.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        let json = serde_json::to_vec(&self.items).map_err(|e| Error::State(format!("{prefix}replay: {e}")))?;
        state.put(format!("{prefix}replay"), &ReplayState { capacity: self.capacity, next: self.next })?;
        state.put_u8s(format!("{prefix}replay.items"), &json);
        Ok(())
    }

    /// Takes the content back from `state`.
    ///
    /// # Errors
    /// [`Error::State`] if it was saved with another capacity or is not whole; nothing has changed then.
    pub fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let header: ReplayState = state.get(&format!("{prefix}replay"))?;
        if header.capacity != self.capacity {
            let (found, expected) = (header.capacity, self.capacity);
            return Err(Error::State(format!("{prefix}replay was saved with capacity {found}, this is {expected}")));
        }
        let json = state.u8s(&format!("{prefix}replay.items"))?;
        let items: Vec<T> =
            serde_json::from_slice(&json).map_err(|e| Error::State(format!("{prefix}replay.items: {e}")))?;
        let filling = items.len() < self.capacity && header.next == items.len();
        let full = items.len() == self.capacity && header.next < self.capacity;
        if !filling && !full {
            let (count, next) = (items.len(), header.next);
            return Err(Error::State(format!("{prefix}replay holds {count} values but goes on at position {next}")));
        }
        self.items = items;
        self.next = header.next;
        Ok(())
    }
}
