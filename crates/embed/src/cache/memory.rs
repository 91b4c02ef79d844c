//! The part of the cache that is in memory: least recently used goes first, in shards with a lock each.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::key::Key;

/// Shards of a large cache: a few times the threads that look into it at once.
const SHARDS: usize = 16;
/// Entries a shard holds at least, so that a small cache is one shard and keeps exactly what it may.
const SHARD_ENTRIES_MIN: usize = 64;
/// Bytes of an entry beside its numbers: key, counts, pointers, its place in the table and in the list.
const ENTRY_BYTES: usize = 160;

/// A vector and what is known about its text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) row: Box<[f32]>,
    /// Tokens that were read.
    pub(super) tokens: u32,
    /// Tokens of the whole text.
    pub(super) tokens_before: u32,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + size_of_val(&*self.row)
    }
}

/// All shards.
pub(super) struct Memory {
    shards: Box<[Mutex<Shard>]>,
    entries_max: usize,
    bytes_max: usize,
}

struct Shard {
    entries: LruCache<Key, Arc<Entry>>,
    bytes: usize,
    evicted: u64,
}

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fill {
    pub(super) entries: usize,
    pub(super) bytes: usize,
    pub(super) evicted: u64,
}

impl Memory {
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        let shards = (entries_max / SHARD_ENTRIES_MIN).clamp(1, SHARDS);
        let shard = || Shard {
            entries: LruCache::unbounded(),
            bytes: 0,
            evicted: 0,
        };
        Self {
            shards: (0..shards).map(|_| Mutex::new(shard())).collect(),
            entries_max: entries_max / shards,
            bytes_max: bytes_max / shards,
        }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(key.0[0]) % self.shards.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.shard(key).entries.get(key).map(Arc::clone)
    }

    /// Takes an entry in, and lets go of the least recently used ones until all fit. One that does not fit alone is not kept.
    pub(super) fn put(&self, key: Key, entry: Arc<Entry>) {
        let mut shard = self.shard(&key);
        let bytes = entry.bytes();
        if bytes > self.bytes_max || self.entries_max == 0 {
            return;
        }
        shard.bytes += bytes;
        if let Some(old) = shard.entries.put(key, entry) {
            shard.bytes -= old.bytes();
        }
        while shard.bytes > self.bytes_max || shard.entries.len() > self.entries_max {
            let Some((_, old)) = shard.entries.pop_lru() else {
                break;
            };
            shard.bytes -= old.bytes();
            shard.evicted += 1;
        }
    }

    pub(super) fn fill(&self) -> Fill {
        self.shards.iter().fold(Fill::default(), |sum, shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            Fill {
                entries: sum.entries + shard.entries.len(),
                bytes: sum.bytes + shard.bytes,
                evicted: sum.evicted + shard.evicted,
            }
        })
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.entries.clear();
            shard.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(dims: usize) -> Arc<Entry> {
        Arc::new(Entry {
            row: vec![0.5; dims].into(),
            tokens: 3,
            tokens_before: 3,
        })
    }

    fn key(number: u8) -> Key {
        let mut key = Key([number; Key::BYTES]);
        key.0[0] = number.wrapping_mul(31);
        key
    }

    #[test]
    fn what_was_used_last_stays() {
        let memory = Memory::new(2, 1 << 20);
        memory.put(key(1), entry(4));
        memory.put(key(2), entry(4));
        assert!(memory.get(&key(1)).is_some());
        memory.put(key(3), entry(4));
        assert!(memory.get(&key(2)).is_none());
        assert!(memory.get(&key(1)).is_some() && memory.get(&key(3)).is_some());
        assert_eq!(memory.fill().evicted, 1);
        memory.clear();
        assert_eq!((memory.fill().entries, memory.fill().bytes), (0, 0));
    }

    proptest! {
        #[test]
        fn both_limits_hold(
            entries_max in 0usize..300,
            bytes_max in 0usize..40_000,
            puts in prop::collection::vec((any::<u8>(), 0usize..200), 0..300),
        ) {
            let memory = Memory::new(entries_max, bytes_max);
            for (number, dims) in puts {
                memory.put(key(number), entry(dims));
                let fill = memory.fill();
                prop_assert!(fill.entries <= entries_max && fill.bytes <= bytes_max);
            }
        }
    }
}
