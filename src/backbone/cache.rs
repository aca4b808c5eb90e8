//! What frozen parts of an encoder computed before: vectors of texts, or hidden states below the first trained layer.

use super::Tokens;
use super::options::Pooling;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How far a text has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// One vector, `[width]`.
    Pooled { pooling: Pooling, l2: bool },
    /// Hidden states below this layer, `[tokens, width]`.
    Below { layer: usize },
}

/// What a value depends on: the tokens, not the text, and the checksum of the parameters that were used. A change to
/// a parameter changes the version, so a stale hit is impossible.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) version: Arc<str>,
    pub(super) stage: Stage,
    pub(super) tokens: Tokens,
}

/// What the cache has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CacheStats {
    /// Values found.
    pub hits: u64,
    /// Values not found.
    pub misses: u64,
    /// Tokens that did not have to be read, or not as far up as the cut.
    pub saved_tokens: u64,
    /// Values held.
    pub entries: usize,
    /// Bytes held, keys included.
    pub bytes: usize,
}

/// A bounded cache, least recently used out first. Clones share it.
#[derive(Clone, Debug)]
pub struct FeatureCache(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    max_bytes: usize,
    entries: HashMap<Arc<Key>, Entry>,
    /// Keys by the time of their last use.
    by_use: BTreeMap<u64, Arc<Key>>,
    clock: u64,
    stats: CacheStats,
}

#[derive(Debug)]
struct Entry {
    vector: Arc<[f32]>,
    used: u64,
}

impl FeatureCache {
    /// An empty cache that holds at most `max_bytes`; with 0 it never holds anything.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            max_bytes,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            clock: 0,
            stats: CacheStats::default(),
        })))
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let inner = self.lock();
        CacheStats { entries: inner.entries.len(), ..inner.stats }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<[f32]>> {
        let mut inner = self.lock();
        inner.clock += 1;
        let now = inner.clock;
        let Inner { entries, by_use, stats, .. } = &mut *inner;
        let Some(entry) = entries.get_mut(key) else {
            stats.misses += 1;
            return None;
        };
        if let Some(key) = by_use.remove(&entry.used) {
            by_use.insert(now, key);
        }
        entry.used = now;
        stats.hits += 1;
        stats.saved_tokens += key.tokens.len() as u64;
        Some(entry.vector.clone())
    }

    pub(super) fn insert(&self, key: Key, vector: Arc<[f32]>) {
        let mut inner = self.lock();
        let bytes = size(&key, &vector);
        if bytes > inner.max_bytes || inner.entries.contains_key(&key) {
            return;
        }
        while inner.stats.bytes + bytes > inner.max_bytes {
            let Some((_, oldest)) = inner.by_use.pop_first() else { break };
            if let Some(entry) = inner.entries.remove(&oldest) {
                inner.stats.bytes -= size(&oldest, &entry.vector);
            }
        }
        inner.clock += 1;
        let (used, key) = (inner.clock, Arc::new(key));
        inner.by_use.insert(used, key.clone());
        inner.entries.insert(key, Entry { vector, used });
        inner.stats.bytes += bytes;
    }

    /// A panic elsewhere cannot leave the maps in disorder (nothing in between can panic), so the lock stays usable.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of an entry: vector, tokens and a round figure for the two maps.
fn size(key: &Key, vector: &[f32]) -> usize {
    4 * vector.len() + 8 * key.tokens.len() + 192
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> Key {
        let tokens = Tokens::new(vec![id; 4], vec![0; 4]).expect("not empty");
        Key { version: "v".into(), stage: Stage::Pooled { pooling: Pooling::Mean, l2: false }, tokens }
    }

    fn vector(value: f32) -> Arc<[f32]> {
        vec![value; 8].into()
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_bound_holds() {
        let one = size(&key(0), &vector(0.0));
        let cache = FeatureCache::new(3 * one);
        for id in 0..3 {
            cache.insert(key(id), vector(id as f32));
        }
        assert!(cache.get(&key(0)).is_some(), "0 is now the youngest");
        cache.insert(key(3), vector(3.0));
        assert!(cache.get(&key(1)).is_none(), "1 was the oldest");
        for id in [0, 2, 3] {
            assert_eq!(cache.get(&key(id)).expect("held")[0], id as f32);
        }
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.saved_tokens), (4, 1, 16));
        assert_eq!((stats.entries, stats.bytes), (3, 3 * one));
    }

    #[test]
    fn every_part_of_the_key_counts() {
        let cache = FeatureCache::new(1 << 20);
        cache.insert(key(1), vector(1.0));
        let segments = Tokens::new(vec![1; 4], vec![0, 0, 1, 1]).expect("not empty");
        for other in [
            Key { version: "w".into(), ..key(1) },
            Key { stage: Stage::Pooled { pooling: Pooling::Cls, l2: false }, ..key(1) },
            Key { stage: Stage::Pooled { pooling: Pooling::Mean, l2: true }, ..key(1) },
            Key { stage: Stage::Below { layer: 1 }, ..key(1) },
            Key { tokens: segments, ..key(1) },
        ] {
            assert!(cache.get(&other).is_none(), "{other:?}");
        }
        assert!(cache.get(&key(1)).is_some());
    }

    #[test]
    fn a_cache_without_room_holds_nothing() {
        let cache = FeatureCache::new(0);
        cache.insert(key(1), vector(1.0));
        assert_eq!(cache.stats().entries, 0);
    }
}
