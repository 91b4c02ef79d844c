//! `lattice ls`: which models are here.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use lattice_hub::{ALIASES, Record};
use lattice_inference::checkpoint::{Checkpoint, Config, Installed, ModelFiles, ModelStore};
use lattice_inference::models::family_of;
use serde_json::{Value, json};

use crate::show::bytes;
use crate::source::StoreArgs;
use crate::visible::visible;

/// `lattice ls`
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// List the short names that pull knows, too
    #[arg(long)]
    pub(crate) all: bool,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

pub(crate) fn run(args: &LsArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.store();
    let rows: Vec<Row> = store
        .list()?
        .into_iter()
        .map(|model| Row::of(&store, model))
        .collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        let models: Vec<Value> = rows.iter().map(Row::as_json).collect();
        let mut list = json!({"model_dir": store.root.display().to_string(), "models": models});
        if args.all {
            let known = ALIASES
                .iter()
                .map(|alias| json!({"short": alias.short, "name": alias.name}));
            list["short_names"] = known.collect();
        }
        writeln!(out, "{list}")?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        let root = store.root.display().to_string();
        writeln!(
            out,
            "no models in {}; `lattice pull NAME` gets one",
            visible(&root)
        )?;
    }
    let wide = rows
        .iter()
        .map(|row| row.model.name.chars().count())
        .max()
        .unwrap_or(0);
    for row in &rows {
        writeln!(out, "{}", row.line(wide))?;
    }
    if args.all {
        writeln!(out, "\nshort names:")?;
        for alias in ALIASES {
            writeln!(out, "  {:<38} {}", alias.short, alias.name)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A model and what its files say.
struct Row {
    model: Installed,
    family: String,
    form: String,
    /// Seconds since 1970.
    since_s: Option<u64>,
    commit: Option<String>,
}

impl Row {
    fn of(store: &ModelStore, model: Installed) -> Self {
        let record = Record::open(&model.path).ok().flatten();
        let files = store.resolve(&model.name).ok();
        let (family, form) = files.as_ref().map_or_else(unknown, said);
        let commit = record.as_ref().map(|record| record.commit.clone());
        Self {
            since_s: record.map_or_else(|| modified_s(&model.path), |record| Some(record.pulled_s)),
            commit: commit.or_else(|| files.and_then(|files| files.revision())),
            family,
            form,
            model,
        }
    }

    fn line(&self, wide: usize) -> String {
        let since = self.since_s.map_or("-".to_owned(), day);
        let short = ALIASES.iter().find(|alias| alias.name == self.model.name);
        let mut marks: Vec<String> = short
            .map(|alias| alias.short.to_owned())
            .into_iter()
            .collect();
        if self.model.shared {
            marks.push("in the Hugging Face cache".to_owned());
        }
        let line = format!(
            "{:<wide$}  {:<12} {:>11}  {:<14} {since}  {}",
            self.model.name,
            self.family,
            bytes(self.model.bytes),
            self.form,
            marks.join(", ")
        );
        visible(line.trim_end()).into_owned()
    }

    fn as_json(&self) -> Value {
        json!({
            "name": self.model.name,
            "family": self.family,
            "bytes": self.model.bytes,
            "form": self.form,
            "since_s": self.since_s,
            "commit": self.commit,
            "path": self.model.path.display().to_string(),
            "shared": self.model.shared,
        })
    }
}

fn unknown() -> (String, String) {
    ("?".to_owned(), "?".to_owned())
}

/// The family, or what the model calls itself if it is of none; and the forms that its weights are stored in, the one
/// with the most bytes first.
fn said(files: &ModelFiles) -> (String, String) {
    let (mut family, mut form) = unknown();
    if let Ok(config) = Config::open(files) {
        family = match family_of(&config) {
            Ok(family) => family.name.to_owned(),
            Err(_unknown) => format!("({})", config.model_type()),
        };
    }
    if let Ok(checkpoint) = Checkpoint::open(files) {
        let mut forms: Vec<(String, usize)> = Vec::new();
        for tensor in checkpoint.tensors() {
            let name = tensor.form.to_string();
            match forms.iter_mut().find(|(known, _)| *known == name) {
                Some((_, bytes)) => *bytes += tensor.bytes.len(),
                None => forms.push((name, tensor.bytes.len())),
            }
        }
        forms.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let names = forms.into_iter().map(|(name, _)| name).take(2);
        form = names.collect::<Vec<_>>().join("+");
    }
    (family, form)
}

fn modified_s(path: &Path) -> Option<u64> {
    let modified = std::fs::metadata(path).ok()?.modified().ok()?;
    Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Seconds since 1970 as a day in UTC, or how long ago it was if it was lately.
fn day(since_s: u64) -> String {
    let then = UNIX_EPOCH.checked_add(Duration::from_secs(since_s));
    let ago = then.and_then(|then| SystemTime::now().duration_since(then).ok());
    match ago.map(|ago| ago.as_secs()) {
        Some(seconds @ 0..3600) => format!("{} min ago", seconds / 60),
        Some(seconds @ 3600..86_400) => format!("{} h ago", seconds / 3600),
        _ => date(since_s / 86_400),
    }
}

/// The civil date of a day counted from 1970-01-01.
fn date(days: u64) -> String {
    // Counted from 0000-03-01, a year's leap day is its last, and 400 years repeat.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_785, "2026-11-28"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days), expected);
        }
    }
}
