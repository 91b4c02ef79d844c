//! Requests of a program, one after the other, with the model kept loaded.
//!
//! In: lines of JSON on stdin. Out: events on stdout. A bad line is one `error`; the end of stdin ends it well.

use std::io::{self, BufRead};
use std::process::ExitCode;

use anyhow::Context as _;

use super::events::Events;
use super::interrupt;
use super::request::{self, Asked};
use super::session::{AskError, Session};

/// Bytes of one request: more than any context holds.
const LINE_BYTES_MAX: usize = 64 << 20;

pub(crate) fn run<W: io::Write>(
    mut session: Session,
    mut input: impl BufRead,
    events: &mut Events<W>,
) -> anyhow::Result<ExitCode> {
    let mut line = Vec::new();
    session.interrupt.hold();
    loop {
        // While nothing runs, Ctrl-C has nothing to stop but the program.
        if session.interrupt.release() {
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        let read = read_line(&mut input, &mut line, LINE_BYTES_MAX).context("cannot read stdin")?;
        session.interrupt.hold();
        match read {
            Line::End => return Ok(ExitCode::SUCCESS),
            Line::TooLong => {
                events.error(&format!(
                    "a request of more than {LINE_BYTES_MAX} bytes is not read"
                ))?;
                continue;
            }
            Line::Whole if line.trim_ascii().is_empty() => continue,
            Line::Whole => {}
        }
        match request::parse(&line, &session.choices, session.system.as_deref()) {
            Err(reason) => events.error(&reason)?,
            Ok(asked) => answer(&mut session, asked, events)?,
        }
    }
}

fn answer<W: io::Write>(
    session: &mut Session,
    asked: Asked,
    events: &mut Events<W>,
) -> anyhow::Result<()> {
    for field in &asked.ignored {
        events.warning(&format!("ignored field: {field}"))?;
    }
    let form = asked.form.unwrap_or_else(|| session.form.clone());
    let result = session.answer(asked.ask, &asked.choices, &form, &mut |piece| {
        events.piece(piece)
    });
    match result {
        Ok(turn) => events.done(&turn)?,
        Err(error @ AskError::Write(_)) => return Err(error.into()),
        Err(error) => events.error(&error.to_string())?,
    }
    Ok(())
}

/// What came from the input.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// A line, without its line break.
    Whole,
    /// A line of more bytes than allowed; it was read past and not kept.
    TooLong,
    End,
}

/// Reads a line into `line`, of `bytes_max` bytes at most.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, bytes_max: usize) -> io::Result<Line> {
    line.clear();
    // A giant of a request must not hold its memory for ever.
    line.shrink_to(1 << 20);
    let (mut any, mut fits) = (false, true);
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        if available.is_empty() {
            break;
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let content = &available[..end.unwrap_or(available.len())];
        fits &= line.len() + content.len() <= bytes_max;
        if fits {
            line.extend_from_slice(content);
        } else {
            line.clear();
        }
        let used = content.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(match (any, fits) {
        (false, _) => Line::End,
        (true, true) => Line::Whole,
        (true, false) => Line::TooLong,
    })
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn lines_are_whole_or_refused() {
        for capacity in [1, 3, 64] {
            let text: &[u8] = b"abcd\n\nabcde\nefgh\nlast";
            let mut input = BufReader::with_capacity(capacity, text);
            let mut line = Vec::new();
            let mut lines = Vec::new();
            loop {
                match read_line(&mut input, &mut line, 4).unwrap() {
                    Line::End => break,
                    Line::Whole => lines.push(String::from_utf8(line.clone()).unwrap()),
                    Line::TooLong => lines.push("too long".to_owned()),
                }
            }
            assert_eq!(lines, ["abcd", "", "too long", "efgh", "last"]);
        }
    }
}
