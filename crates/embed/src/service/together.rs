//! Small requests that wait at the same time, in one batch.
//!
//! In: requests. Out: each one's answer, which is the one that it would have got alone: a vector depends on its own text.

use super::native::{embed as embed_alone, is_wanted};
use super::pool::Answer;
use crate::{
    AsInput, EmbedError, EmbedOptions, Embedder, Embeddings, Encoding, InputRef, OnLong, Request,
    Role,
};

type Waiting = (Box<Request>, Answer<Embeddings>);

/// Answers requests, those with one role and size together.
pub(super) fn embed(embedder: &mut Embedder, waiting: Vec<Waiting>) {
    let wanted = |one: &Waiting| is_wanted(&one.0, &one.1);
    let (mut waiting, stopped): (Vec<_>, Vec<_>) = waiting.into_iter().partition(wanted);
    for (_, answer) in stopped {
        drop(answer.send(Err(EmbedError::Stopped)));
    }
    while let Some((first, _)) = waiting.first() {
        let of = |request: &Request| -> (Role, Option<usize>) {
            (request.role.clone(), request.model.dims())
        };
        let (role, dims) = of(first);
        let same = |one: &mut Waiting| of(&one.0) == (role.clone(), dims);
        let group: Vec<Waiting> = waiting.extract_if(.., same).collect();
        embed_group(embedder, group, role, dims);
    }
}

fn embed_group(embedder: &mut Embedder, group: Vec<Waiting>, role: Role, dims: Option<usize>) {
    let texts: Vec<InputRef<'_>> = group
        .iter()
        .flat_map(|(request, _)| request.texts.iter().map(AsInput::as_input))
        .collect();
    let options = EmbedOptions {
        role,
        dims,
        encoding: Encoding::F32,
        on_long: OnLong::Truncate,
    };
    let all = match group.len() {
        1 => None,
        _ => embedder.embed(&texts, &options).ok(),
    };
    let mut first = 0;
    for (request, answer) in group {
        let last = first + request.texts.len();
        match &all {
            // What is wrong with one request is no business of the others.
            None => embed_alone(embedder, &request, answer),
            // A caller who went away needs no answer.
            Some(all) => drop(answer.send(own(&request, all, first..last, embedder.name()))),
        }
        first = last;
    }
}

/// The part of all that a request asked for.
fn own(
    request: &Request,
    all: &Embeddings,
    texts: std::ops::Range<usize>,
    model: &str,
) -> Result<Embeddings, EmbedError> {
    let part = all.part(texts)?;
    match (part.truncated.first(), request.on_long) {
        (Some(cut), OnLong::Error) => Err(EmbedError::TooLong {
            model: model.to_owned(),
            text: cut.text,
            tokens: cut.tokens,
            tokens_max: cut.kept,
        }),
        _ => part.encoded(request.encoding),
    }
}
