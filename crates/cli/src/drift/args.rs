//! The flags of `lattice drift`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lattice_transport::{DriftOptions, Ground, Thresholds, Windows};

use crate::args::{TextsArgs, within};
use crate::embed::args::Input;

/// `lattice drift`
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct DriftArgs {
    /// What is usual: vectors (.npy, .jsonl, .parquet), a frozen baseline, or with --model texts
    pub(crate) base: PathBuf,
    /// What is to be compared with it: vectors, or with --model texts
    #[arg(required_unless_present = "save_baseline")]
    pub(crate) new: Option<PathBuf>,
    /// Freeze BASE into this file, which can stand for BASE from then on
    #[arg(long, value_name = "FILE")]
    pub(crate) save_baseline: Option<PathBuf>,
    /// Replace a frozen baseline that is there
    #[arg(long, requires = "save_baseline")]
    pub(crate) force: bool,
    /// Both files hold texts; embed them with this model first
    #[arg(long, short, value_name = "PATH|NAME")]
    pub(crate) model: Option<String>,
    /// Compare with a frozen baseline that another model, or another prompt, has made
    #[arg(long)]
    pub(crate) any_model: bool,
    /// How texts stand in the files [default: by their ending]
    #[arg(long, value_enum, value_name = "FORM", requires = "model")]
    pub(crate) input: Option<Input>,
    /// The field or column of the vectors [default: embedding, vector, embeddings or vectors]
    #[arg(long, value_name = "NAME")]
    pub(crate) vectors: Option<String>,
    /// Compare in windows of this many new vectors, as a stream; the whole set is never in memory
    #[arg(long, value_name = "N", value_parser = within::<2, 100_000_000>)]
    pub(crate) window: Option<usize>,
    /// New vectors between the beginnings of two windows [default: the window]
    #[arg(long, value_name = "N", requires = "window", value_parser = within::<1, 100_000_000>)]
    pub(crate) step: Option<usize>,
    /// How distance is taken; cosine scales all vectors to length 1
    #[arg(long, value_enum, default_value_t = Distance::Squared)]
    pub(crate) ground: Distance,
    /// Drift if the p-value of the permutation test is below
    #[arg(long, default_value_t = 0.01, value_name = "P", value_parser = share)]
    pub(crate) p_value: f64,
    /// Drift if the divergence is above
    #[arg(long, value_name = "X", value_parser = limit)]
    pub(crate) max_divergence: Option<f64>,
    /// Drift if the sliced distance is above
    #[arg(long, value_name = "X", value_parser = limit)]
    pub(crate) max_sliced: Option<f64>,
    /// Drift if the means are further apart
    #[arg(long, value_name = "X", value_parser = limit)]
    pub(crate) max_mean_shift: Option<f64>,
    /// Drift if a larger share of the new vectors, from 0 to 1, lies outside of the baseline
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) max_outliers: Option<f64>,
    /// Permutations of the test; p-values are at least 1 / (N + 1)
    #[arg(long, default_value_t = 999, value_name = "N", value_parser = within::<1, 1_000_000>)]
    pub(crate) permutations: usize,
    /// Permutations for a p-value of the divergence too, three transport problems each; the verdict does not look at it
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = within::<0, 1_000_000>)]
    pub(crate) divergence_permutations: usize,
    /// Vectors of each set that divergence and test look at, drawn by seed where there are more
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = within::<2, 50_000>)]
    pub(crate) sample: usize,
    /// The divergence's epsilon, as a share of the mean cost between both sets
    #[arg(long, default_value_t = 1.0, value_name = "SHARE", value_parser = limit)]
    pub(crate) epsilon: f64,
    /// Of samples, permutations and directions
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    pub(crate) seed: u64,
    /// Items listed by name
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = within::<0, 1_000_000>)]
    pub(crate) list: usize,
    /// Draw what was found into this file
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// Print JSON: one object, or one for each window
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) load: TextsArgs,
}

const AFTER: &str = "\
Examples:
  lattice drift january.npy february.npy --plot drift.svg
  lattice drift january.parquet --save-baseline january.drift
  lattice drift january.drift stream.jsonl --window 1000
  lattice drift --model bge-small-en-v1.5 old.txt new.txt

Items that have the same id in both files are compared one by one too.

Exit codes:
  0  no drift
  1  drift
  2  trouble: the reason stands on stderr";

/// How distance is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distance {
    /// |x - y|^2
    Squared,
    /// |x - y|
    Euclidean,
    /// 1 - cosine
    Cosine,
}

/// A share from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x| (0.0..=1.0).contains(x));
    number.ok_or_else(|| "allowed is 0 to 1".to_owned())
}

/// A number above 0.
fn limit(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|x: &f64| x.is_normal() && *x > 0.0);
    number.ok_or_else(|| "allowed is a number above 0".to_owned())
}

impl DriftArgs {
    pub(crate) fn options(&self) -> DriftOptions {
        DriftOptions {
            ground: match self.ground {
                Distance::Squared => Ground::SquaredEuclidean,
                Distance::Euclidean => Ground::Euclidean,
                Distance::Cosine => Ground::Cosine,
            },
            epsilon_share: self.epsilon,
            permutations: self.permutations,
            divergence_permutations: self.divergence_permutations,
            sample_max: self.sample,
            listed: self.list,
            seed: self.seed,
            thresholds: Thresholds {
                p_value: self.p_value,
                divergence: self.max_divergence,
                sliced: self.max_sliced,
                mean_shift: self.max_mean_shift,
                outlier_share: self.max_outliers,
            },
            ..DriftOptions::default()
        }
    }

    pub(crate) fn windows(&self) -> Option<Windows> {
        self.window.map(|size| Windows {
            size,
            step: self.step.unwrap_or(size),
        })
    }
}
