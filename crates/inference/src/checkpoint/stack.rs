//! Stacks of experts that a file holds as two stacks, or as one tensor for each expert's part.
//!
//! In: these tensors, with their place in the stack. Out: the stack as a tensor that lies in many places.
//! It does not know: how experts are named, what they compute.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::mmap::FileBytes;
use super::{BlockKind, Blocks, Dtype, Form, LoadError, OfExpert, Order, Place};

/// Two stacks of matrices `[count, rows, columns]` as one: of each number the matrix of the first and then that of the second,
/// whose bytes lie at `parts`, the first one's in front. `None` without columns.
pub(super) fn halves(
    original: &str,
    kind: BlockKind,
    [count, rows, columns]: [usize; 3],
    parts: Vec<(usize, Range<usize>)>,
) -> Option<Place> {
    let blocks = Blocks::new(kind, 2 * count * rows, columns);
    let blocks = blocks.ordered(Order::swapped(count, 2, rows), Order::SAME)?;
    Some(Place {
        original: original.to_owned(),
        form: Form::Blocks(blocks),
        shape: vec![count, 2 * rows, columns],
        parts,
        checksum: None,
    })
}

/// The stacks of a checkpoint, while its tensors are renamed.
#[derive(Default)]
pub(super) struct Stacks {
    stacks: BTreeMap<String, Stack>,
}

struct Stack {
    /// What the parts of an expert are called.
    parts: &'static [&'static str],
    /// By expert and part.
    tensors: BTreeMap<(usize, usize), Place>,
}

impl Stacks {
    /// Takes a part; its name is for errors.
    pub(super) fn add(
        &mut self,
        of: OfExpert,
        name: String,
        place: Place,
    ) -> Result<(), LoadError> {
        let stack = self.stacks.entry(of.stack.clone());
        let stack = stack.or_insert_with(|| Stack {
            parts: of.parts,
            tensors: BTreeMap::new(),
        });
        match stack.tensors.insert((of.expert, of.part), place) {
            None => Ok(()),
            Some(first) => Err(LoadError::TensorTwice {
                tensor: of.stack,
                first: first.original,
                second: name,
            }),
        }
    }

    /// Each stack as one tensor.
    pub(super) fn places(
        self,
        files: &[Arc<FileBytes>],
    ) -> Result<Vec<(String, Place)>, LoadError> {
        let place = |(name, stack): (String, Stack)| {
            let place = stack.place(&name, files)?;
            Ok((name, place))
        };
        self.stacks.into_iter().map(place).collect()
    }
}

impl Stack {
    fn place(self, name: &str, files: &[Arc<FileBytes>]) -> Result<Place, LoadError> {
        let refused = |reason: String| LoadError::Stack {
            stack: name.to_owned(),
            reason,
        };
        let mut expected = (0..).flat_map(|expert| (0..self.parts.len()).map(move |p| (expert, p)));
        let missing = |(expert, part): (usize, usize)| {
            refused(format!("expert {expert} has no {}", self.parts[part]))
        };
        let mut first: Option<(Dtype, Vec<usize>)> = None;
        let mut parts = Vec::with_capacity(self.tensors.len());
        for (at, place) in &self.tensors {
            let due = expected.next().expect("it has no end");
            if due != *at {
                return Err(missing(due));
            }
            let dtype = weight(place).map_err(refused)?;
            let (same_dtype, shape) = first.get_or_insert_with(|| (dtype, place.shape.clone()));
            if *shape != place.shape {
                let (file, _) = place.one();
                return Err(LoadError::Shape {
                    file: files[file].name().to_owned(),
                    tensor: place.original.clone(),
                    expected: shape.clone(),
                    found: place.shape.clone(),
                });
            }
            if *same_dtype != dtype {
                let reason = format!("{} is {dtype}, others are {same_dtype}", place.original);
                return Err(refused(reason));
            }
            parts.push(place.one());
        }
        let due = expected.next().expect("it has no end");
        if due.1 != 0 {
            return Err(missing(due));
        }
        let (dtype, shape) = first.expect("a stack begins with a tensor");
        let &[rows, columns] = &shape[..] else {
            return Err(refused(format!("{shape:?} is no shape of a matrix")));
        };
        let rows_of_expert = rows.checked_mul(self.parts.len());
        let all = rows_of_expert.and_then(|rows| rows.checked_mul(due.0));
        let (Some(rows_of_expert), Some(all)) = (rows_of_expert, all) else {
            return Err(refused(format!(
                "{} matrices {shape:?} overflow",
                parts.len()
            )));
        };
        Ok(Place {
            original: name.to_owned(),
            form: Form::Blocks(Blocks::new(BlockKind::Plain(dtype), all, columns)),
            shape: vec![due.0, rows_of_expert, columns],
            parts,
            checksum: None,
        })
    }
}

/// The type of a dense weight. What is packed is packed as a stack.
fn weight(place: &Place) -> Result<Dtype, String> {
    match place.form {
        Form::Dense(dtype) if dtype.is_weight() && place.checksum.is_none() => Ok(dtype),
        Form::Dense(dtype) if place.checksum.is_none() => Err(format!(
            "{} is stored as {dtype}; weights can be F32, F16 or BF16",
            place.original
        )),
        Form::Dense(_) | Form::Packed(_) => Err(format!(
            "{} stands in a packed file, which holds stacks",
            place.original
        )),
        Form::Blocks(_) => Err(format!(
            "{} is stored in groups; experts one by one are read from F32, F16 and BF16",
            place.original
        )),
    }
}
