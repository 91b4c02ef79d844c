//! A model as a store needs it: what it is, to the bit, and vectors of texts.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::bail;
use lattice_embed::backfill::{Dtype, GenerationStatus, Identity, Numbers};
use lattice_embed::{EmbedOptions, Embedder, Encoding, OnLong, Values};
use serde_json::json;

use super::args::MadeByArgs;
use crate::args::TextsArgs;
use crate::embed;

/// The setting with the prompt's name; empty for the model's own default.
const PROMPT: &str = "prompt";
/// The setting with all else that the bits depend on.
const COMPUTED: &str = "computed";
/// The setting with the path of a model that was given as one. It says where to look, and is the store's whatever a later step is
/// given.
const PLACE: &str = "place";

pub(super) struct Model {
    embedder: Embedder,
    options: EmbedOptions,
    identity: Identity,
    /// What the store says of it, where it says something.
    stored: Option<Identity>,
}

impl Model {
    /// The model that flags ask for.
    pub(super) fn planned(made_by: &MadeByArgs, load: &TextsArgs) -> anyhow::Result<Self> {
        let prompt = made_by.prompt.as_deref().unwrap_or_default();
        let encoding = made_by.dtype.encoding();
        let mut model = Self::open(&made_by.model, made_by.dims, encoding, prompt, load)?;
        let path = Path::new(&made_by.model);
        if path.is_dir() {
            let path = path.canonicalize()?.display().to_string();
            model.identity.settings.push((PLACE.to_owned(), path));
        }
        Ok(model)
    }

    /// The model of a generation: where a flag says it is, at the path or by the name that the store has.
    pub(super) fn of(
        made: &GenerationStatus,
        given: Option<&str>,
        load: &TextsArgs,
    ) -> anyhow::Result<Self> {
        let made_by = &made.made_by;
        let prompt = setting(made_by, PROMPT).unwrap_or_default();
        let encoding = match made_by.dtype {
            Dtype::F32 => Encoding::F32,
            Dtype::I8 => Encoding::I8,
            Dtype::Binary => Encoding::Binary,
        };
        let place = setting(made_by, PLACE);
        let there = place.filter(|place| Path::new(place).is_dir());
        let name = given.or(there).unwrap_or(&made_by.model);
        let mut model = Self::open(name, Some(made_by.dims), encoding, prompt, load)?;
        if let Some(place) = place {
            let place = (PLACE.to_owned(), place.to_owned());
            model.identity.settings.push(place);
        }
        model.stored = Some(made_by.clone());
        Ok(model)
    }

    fn open(
        name: &str,
        dims: Option<usize>,
        encoding: Encoding,
        prompt: &str,
        load: &TextsArgs,
    ) -> anyhow::Result<Self> {
        let files = embed::resolve(&load.source, Some(name), name)?;
        let options = load.options();
        let embedder = Embedder::open(&files, load.on.device.backend(), &options)?;
        for note in embedder.notes() {
            writeln!(io::stderr(), "note: {note}")?;
        }
        let role = embed::args::role((!prompt.is_empty()).then_some(prompt));
        let computed = format!(
            "{} {}",
            embedder.identity(&files, &options)?,
            json!(embedder.prompt(&role)?)
        );
        let identity = Identity {
            model: embedder.name().to_owned(),
            revision: files.revision().unwrap_or_default(),
            dims: embedder.dims(dims)?,
            dtype: match encoding {
                Encoding::F32 => Dtype::F32,
                Encoding::I8 => Dtype::I8,
                Encoding::Binary => Dtype::Binary,
            },
            settings: vec![
                (PROMPT.to_owned(), prompt.to_owned()),
                (COMPUTED.to_owned(), computed),
            ],
        };
        Ok(Self {
            embedder,
            options: EmbedOptions {
                role,
                dims,
                encoding,
                on_long: OnLong::Truncate,
            },
            identity,
            stored: None,
        })
    }

    /// What its vectors are made by.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// That it is the store's model, though perhaps computed otherwise; which is said.
    pub(super) fn check_close(&self) -> anyhow::Result<()> {
        let Some(stored) = &self.stored else {
            return Ok(());
        };
        if stored.model != self.identity.model {
            bail!(
                "the store is made by {}, this is {}",
                stored.model,
                self.identity.model
            );
        }
        if setting(stored, COMPUTED) != setting(&self.identity, COMPUTED) {
            let model = &stored.model;
            writeln!(
                io::stderr(),
                "note: {model}: its files, this program or this machine are not those that made the rows before; vectors may differ from theirs"
            )?;
        }
        Ok(())
    }

    /// Vectors as they are stored.
    pub(super) fn vectors(&mut self, texts: &[&str]) -> Result<Numbers, String> {
        let answer = self.embedder.embed(texts, &self.options);
        match answer.map_err(|error| error.to_string())?.values {
            Values::F32(values) => Ok(Numbers::F32(values)),
            Values::I8 { values, scales } => Ok(Numbers::I8 { values, scales }),
            Values::Binary(values) => Ok(Numbers::Binary(values)),
            _ => Err("vectors in a form that is not known here".to_owned()),
        }
    }
}

fn setting<'a>(identity: &'a Identity, name: &str) -> Option<&'a str> {
    let mut pairs = identity.settings.iter();
    let found = pairs.find(|(there, _)| there == name);
    found.map(|(_, value)| &**value)
}
