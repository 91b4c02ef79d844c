//! The machine that a session ran on, and who else used it meanwhile.
//!
//! In: the system's own accounts (Linux: /proc), git, the clock. Out: names, shares, a date. What the system does not
//! tell is left empty.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// Instruction sets that decide how fast a model can be.
const FEATURES: [&str; 13] = [
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vbmi",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
];

/// What ran it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) processor: String,
    /// Of [`FEATURES`], in the order there.
    pub(super) features: Vec<&'static str>,
    pub(super) cores: usize,
    pub(super) memory_gib: u64,
}

impl Machine {
    pub(super) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self::from_text(&text("/proc/cpuinfo"), &text("/proc/meminfo"))
    }

    fn from_text(cpuinfo: &str, meminfo: &str) -> Self {
        let field = |key: &str| field(cpuinfo, key).unwrap_or("unknown");
        let flags: Vec<&str> = field("flags").split_whitespace().collect();
        let has = |feature: &&str| flags.contains(feature);
        let (name, family) = (field("model name"), field("cpu family"));
        let memory = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"));
        let kib = memory.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Self {
            processor: format!("{name}, family {family}, model {}", field("model")),
            features: FEATURES.iter().copied().filter(has).collect(),
            cores: cpuinfo
                .lines()
                .filter(|l| l.starts_with("processor"))
                .count(),
            memory_gib: kib.map_or(0, |kib: u64| (kib + (1 << 19)) >> 20),
        }
    }
}

/// The value of the first line `key : value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = pairs.filter(|(name, _)| name.trim() == key);
    values.next().map(|(_, value)| value.trim())
}

/// Processor time since the machine started, in the system's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks {
    /// Of all processors together, whatever they did.
    all: u64,
    /// Somebody's work.
    busy: u64,
    /// Taken by other virtual machines.
    stolen: u64,
    /// Work of this process and of its children that ended.
    own: u64,
}

/// Shares of all processors, 0 to 1, between two moments.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Shares {
    /// Other processes' work.
    pub(super) others: f64,
    /// Other virtual machines'.
    pub(super) stolen: f64,
}

impl Ticks {
    /// `None` where the system keeps no such accounts.
    pub(super) fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        Self::from_text(&stat, &fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn from_text(stat: &str, own: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Option<Vec<u64>> = line.split_whitespace().map(|t| t.parse().ok()).collect();
        // Guests' time, after the eighth, is counted in the user's already.
        let [user, nice, system, idle, wait, irq, soft_irq, stolen, ..] = ticks?[..] else {
            return None;
        };
        let busy = user + nice + system + irq + soft_irq;
        Some(Self {
            all: busy + idle + wait + stolen,
            busy,
            stolen,
            own: own_ticks(own)?,
        })
    }

    pub(super) fn until(self, later: Self) -> Shares {
        let all = later.all.saturating_sub(self.all).max(1) as f64;
        let busy = later.busy.saturating_sub(self.busy);
        let own = later.own.saturating_sub(self.own);
        Shares {
            others: busy.saturating_sub(own) as f64 / all,
            stolen: later.stolen.saturating_sub(self.stolen) as f64 / all,
        }
    }
}

/// User and system time, of the process and of its children, behind the program's name in brackets.
fn own_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let times: Vec<&str> = rest.split_whitespace().skip(11).take(4).collect();
    let parsed: Option<Vec<u64>> = times.iter().map(|time| time.parse().ok()).collect();
    parsed
        .filter(|times| times.len() == 4)
        .map(|t| t.iter().sum())
}

/// The commit of the working tree, and whether it has changes beside it.
pub(super) fn commit(root: &Path) -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=10"])
        .current_dir(root)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// Today in UTC, as YYYY-MM-DD.
pub(super) fn today() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(date(now.context("a clock before 1970")?.as_secs() / 86400))
}

/// Days since 1 January 1970 as a date, by Hinnant's `civil_from_days` for years after 0.
fn date(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day_of_month:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates_across_leap_years() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (20_088, "2024-12-31"),
            (20_782, "2026-11-25"),
        ] {
            assert_eq!(date(days), expected);
        }
    }

    const STAT: &str = "cpu  100 10 40 800 20 5 5 20 7 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";

    fn own(ticks: u64) -> String {
        format!("7 (a (b) c) S 1 7 7 0 -1 4 0 0 0 0 {ticks} 2 3 4 20 0 1 0 99\n")
    }

    #[test]
    fn others_are_the_busy_time_that_is_not_ours() {
        let before = Ticks::from_text(STAT, &own(1)).unwrap();
        assert_eq!((before.all, before.busy, before.own), (1000, 160, 10));
        let later = "cpu  180 10 40 900 20 5 5 40 7 0\n";
        let shares = before.until(Ticks::from_text(later, &own(61)).unwrap());
        assert_eq!(shares.others, 20.0 / 200.0);
        assert_eq!(shares.stolen, 20.0 / 200.0);
        // Ticks of the two accounts are rounded apart: never less than nothing.
        assert_eq!(before.until(before).others, 0.0);
        assert_eq!(Ticks::from_text("cpu 1 2\n", &own(1)), None);
        assert_eq!(Ticks::from_text(STAT, "7 (x"), None);
    }

    #[test]
    fn a_processor_is_its_name_and_what_it_can_do() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 2\nmodel name\t: Some\ncpu family\t: 26\n\
                       flags\t\t: fpu fma avx2 avx512f\nprocessor\t: 1\n";
        let machine = Machine::from_text(cpuinfo, "MemTotal:       24500000 kB\n");
        assert_eq!(machine.processor, "Some, family 26, model 2");
        assert_eq!(machine.features, ["avx2", "fma", "avx512f"]);
        assert_eq!((machine.cores, machine.memory_gib), (2, 23));
        assert_eq!(Machine::from_text("", "").cores, 0);
    }
}
