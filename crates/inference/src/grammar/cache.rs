//! The latest values by key, bounded in number and in bytes: the one used longest ago goes first.

use std::collections::HashMap;

struct Entry<T> {
    value: T,
    bytes: usize,
    used: u64,
}

pub(super) struct Cache<T> {
    entries: HashMap<String, Entry<T>>,
    entries_max: usize,
    bytes_max: usize,
    bytes: usize,
    clock: u64,
}

impl<T: Clone> Cache<T> {
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Cache<T> {
        Cache {
            entries: HashMap::new(),
            entries_max,
            bytes_max,
            bytes: 0,
            clock: 0,
        }
    }

    pub(super) fn get(&mut self, key: &str) -> Option<T> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.value.clone())
    }

    /// Keeps a value; one that is larger than all that may be kept is not.
    pub(super) fn insert(&mut self, key: String, value: T, bytes: usize) {
        let bytes = bytes + 2 * key.len();
        if bytes > self.bytes_max || self.entries_max == 0 {
            return;
        }
        self.remove(&key.clone());
        while self.entries.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.remove(&oldest);
        }
        self.clock += 1;
        self.bytes += bytes;
        let used = self.clock;
        self.entries.insert(key, Entry { value, bytes, used });
    }

    /// Entries and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_used_longest_ago_goes_first() {
        let mut cache = Cache::new(2, 1000);
        cache.insert("a".to_owned(), 1, 10);
        cache.insert("b".to_owned(), 2, 10);
        assert_eq!(cache.get("a"), Some(1));
        cache.insert("c".to_owned(), 3, 10);
        assert_eq!(
            (cache.get("a"), cache.get("b"), cache.get("c")),
            (Some(1), None, Some(3))
        );
        assert_eq!(cache.size(), (2, 24));
    }

    #[test]
    fn bytes_have_an_end() {
        let mut cache = Cache::new(100, 100);
        for n in 0..50 {
            cache.insert(format!("{n:02}"), n, 26);
            assert!(cache.size().1 <= 100);
        }
        assert_eq!(cache.size(), (3, 90));
        cache.insert("giant".to_owned(), 0, 200);
        assert_eq!(cache.size().0, 3);
    }
}
