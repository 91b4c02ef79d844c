//! `lattice embed`: vectors of texts.
//!
//! In: texts. Out: vectors in a file, on stdout, or their cosines. What broke off goes on where it was.

pub(crate) mod args;
pub(crate) mod input;
mod screen;
mod similarity;
mod sink;

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use lattice_embed::{EmbedError, EmbedOptions, Embedder, Embeddings, Encoding, Values};
use lattice_inference::checkpoint::ModelFiles;
use lattice_vectors::Label;
use serde_json::json;

pub(crate) use args::EmbedArgs;
use args::EmbedCommand;
use input::Texts;
use screen::Screen;
use similarity::Similarity;
use sink::Sink;

use crate::args::ModelArgs;
use crate::source::SourceError;
use crate::stop::Stop;
use crate::visible::visible;

/// Texts of a first piece, and of any: a piece is what a run that breaks off may lose of its work.
const FIRST_TEXTS: usize = 256;
const PIECE_TEXTS: usize = 4096;
/// Seconds that a piece should take.
const PIECE_S: f64 = 1.0;

pub(crate) fn run(args: &EmbedArgs) -> anyhow::Result<ExitCode> {
    if let Some(EmbedCommand::Backfill(command)) = &args.command {
        return crate::backfill::run(command);
    }
    let stop = Stop::install()?;
    let mut screen = Screen::new(args);
    let Err(error) = embed(args, &stop, &mut screen) else {
        return Ok(ExitCode::SUCCESS);
    };
    let words = format!("{error:#}");
    screen.error(&words)?;
    let stopped = matches!(error.downcast_ref(), Some(EmbedError::Stopped));
    match stop.exit_code() {
        Some(code) if stopped => {
            screen.stopped();
            Ok(ExitCode::from(code))
        }
        _ => Err(error),
    }
}

fn embed(args: &EmbedArgs, stop: &Stop, screen: &mut Screen) -> anyhow::Result<()> {
    sink::check(args)?;
    let mut texts = open_texts(args)?;
    let files = resolve(&args.load.source, args.model.as_deref(), &args.model_name())?;
    let mut embedder = Embedder::open(&files, args.load.on.device.backend(), &args.load.options())?;
    for note in embedder.notes() {
        screen.note(note);
    }
    let mut labels = texts.next(FIRST_TEXTS, &mut |words| screen.warn(words))?;
    let dims = embedder.dims(args.dims)?;
    let fingerprint = fingerprint(args, &embedder, &files, &texts, &labels)?;
    let mut work = Work {
        options: args.options(),
        sink: Sink::open(args, &embedder, &labels, fingerprint)?,
        similarity: args.similarity.then(Similarity::default),
        keep_texts: !args.no_text,
    };
    screen.begin(&embedder, dims, work.sink.found(), texts.total);
    stop.hold();
    let mut skip = work.sink.found();
    let mut texts_max = FIRST_TEXTS;
    while !labels.is_empty() {
        let known = skip.min(labels.len() as u64);
        skip -= known;
        labels.drain(..known as usize);
        if !labels.is_empty() {
            let (count, started) = (labels.len(), Instant::now());
            work.piece(&mut embedder, labels, stop, screen)?;
            let rate = count as f64 / started.elapsed().as_secs_f64().max(1e-6);
            texts_max = ((rate * PIECE_S) as usize).clamp(1, PIECE_TEXTS);
        }
        // While it waits for texts a signal ends the program: all that is whole is on the disk.
        if texts.waits && stop.release() {
            return Err(EmbedError::Stopped.into());
        }
        labels = texts.next(texts_max, &mut |words| screen.warn(words))?;
        if texts.waits {
            stop.hold();
        }
    }
    if skip > 0 {
        bail!("an earlier run wrote more vectors than there are texts now; --force begins anew");
    }
    work.sink.finish()?;
    if let Some(similarity) = &work.similarity {
        screen.close();
        similarity.print(args.json)?;
    }
    Ok(screen.done()?)
}

fn open_texts(args: &EmbedArgs) -> anyhow::Result<Texts> {
    match (&args.file, args.text.is_empty()) {
        (Some(path), _) => Texts::open(path, args.input),
        (None, false) => Ok(Texts::given(args.text.clone())),
        (None, true) => Texts::stdin(args.input),
    }
}

/// The files of the model, or what to do to have them.
pub(crate) fn resolve(
    source: &ModelArgs,
    given: Option<&str>,
    name: &str,
) -> anyhow::Result<ModelFiles> {
    match (source.resolve(Some(name)), given) {
        (Err(SourceError::Unknown { root, .. }), None) => bail!(
            "{name}, the model without --model, is not in {root}: `lattice pull {name}` gets it, or --model names another"
        ),
        (found, _) => Ok(found?),
    }
}

/// Everything that must be the same in a run that goes on with this one.
fn fingerprint(
    args: &EmbedArgs,
    embedder: &Embedder,
    files: &ModelFiles,
    texts: &Texts,
    first: &[Label],
) -> anyhow::Result<Vec<(String, String)>> {
    let origin = match texts.total {
        Some(_) => texts.origin.clone(),
        // Of a stream, what can be known before it is read.
        None => format!("{}, begins with {}", texts.origin, input::hash_of(first)),
    };
    let options = args.options();
    let pair = |name: &str, value: String| (name.to_owned(), value);
    Ok(vec![
        pair("model", embedder.identity(files, &args.load.options())?),
        pair("dimensions", embedder.dims(args.dims)?.to_string()),
        pair("numbers", args.dtype.name().to_owned()),
        pair("prompt", json!(embedder.prompt(&options.role)?).to_string()),
        pair("long texts", args.on_long.name().to_owned()),
        pair("texts kept", (!args.no_text).to_string()),
        pair("source", origin),
    ])
}

/// A run under way.
struct Work {
    options: EmbedOptions,
    sink: Sink,
    similarity: Option<Similarity>,
    keep_texts: bool,
}

impl Work {
    fn piece(
        &mut self,
        embedder: &mut Embedder,
        mut labels: Vec<Label>,
        stop: &Stop,
        screen: &mut Screen,
    ) -> anyhow::Result<()> {
        let texts: Vec<&str> = labels
            .iter()
            .filter_map(|label| label.text.as_deref())
            .collect();
        // Cosines are those of the numbers as they are computed.
        let options = EmbedOptions {
            encoding: Encoding::F32,
            ..self.options.clone()
        };
        let watch = &mut |done| {
            screen.progress(done);
            match stop.asked() || !screen.is_read() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let answer = embedder.embed_watched(&texts, &options, watch);
        let answer = answer.map_err(|error| screen.renumbered(error))?;
        screen.count(&answer);
        if let (Some(similarity), Values::F32(rows)) = (&mut self.similarity, &answer.values) {
            similarity.add(&labels, rows, answer.dims)?;
        }
        if !self.keep_texts {
            labels.iter_mut().for_each(|label| label.text = None);
        }
        let answer: Embeddings = answer.encoded(self.options.encoding)?;
        self.sink.push(labels, &answer)?;
        match stop.asked() {
            true => Err(EmbedError::Stopped.into()),
            false => Ok(()),
        }
    }
}

/// A text in one line of so many characters.
pub(crate) fn short(text: &str, chars: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = visible(&line);
    match line.char_indices().nth(chars) {
        None => line.into_owned(),
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}
