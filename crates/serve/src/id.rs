//! Names for requests and answers, and the time of day.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A name that no other answer of this program has, and none of another is likely to have.
pub(crate) fn fresh(prefix: &str) -> String {
    // The standard library seeds its hash maps from the system's entropy.
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = &*KEYS;
    format!(
        "{prefix}{:016x}{:08x}",
        high.hash_one(number),
        low.hash_one(number) as u32
    )
}

/// Seconds since 1970, as `created` tells them.
pub(crate) fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
