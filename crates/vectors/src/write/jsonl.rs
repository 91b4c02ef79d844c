//! Pieces of JSON lines: `id`, `text`, other fields, `scale`, `embedding`.

use std::io::Write as _;

use serde::Serialize;

use super::encode::{Encoded, Encoder, Ending, Piece, PieceLine};
use crate::set::SCALE;
use crate::{Id, Label, VECTOR_NAMES, Values};

/// Names that a line has from us.
const OURS: [&str; 3] = ["id", "text", VECTOR_NAMES[0]];

pub(super) struct Jsonl;

impl Encoder for Jsonl {
    fn head(&self) -> Vec<u8> {
        Vec::new()
    }

    fn check(&self, label: &Label) -> Result<(), String> {
        let ours = |name| OURS.contains(&name) || (label.scale.is_some() && name == SCALE);
        let ours = label.rest.iter().find(|field| ours(field.name()));
        match ours {
            Some(field) => Err(format!(
                "another field {:?} than the file's own",
                field.name()
            )),
            None => Ok(()),
        }
    }

    fn encode(&mut self, piece: &Piece<'_>) -> Result<Encoded, String> {
        let columns = piece.columns;
        let mut bytes = Vec::new();
        for (row, label) in piece.labels.iter().enumerate() {
            let row = piece.values.part(row * columns..(row + 1) * columns);
            write_json_line(&mut bytes, label, row).map_err(|error| error.to_string())?;
        }
        Ok(Encoded {
            bytes,
            note: String::new(),
        })
    }

    fn ending(&self, _pieces: &[PieceLine]) -> Result<Ending, String> {
        Ok(Ending {
            head: Vec::new(),
            tail: Vec::new(),
        })
    }
}

/// Adds the line of one row to `out`, as a file of JSON lines has it.
///
/// # Errors
/// A field that is no JSON.
pub fn write_json_line(
    out: &mut Vec<u8>,
    label: &Label,
    values: Values<'_>,
) -> serde_json::Result<()> {
    match values {
        Values::F32(values) => line(out, label, values),
        Values::I8(values) => line(out, label, values),
        Values::U8(values) => line(out, label, values),
    }
}

/// Numbers are the shortest digits that are read as the same f32; NaN and infinity, which JSON has not, are null.
fn line(out: &mut Vec<u8>, label: &Label, values: &[impl Serialize]) -> serde_json::Result<()> {
    out.push(b'{');
    match &label.id {
        Some(Id::Int(id)) => field(out, "id", id)?,
        Some(Id::Text(id)) => field(out, "id", id)?,
        None => {}
    }
    if let Some(text) = &label.text {
        field(out, "text", text)?;
    }
    for other in &label.rest {
        field(out, &other.name, &other.value)?;
    }
    if let Some(scale) = &label.scale {
        field(out, SCALE, scale)?;
    }
    field(out, VECTOR_NAMES[0], values)?;
    // A Vec takes all that is written.
    let _ = out.write_all(b"}\n");
    Ok(())
}

fn field(
    out: &mut Vec<u8>,
    name: &str,
    value: &(impl Serialize + ?Sized),
) -> serde_json::Result<()> {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, name)?;
    out.push(b':');
    serde_json::to_writer(out, value)
}
