//! The flags of `lattice quantize` and `lattice convert`.

use std::path::PathBuf;

use clap::Args;
use lattice_inference::quantize::{Recipe, Scheme, WriteOptions};
use lattice_kernels::PackedScheme;

use crate::args::{Positional, positive, within};

/// Which model is written where, and how.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    pub(crate) model: Positional,
    /// The directory to make; it may not be there yet
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Replace the packed model at -o
    #[arg(long)]
    pub(crate) force: bool,
    /// Take along, as they are, tensors that the model does not read (draft heads, image towers)
    #[arg(long)]
    pub(crate) keep_unused: bool,
    /// Accept NaN and infinity in tensors that stay as they are; a matrix with one is never packed
    #[arg(long)]
    pub(crate) allow_nan: bool,
    /// Print events for programs: `@@lattice {"ev":...}` lines
    #[arg(long)]
    pub(crate) json: bool,
    /// Threads; 0: one per core
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = within::<0, 1024>)]
    pub(crate) threads: usize,
}

/// `lattice convert`
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    pub(crate) copy: CopyArgs,
}

/// `lattice quantize`
#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    #[command(flatten)]
    pub(crate) copy: CopyArgs,
    /// How matrices are packed: q8 (8.1 bits a weight), q4 (4.8) or q4_32 (4.4)
    #[arg(long, value_name = "SCHEME", value_parser = packed)]
    pub(crate) to: PackedScheme,
    /// The embedding table, also where it is the head: a scheme, or keep for as stored [default: as --to]
    #[arg(long, value_name = "SCHEME")]
    pub(crate) embed: Option<Scheme>,
    /// The head, where it is a tensor of its own [default: as --to]
    #[arg(long, value_name = "SCHEME")]
    pub(crate) head: Option<Scheme>,
    /// Matrices whose names match PATTERN, in which * stands for any text; later ones win
    #[arg(long, value_name = "PATTERN=SCHEME", value_parser = exception)]
    pub(crate) mixed: Vec<(String, Scheme)>,
    /// Hold the result against the model it was made from on this text, and write the figures into lattice.json
    #[arg(long, value_name = "FILE")]
    pub(crate) measure: Option<PathBuf>,
    /// Chunks of 512 tokens to measure on, at most
    #[arg(long, value_name = "N", default_value_t = 40, requires = "measure", value_parser = positive)]
    pub(crate) measure_chunks: usize,
}

impl QuantizeArgs {
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe {
            embed: self.embed,
            head: self.head,
            mixed: self.mixed.clone(),
            ..Recipe::new(self.to)
        }
    }
}

impl CopyArgs {
    pub(crate) fn write_options(&self) -> WriteOptions {
        WriteOptions {
            keep_unused: self.keep_unused,
            force: self.force,
            allow_non_finite: self.allow_nan,
            threads: self.threads,
        }
    }
}

fn packed(text: &str) -> Result<PackedScheme, String> {
    match text.parse() {
        Ok(Scheme::Packed(scheme)) => Ok(scheme),
        Ok(Scheme::Keep) => Err("keep is for exceptions; to what shall the rest be packed?".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn exception(text: &str) -> Result<(String, Scheme), String> {
    let (pattern, scheme) = text
        .rsplit_once('=')
        .ok_or("PATTERN=SCHEME is wanted, like '*.down_proj.weight=q8'")?;
    let scheme = scheme.parse().map_err(|error| format!("{error}"))?;
    Ok((pattern.to_owned(), scheme))
}
