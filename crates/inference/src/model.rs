//! A model directory understood: configuration, plan and checkpoint that belong together.

use std::hash::Hasher as _;
use std::sync::Arc;

use twox_hash::XxHash3_64;

use crate::Error;
use crate::backend::{self, KvFormat, LoadOptions, stored_bytes};
use crate::checkpoint::{Checkpoint, Config, ModelFiles, OpenOptions};
use crate::encoder::{self, CrossSettings, EncoderError, EncoderSettings, Given};
use crate::models::{self, Family};
use crate::plan::{Footprint, Op, Plan, State, Weight};

/// What a model is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Next tokens: it generates text.
    Text,
    /// A vector for each text.
    Vectors(EncoderSettings),
    /// Scores for each text or pair of texts.
    Scores(CrossSettings),
}

/// A model, opened and checked, with nothing loaded yet.
///
/// ```
/// use lattice_inference::Model;
/// use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
///
/// # fn main() -> Result<(), lattice_inference::Error> {
/// let files = ModelFiles::open("../../models/lattice-tiny".as_ref())?;
/// let model = Model::open(&files, &OpenOptions::default())?;
/// assert_eq!(model.family.name, "qwen3_5");
/// println!("{}", model.plan.table(|weight| model.weight_bytes(weight)));
/// # Ok(())
/// # }
/// ```
pub struct Model {
    /// Its configuration.
    pub config: Config,
    /// Its family.
    pub family: &'static Family,
    /// What it is for.
    pub purpose: Purpose,
    /// What to compute.
    pub plan: Arc<Plan>,
    /// With which weights.
    pub checkpoint: Arc<Checkpoint>,
    /// Its files in folders of their own, by their paths: `1_Pooling/config.json`.
    pub more_files: Vec<String>,
    /// What a person should know: tensors and fields that nothing uses.
    pub notes: Vec<String>,
    /// Parts of the checkpoint that this engine leaves out on purpose.
    pub left_out: Vec<String>,
}

impl Model {
    /// Names the model by all it computes with: steps and weights, XXH3-64 in hex. Reads every weight.
    ///
    /// # Errors
    /// A weight file changed since it was opened.
    pub fn fingerprint(&self) -> Result<String, Error> {
        let mut hash = XxHash3_64::new();
        hash.write(format!("{:?}", self.plan.steps).as_bytes());
        for tensor in self.checkpoint.tensors() {
            hash.write(format!("{} {:?} {:?}", tensor.name, tensor.form, tensor.shape).as_bytes());
            hash.write(tensor.bytes);
        }
        self.checkpoint.unchanged()?;
        Ok(format!("{:016x}", hash.finish()))
    }

    /// Opens a model's files: reads config.json, plans, maps the weights and checks each tensor's shape.
    ///
    /// # Errors
    /// Names the file and the field, tensor or byte that is wrong.
    pub fn open(files: &ModelFiles, options: &OpenOptions) -> Result<Self, Error> {
        Self::open_given(files, options, &Given::default())
    }

    /// [`Self::open`], with what a caller says about an encoder whose files do not, or say something else.
    ///
    /// # Errors
    /// As [`Self::open`]; and what is given does not go with the model.
    pub fn open_given(
        files: &ModelFiles,
        options: &OpenOptions,
        given: &Given,
    ) -> Result<Self, Error> {
        let config = Config::open(files)?;
        let family = models::family_of(&config)?;
        let asked = encoder::asked(files, &config, family, given)?;
        let plan = (family.plan)(&config, &asked.ending())?;
        let checkpoint = Checkpoint::open_with(files, *options)?.rename(family.sanitize)?;
        let checkpoint = checkpoint.beside(files, *options, &asked.more_weights())?;
        let surplus = checkpoint.check(&backend::wanted(&plan))?;
        let mut notes = config.notes().to_vec();
        notes.extend(unread(&config));
        let more_files = asked.more_files();
        let (purpose, said) = asked.purpose(&plan)?;
        notes.extend(said);
        notes.extend(unused(&surplus, &plan));
        let left_out = ignored(&checkpoint);
        Ok(Self {
            config,
            family,
            purpose,
            plan: Arc::new(plan),
            checkpoint: Arc::new(checkpoint),
            more_files,
            notes,
            left_out,
        })
    }

    /// What kind of model this is, in words.
    pub fn description(&self) -> String {
        match self.purpose {
            Purpose::Text => format!("a language model ({})", self.family.name),
            Purpose::Vectors(_) => format!("an embedding model ({})", self.family.name),
            Purpose::Scores(_) => format!("a cross-encoder ({})", self.family.name),
        }
    }

    /// Refuses a model that generates no text.
    ///
    /// # Errors
    /// [`EncoderError::NoText`] says what it is.
    pub fn must_generate(&self) -> Result<(), EncoderError> {
        match self.purpose {
            Purpose::Text => Ok(()),
            Purpose::Vectors(_) | Purpose::Scores(_) => {
                Err(EncoderError::NoText(self.description()))
            }
        }
    }

    /// What nothing uses, and what is left out on purpose.
    pub fn all_notes(&self) -> impl Iterator<Item = &String> {
        self.notes.iter().chain(&self.left_out)
    }

    /// How keys and values are kept under `options`: as asked, else f32 where every matrix is stored in f32.
    pub fn kv_format(&self, options: &LoadOptions) -> KvFormat {
        options
            .kv
            .unwrap_or_else(|| KvFormat::for_checkpoint(&self.plan, &self.checkpoint))
    }

    /// Bytes of a weight as the checkpoint stores it, without what fills a packed one up to whole pages; of one in blocks,
    /// as it is kept.
    pub fn weight_bytes(&self, weight: &Weight) -> u64 {
        stored_bytes(weight, &self.checkpoint)
    }

    /// Memory under `options`, from a dry run over the plan.
    pub fn footprint(&self, options: &LoadOptions) -> Footprint {
        let bytes = |weight: &Weight| self.weight_bytes(weight);
        let (tokens, rows) = (options.batch_tokens_max, options.output_rows_max);
        let kv = self.kv_format(options);
        let kv_bytes = |state: &State| kv.token_bytes(state);
        let mut footprint = self.plan.footprint(bytes, kv_bytes, tokens, rows);
        footprint.scratch_bytes += (tokens * self.packed_width() * 2) as u64;
        footprint
    }

    /// Columns of the widest value that a packed matrix reads: each takes two bytes as an integer.
    fn packed_width(&self) -> usize {
        let packed = |id| {
            let tensor = self.checkpoint.tensor(&self.plan.weight(id).tensor);
            tensor.is_some_and(|tensor| tensor.form.is_integers())
        };
        let steps = self.plan.steps.iter();
        let widths = steps.filter_map(|step| match step.op {
            Op::Linear { x, weight, .. } if packed(weight) => Some(self.plan.value(x).width),
            _ => None,
        });
        widths.max().unwrap_or(0)
    }
}

/// Fields of the configuration that nothing asked for.
fn unread(config: &Config) -> Option<String> {
    let fields = config.unread();
    (!fields.is_empty()).then(|| format!("config.json: not used: {}", fields.join(", ")))
}

/// Tensors that no step reads.
fn unused(surplus: &[String], plan: &Plan) -> Option<String> {
    let first = surplus.first()?;
    let head = surplus.iter().any(|name| name == "lm_head.weight");
    let tied = if head {
        " (the configuration ties the head to the embedding)"
    } else {
        ""
    };
    Some(format!(
        "{} tensors are not used by {}, e.g. {first}{tied}",
        surplus.len(),
        plan.family
    ))
}

/// Tensors the family leaves out on purpose, by reason.
fn ignored(checkpoint: &Checkpoint) -> Vec<String> {
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for (_, reason) in checkpoint.ignored() {
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    reasons
        .into_iter()
        .map(|(reason, count)| format!("{count} tensors left out: {reason}"))
        .collect()
}
