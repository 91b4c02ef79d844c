//! How fast this machine reads memory: the roof under which decoding runs.
//!
//! In: the threads that decode. Out: GB/s (10^9 bytes).

use std::hint::black_box;
use std::time::Instant;

use lattice_kernels::Cpu;

use lattice_inference::facts::memory_available_bytes;

/// Words of one task: 1 MiB.
const TASK_WORDS: usize = 128 * 1024;
/// A buffer that large caches do not hold.
const BYTES_MIN: u64 = 256 << 20;

/// Bytes to read: four times the largest cache and at least 256 MiB, but at most a quarter of the free memory.
pub(super) fn buffer_bytes() -> usize {
    let wanted = BYTES_MIN.max(4 * largest_cache_bytes().unwrap_or(0));
    let free = memory_available_bytes().map_or(u64::MAX, |free| free / 4);
    usize::try_from(wanted.min(free)).unwrap_or(usize::MAX)
}

/// GB/s of the best of `passes` over a buffer of `bytes` (at least 1 MiB), read by all threads of `cpu`.
pub(super) fn read_bandwidth(cpu: &Cpu, bytes: usize, passes: usize) -> f64 {
    let tasks = (bytes / (TASK_WORDS * 8)).max(1);
    // Ones, not zeros: a fresh page of zeros may be one page mapped many times.
    let words = vec![1u64; tasks * TASK_WORDS];
    let read = |task: usize| {
        let words = &words[task * TASK_WORDS..(task + 1) * TASK_WORDS];
        black_box(words.iter().fold(0u64, |sum, &word| sum.wrapping_add(word)));
    };
    let seconds = (0..passes).map(|_| {
        let started = Instant::now();
        cpu.run(tasks, &read);
        started.elapsed().as_secs_f64()
    });
    let best = seconds.fold(f64::INFINITY, f64::min);
    (words.len() * 8) as f64 / best / 1e9
}

/// The largest cache of the first processor, where the system lists them (Linux).
fn largest_cache_bytes() -> Option<u64> {
    let caches = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    caches
        .filter_map(|cache| {
            let text = std::fs::read_to_string(cache.ok()?.path().join("size")).ok()?;
            let kib: u64 = text.trim().strip_suffix('K')?.parse().ok()?;
            Some(kib * 1024)
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_kernels::CpuOptions;

    #[test]
    fn a_bandwidth_is_a_positive_figure() {
        let cpu = Cpu::new(CpuOptions::default()).unwrap();
        let gbps = read_bandwidth(&cpu, 4 << 20, 2);
        assert!(gbps.is_finite() && gbps > 0.0, "{gbps}");
        assert!(buffer_bytes() > 0);
    }
}
