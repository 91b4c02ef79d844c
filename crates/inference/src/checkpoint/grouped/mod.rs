//! Checkpoints whose matrices are stored in groups, each with a scale: MLX, AWQ, GPTQ.
//!
//! In: the tensors of safetensors files, and what config.json says of how they are stored. Out: the same with the parts of
//! each matrix made one, in blocks, under the names and shapes that the hub has.
//! Whatever is stored in another way is refused by name.
//! It does not know: plans, families' names, how blocks are read.

mod columns;
mod mlx;

use std::collections::BTreeMap;

use lattice_kernels::{GroupBits, GroupColumns};
use serde_json::{Map, Value};

use super::blocks::{AffineBlock, AffineLayout, BlockKind, Blocks};
use super::mmap::FileBytes;
use super::stack::halves;
use super::{Checkpoint, Dtype, Form, LoadError, ModelFiles, Place, json};

const CONFIG: &str = "config.json";
/// Configurations are far below this.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// What config.json says of a matrix's groups.
#[derive(Debug, Clone, Copy)]
struct Groups {
    bits: GroupBits,
    group: GroupColumns,
}

/// What it says of all of them.
#[derive(Debug, Default)]
struct Quantization {
    /// `None`: nothing.
    method: Option<Method>,
    /// Fields with which one matrix differs, by its name; `None`: it is stored as it is.
    of: BTreeMap<String, Option<Groups>>,
}

#[derive(Debug, Clone, Copy)]
enum Method {
    Mlx(Groups),
    Columns(AffineLayout, Groups),
}

/// Puts the parts of each matrix together and gives tensors the hub's names and shapes.
pub(super) fn undo(files: &ModelFiles, checkpoint: &mut Checkpoint) -> Result<(), LoadError> {
    let config = match files.text(CONFIG, CONFIG_BYTES_MAX)? {
        Some(text) => json::object(CONFIG, &text)?,
        None => Map::new(),
    };
    let quantization = Quantization::of(&config)?;
    match quantization.method {
        Some(Method::Columns(layout, groups)) => columns::join(checkpoint, layout, groups)?,
        Some(Method::Mlx(_)) => mlx::join(checkpoint, &quantization)?,
        None => {}
    }
    mlx::rename(checkpoint)
}

impl Quantization {
    fn of(config: &Map<String, Value>) -> Result<Self, LoadError> {
        let nested = config.get("text_config").and_then(Value::as_object);
        let find = |key: &str| {
            let found = config.get(key).or_else(|| nested?.get(key));
            found.filter(|value| !value.is_null())
        };
        let (name, value) = match (find("quantization"), find("quantization_config")) {
            (Some(value), _) => ("quantization", value),
            (None, Some(value)) => ("quantization_config", value),
            (None, None) => return Ok(Self::default()),
        };
        let fields = value
            .as_object()
            .ok_or_else(|| wrong(name, "is no object"))?;
        let said = |key: &str| fields.get(key).filter(|value| !value.is_null());
        match said("quant_method").map(|method| method.as_str().unwrap_or_default()) {
            None => Self::mlx(name, fields),
            Some("awq") => {
                must(name, fields, "version", &["gemm"])?;
                let groups = Groups::of(name, fields, &[4])?;
                Ok(Self::columns(AffineLayout::Awq, groups))
            }
            Some("gptq") => {
                let format = said("checkpoint_format").and_then(Value::as_str);
                must(name, fields, "checkpoint_format", &["gptq", "gptq_v2"])?;
                let groups = Groups::of(name, fields, &[4, 8])?;
                let less_one = format != Some("gptq_v2");
                Ok(Self::columns(AffineLayout::Gptq { less_one }, groups))
            }
            Some(other) => Err(wrong(
                &format!("{name}.quant_method"),
                &format!(
                    "weights stored by `{other}` are not supported; those of MLX, AWQ and GPTQ are"
                ),
            )),
        }
    }

    fn columns(layout: AffineLayout, groups: Groups) -> Self {
        Self {
            method: Some(Method::Columns(layout, groups)),
            of: BTreeMap::new(),
        }
    }

    /// MLX: fields for all, and objects by the name of a matrix for single ones.
    fn mlx(name: &str, fields: &Map<String, Value>) -> Result<Self, LoadError> {
        let groups = |path: &str, fields: &Map<String, Value>| {
            must(path, fields, "mode", &["affine"])?;
            Groups::of(path, fields, &[4, 8])
        };
        let mut of = BTreeMap::new();
        for (key, value) in fields {
            let path = format!("{name}.{key}");
            let one = match value {
                Value::Object(fields) => Some(groups(&path, fields)?),
                Value::Bool(false) => None,
                _ => continue,
            };
            of.insert(key.clone(), one);
        }
        let method = Some(Method::Mlx(groups(name, fields)?));
        Ok(Self { method, of })
    }
}

impl Groups {
    fn of(path: &str, fields: &Map<String, Value>, bits: &[u64]) -> Result<Self, LoadError> {
        let number = |key: &str| fields.get(key).and_then(Value::as_i64);
        let found = |key: &str| fields.get(key).unwrap_or(&Value::Null).to_string();
        let refused = |key: &str, supported: &str| {
            let reason = format!("{} is not supported; {supported}", found(key));
            Err(wrong(&format!("{path}.{key}"), &reason))
        };
        let bits = match number("bits") {
            Some(4) if bits.contains(&4) => GroupBits::Four,
            Some(8) if bits.contains(&8) => GroupBits::Eight,
            _ if bits == [4] => return refused("bits", "4 is"),
            _ => return refused("bits", "4 and 8 are"),
        };
        let group = match number("group_size") {
            Some(32) => GroupColumns::Of32,
            Some(64) => GroupColumns::Of64,
            Some(128) => GroupColumns::Of128,
            _ => return refused("group_size", "32, 64 and 128 are"),
        };
        Ok(Self { bits, group })
    }

    fn block(self, layout: AffineLayout, float: Dtype) -> AffineBlock {
        AffineBlock {
            layout,
            bits: self.bits,
            group: self.group,
            float,
        }
    }
}

/// A field that, if it is there, has one of these values.
fn must(
    path: &str,
    fields: &Map<String, Value>,
    key: &str,
    values: &[&str],
) -> Result<(), LoadError> {
    let Some(value) = fields.get(key).filter(|value| !value.is_null()) else {
        return Ok(());
    };
    if value
        .as_str()
        .is_some_and(|value| values.contains(&value.to_lowercase().as_str()))
    {
        return Ok(());
    }
    let reason = format!("{value} is not supported; {} is", values.join(" or "));
    Err(wrong(&format!("{path}.{key}"), &reason))
}

fn wrong(field: &str, reason: &str) -> LoadError {
    LoadError::Field {
        file: CONFIG.to_owned(),
        field: field.to_owned(),
        reason: reason.to_owned(),
    }
}

/// A part of a matrix, taken out of the checkpoint.
struct Part {
    name: String,
    place: Place,
}

impl Part {
    /// Takes the tensor `base.end`.
    fn take(checkpoint: &mut Checkpoint, base: &str, end: &str) -> Option<Self> {
        let name = format!("{base}.{end}");
        let place = checkpoint.tensors.remove(&name)?;
        Some(Self { name, place })
    }

    /// [`Self::take`], where `near` shows that it must be there.
    fn need(
        checkpoint: &mut Checkpoint,
        base: &str,
        end: &str,
        near: &str,
    ) -> Result<Self, LoadError> {
        Self::take(checkpoint, base, end).ok_or_else(|| LoadError::Missing {
            tensor: format!("{base}.{end}"),
            near: Some(near.to_owned()),
        })
    }

    /// Checks the type, and the shape where it is known.
    fn check(
        &self,
        checkpoint: &Checkpoint,
        dtypes: &[Dtype],
        shape: &[usize],
    ) -> Result<Dtype, LoadError> {
        let file = || checkpoint.files[self.place.one().0].name().to_owned();
        if self.place.shape != shape {
            return Err(LoadError::Shape {
                file: file(),
                tensor: self.name.clone(),
                expected: shape.to_vec(),
                found: self.place.shape.clone(),
            });
        }
        let dtype = match self.place.form {
            Form::Dense(dtype) if dtypes.contains(&dtype) => return Ok(dtype),
            Form::Dense(dtype) => dtype.to_string(),
            Form::Packed(_) | Form::Blocks(_) => self.place.form.to_string(),
        };
        let names: Vec<&str> = dtypes.iter().map(|dtype| dtype.name()).collect();
        Err(self.refuse(
            checkpoint,
            format!("is {dtype}, expected {}", names.join(" or ")),
        ))
    }

    fn refuse(&self, checkpoint: &Checkpoint, reason: String) -> LoadError {
        let (file, range) = self.place.one();
        LoadError::Layout {
            file: checkpoint.files[file].name().to_owned(),
            tensor: self.name.clone(),
            byte: range.start as u64,
            reason,
        }
    }

    fn bytes<'a>(&self, checkpoint: &'a Checkpoint) -> &'a [u8] {
        let (file, range) = self.place.one();
        &checkpoint.files[file][range]
    }
}

/// The type of words, and those of scales.
const WORDS: [Dtype; 2] = [Dtype::U32, Dtype::I32];
const FLOATS: [Dtype; 3] = [Dtype::F16, Dtype::BF16, Dtype::F32];

/// The names that a matrix has besides `.end`, sorted.
fn bases(checkpoint: &Checkpoint, end: &str) -> Vec<String> {
    let names = checkpoint.tensors.keys();
    names
        .filter_map(|name| Some(name.strip_suffix(end)?.to_owned()))
        .collect()
}

/// A matrix of three parts.
fn place(parts: [&Part; 3], kind: BlockKind, shape: Vec<usize>) -> Place {
    let columns = shape.last().copied().unwrap_or(0);
    let rows = shape.iter().rev().skip(1).product();
    Place {
        original: parts[0].name.clone(),
        form: Form::Blocks(Blocks::new(kind, rows, columns)),
        shape,
        parts: parts.map(|part| part.place.one()).to_vec(),
        checksum: None,
    }
}

/// Two stacks of matrices as one: of each number the matrix of the first and then that of the second. Parts of both must be
/// alike.
fn stack(checkpoint: &Checkpoint, [first, second]: [Part; 2]) -> Result<Place, LoadError> {
    let alike = first.place.form == second.place.form && first.place.shape == second.place.shape;
    let [count, rows, columns] = first.place.shape[..] else {
        let reason = format!("shape {:?}, expected three dimensions", first.place.shape);
        return Err(first.refuse(checkpoint, reason));
    };
    if !alike || count == 0 || rows == 0 || columns == 0 {
        let reason = format!("is not stored like {}", second.name);
        return Err(first.refuse(checkpoint, reason));
    }
    let kind = match first.place.form {
        Form::Blocks(blocks) => blocks.kind(),
        Form::Dense(dtype) if dtype.is_weight() => BlockKind::Plain(dtype),
        Form::Dense(_) | Form::Packed(_) => {
            return Err(first.refuse(checkpoint, format!("{} in a stack", first.place.form)));
        }
    };
    let mut parts = first.place.parts.clone();
    parts.extend(second.place.parts.iter().cloned());
    let place = halves(&first.name, kind, [count, rows, columns], parts);
    place.ok_or_else(|| first.refuse(checkpoint, "no columns".to_owned()))
}

/// Values made here, in memory of their own.
fn in_memory(checkpoint: &Checkpoint, part: &Part, values: &[f32]) -> Result<FileBytes, LoadError> {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    FileBytes::from_memory(
        checkpoint.files[part.place.one().0].name().to_owned(),
        &bytes,
    )
}
