//! Tokenising beside the compute.
//!
//! In: texts, and the ends of windows. Out: each window's rows of ids, in order, to whoever computes; the next window is
//! tokenised meanwhile. It does not know: what becomes of the rows.

use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::thread::Builder;

use lattice_inference::encoder::{EncodedText, TextSide};

use crate::{AsInput, EmbedError, InputRef};

/// Texts, and what they become ids with.
pub(crate) struct Texts<'a, T> {
    pub(crate) side: &'a TextSide,
    pub(crate) prompt: &'a str,
    pub(crate) texts: &'a [T],
}

/// The ids of some of the texts, by so many threads, this one among them.
pub(crate) fn tokenise<T: AsInput + Sync>(
    source: &Texts<'_, T>,
    range: Range<usize>,
    threads: usize,
) -> Result<Vec<EncodedText>, EmbedError> {
    let texts = &source.texts[range];
    let part = texts.len().div_ceil(threads.max(1)).max(1);
    let mut parts = texts.chunks(part);
    let own = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let spawn = |texts| {
            let builder = Builder::new().name("lattice-tokenise".to_owned());
            builder.spawn_scoped(scope, move || rows(source, texts))
        };
        let others: Result<Vec<_>, _> = parts.map(spawn).collect();
        let others = others.map_err(EmbedError::Thread)?;
        let mut all = rows(source, own)?;
        for other in others {
            let found = other.join();
            let found = found.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.extend(found?);
        }
        Ok(all)
    })
}

fn rows<T: AsInput>(source: &Texts<'_, T>, texts: &[T]) -> Result<Vec<EncodedText>, EmbedError> {
    let row = |text: &T| match text.as_input() {
        InputRef::Text(text) => source.side.tokenise_after(source.prompt, text),
        InputRef::Ids(ids) => source.side.row_from_ids(source.prompt, ids),
    };
    Ok(texts.iter().map(row).collect::<Result<_, _>>()?)
}

/// Gives the windows to `take` in their order, each tokenised by `threads` while the one before is taken. The first error ends it.
pub(crate) fn ahead<T: AsInput + Sync>(
    source: &Texts<'_, T>,
    ends: &[usize],
    threads: usize,
    mut take: impl FnMut(Vec<EncodedText>) -> Result<(), EmbedError>,
) -> Result<(), EmbedError> {
    std::thread::scope(|scope| {
        // One window waits while another one is computed and a third one is tokenised.
        let (sender, receiver) = sync_channel(1);
        let builder = Builder::new().name("lattice-ahead".to_owned());
        let tokenise_all = move || {
            let mut first = 0;
            for &end in ends {
                let rows = tokenise(source, first..end, threads);
                let failed = rows.is_err();
                // Nobody takes any more: there is nothing left to do.
                if sender.send(rows).is_err() || failed {
                    return;
                }
                first = end;
            }
        };
        let thread = builder.spawn_scoped(scope, tokenise_all);
        let thread = thread.map_err(EmbedError::Thread)?;
        let taken = receiver.iter().try_for_each(|rows| take(rows?));
        drop(receiver);
        match thread.join() {
            Ok(()) => taken,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
