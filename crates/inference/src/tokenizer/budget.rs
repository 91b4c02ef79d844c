//! Makes templates pay for all that they make and look at.
//!
//! In: a compiled template. Out: the same template with some instructions replaced by calls of functions from here.
//! The engine charges for strings, output and loops, but neither for the size of nested values nor for adding lists: a few
//! dozen steps could build a list that has 2^60 leaves, contains itself, or is too deep for the stack. Here each value is
//! paid for leaf by leaf whenever it becomes part of another one, is compared, or is handed to a filter, test or method.

use std::collections::BTreeSet;

use minijinja::machinery::{CompiledTemplate, Instruction};
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};

/// How deep values may nest. JSON from requests has at most 128 levels.
const DEPTH_MAX: usize = 130;

/// Filters and tests that look no deeper than at the value itself; templates ask them about all messages, again and again.
const SHALLOW: [&str; 19] = [
    "boolean",
    "count",
    "d",
    "default",
    "defined",
    "false",
    "first",
    "float",
    "integer",
    "iterable",
    "last",
    "length",
    "mapping",
    "none",
    "number",
    "sequence",
    "true",
    "undefined",
    "items",
];

/// Lets templates of `env` find the functions of this file, and those for the filters and tests that `template` names.
/// Their names are operators, which no template can write as a name.
pub(super) fn add_functions(env: &mut Environment<'static>, template: &mut CompiledTemplate<'_>) {
    env.add_function("+", plus);
    env.add_function("*", times);
    env.add_function("~", concatenation);
    env.add_function("[", |state: &mut State<'_, '_>, items: Rest<Value>| {
        pay_all(state, &items)?;
        Ok::<_, Error>(Value::from(items.0))
    });
    env.add_function("{", |state: &mut State<'_, '_>, pairs: Rest<Value>| {
        pay_all(state, &pairs)?;
        Ok::<_, Error>(Value::from_pairs(
            pairs.chunks_exact(2).map(|p| (p[0].clone(), p[1].clone())),
        ))
    });
    env.add_function("(", |state: &mut State<'_, '_>, pairs: Rest<Value>| {
        pay_all(state, &pairs)?;
        let name = |key: &Value| key.as_str().unwrap_or_default().to_owned();
        let named: Kwargs = pairs
            .chunks_exact(2)
            .map(|p| (name(&p[0]), p[1].clone()))
            .collect();
        Ok::<_, Error>(Value::from(named))
    });
    for test in ["==", "!=", "<", "<=", ">", ">=", "in"] {
        env.add_function(test, move |state: &mut State<'_, '_>, args: Rest<Value>| {
            pay_all(state, &args)?;
            state.perform_test(test, &args)
        });
    }
    let (filters, tests) = names(template);
    for name in filters {
        let function = format!("|{name}");
        let filter = move |state: &mut State<'_, '_>, args: Rest<Value>, named: Kwargs| {
            let args = joined(args, named);
            pay_all(state, &args)?;
            let first = args.first().and_then(Value::as_str).map_or(0, str::len);
            state.consume_fuel(first as u64 / 64)?;
            let result = state.apply_filter(&name, &args)?;
            pay(state, &result, 0)?;
            Ok::<_, Error>(result)
        };
        env.add_function(function, filter);
    }
    for name in tests {
        let function = format!("?{name}");
        let test = move |state: &mut State<'_, '_>, args: Rest<Value>, named: Kwargs| {
            let args = joined(args, named);
            pay_all(state, &args)?;
            state.perform_test(&name, &args)
        };
        env.add_function(function, test);
    }
    env.set_formatter(
        |out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value| {
            pay(state, value, 0)?;
            minijinja::escape_formatter(out, state, value)
        },
    );
    env.set_unknown_method_callback(|state, value, method, args| {
        pay(state, value, 0)?;
        pay_all(state, args)?;
        minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
    });
}

/// Filters and tests that a template names.
fn names(template: &mut CompiledTemplate<'_>) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut filters, mut tests) = (BTreeSet::new(), BTreeSet::new());
    each_instruction(template, |instruction| match instruction {
        Instruction::ApplyFilter(name, ..) | Instruction::PerformTest(name, ..)
            if SHALLOW.contains(name) => {}
        Instruction::ApplyFilter(name, ..) => drop(filters.insert((*name).to_owned())),
        Instruction::PerformTest(name, ..) => drop(tests.insert((*name).to_owned())),
        _ => {}
    });
    (filters, tests)
}

fn each_instruction<'s>(
    template: &mut CompiledTemplate<'s>,
    mut visit: impl FnMut(&mut Instruction<'s>),
) {
    for instructions in template
        .blocks
        .values_mut()
        .chain([&mut template.instructions])
    {
        let mut index = 0;
        while let Some(instruction) = instructions.get_mut(index) {
            visit(instruction);
            index += 1;
        }
    }
}

/// Replaces the instructions that make or compare values by calls. `functions` are the names that the environment
/// knows; they only have to live as long as the template.
///
/// # Errors
/// For a chained comparison, which has no call of the same shape.
pub(super) fn replace_instructions<'s>(
    template: &mut CompiledTemplate<'s>,
    functions: &'s [String],
) -> Result<(), Error> {
    let named = |prefix: char, name: &str| {
        let wanted = |function: &&String| function.strip_prefix(prefix) == Some(name);
        functions.iter().find(wanted).map(String::as_str)
    };
    let count = |n: usize| u16::try_from(n).ok();
    let mut chained = false;
    each_instruction(template, |instruction| {
        let call = match instruction {
            Instruction::Add => Some(("+", Some(2))),
            Instruction::Mul => Some(("*", Some(2))),
            Instruction::StringConcat => Some(("~", Some(2))),
            Instruction::Eq => Some(("==", Some(2))),
            Instruction::Ne => Some(("!=", Some(2))),
            Instruction::Lt => Some(("<", Some(2))),
            Instruction::Lte => Some(("<=", Some(2))),
            Instruction::Gt => Some((">", Some(2))),
            Instruction::Gte => Some((">=", Some(2))),
            Instruction::In => Some(("in", Some(2))),
            Instruction::BuildList(Some(n)) | Instruction::BuildTuple(Some(n)) => {
                count(*n).map(|n| ("[", Some(n)))
            }
            Instruction::BuildMap(n) => count(*n * 2).map(|n| ("{", Some(n))),
            Instruction::BuildKwargs(n) => count(*n * 2).map(|n| ("(", Some(n))),
            Instruction::ApplyFilter(name, n, _) => named('|', name).map(|name| (name, *n)),
            Instruction::PerformTest(name, n, _) => named('?', name).map(|name| (name, *n)),
            Instruction::CompareAndPreserve(_) => {
                chained = true;
                None
            }
            _ => None,
        };
        if let Some((name, arguments)) = call {
            *instruction = Instruction::CallFunction(name, arguments);
        }
    });
    if chained {
        return Err(Error::new(
            ErrorKind::SyntaxError,
            "chained comparisons are not taken",
        ));
    }
    Ok(())
}

/// The names of [`add_functions`] for a template's filters and tests.
pub(super) fn function_names(template: &mut CompiledTemplate<'_>) -> Vec<String> {
    let (filters, tests) = names(template);
    let filters = filters.iter().map(|name| format!("|{name}"));
    filters
        .chain(tests.iter().map(|name| format!("?{name}")))
        .collect()
}

/// The arguments as a filter or test takes them: named ones in one value at the end.
fn joined(args: Rest<Value>, named: Kwargs) -> Vec<Value> {
    let mut args = args.0;
    if named.args().next().is_some() {
        args.push(Value::from(named));
    }
    args
}

fn wrong(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

fn pay_all(state: &State<'_, '_>, values: &[Value]) -> Result<(), Error> {
    values.iter().try_for_each(|value| pay(state, value, 0))
}

/// Pays a step for each part of a value, and one for every 256 bytes of its texts. Iterators are free: the engine charges
/// for their items when they are asked for.
fn pay(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    let kind = value.kind();
    if let Some(text) = value.as_str() {
        return state.consume_fuel(text.len() as u64 / 256);
    }
    if !matches!(kind, ValueKind::Seq | ValueKind::Map) {
        return Ok(());
    }
    if depth > DEPTH_MAX {
        return Err(wrong("a value nests too deep"));
    }
    for item in value.try_iter()? {
        state.consume_fuel(1)?;
        let part = if kind == ValueKind::Map {
            value.get_item(&item)?
        } else {
            item
        };
        pay(state, &part, depth + 1)?;
    }
    Ok(())
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn plus(state: &mut State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        state.consume_fuel((left.len() + right.len()) as u64 / 64)?;
        return Ok(Value::from([left, right].concat()));
    }
    if is_list(left) && is_list(right) {
        let mut items = Vec::new();
        for item in left.try_iter()?.chain(right.try_iter()?) {
            state.consume_fuel(1)?;
            pay(state, &item, 0)?;
            items.push(item);
        }
        return Ok(Value::from(items));
    }
    number(left, right, i64::checked_add, |a, b| a + b).ok_or_else(|| unsupported("+", left, right))
}

fn times(state: &mut State<'_, '_>, left: &Value, right: &Value) -> Result<Value, Error> {
    let repeated = match (count_of(left), count_of(right)) {
        (None, Some(count)) => Some((left, count)),
        (Some(count), None) => Some((right, count)),
        _ => None,
    };
    match repeated {
        Some((value, count)) if value.as_str().is_some() => {
            let text = value.as_str().unwrap_or_default();
            state.consume_fuel((text.len() as u64).saturating_mul(count as u64) / 64)?;
            Ok(Value::from(text.repeat(count)))
        }
        Some((value, count)) if is_list(value) => {
            let mut items = Vec::new();
            for _ in 0..count {
                state.consume_fuel(1)?;
                for item in value.try_iter()? {
                    state.consume_fuel(1)?;
                    pay(state, &item, 0)?;
                    items.push(item);
                }
            }
            Ok(Value::from(items))
        }
        _ => number(left, right, i64::checked_mul, |a, b| a * b)
            .ok_or_else(|| unsupported("*", left, right)),
    }
}

fn concatenation(state: &mut State<'_, '_>, left: &Value, right: &Value) -> Result<String, Error> {
    let mut text = String::new();
    for part in [left, right] {
        pay(state, part, 0)?;
        state.consume_fuel(part.as_str().map_or(0, str::len) as u64 / 64)?;
        match part.as_str() {
            Some(part) => text.push_str(part),
            None => text.push_str(&part.to_string()),
        }
    }
    Ok(text)
}

fn unsupported(operator: &str, left: &Value, right: &Value) -> Error {
    wrong(format!(
        "unsupported operands for {operator}: {} and {}",
        left.kind(),
        right.kind()
    ))
}

/// How often an integer repeats a list; negative numbers leave nothing.
fn count_of(value: &Value) -> Option<usize> {
    whole(value).map(|count| usize::try_from(count).unwrap_or(0))
}

fn whole(value: &Value) -> Option<i64> {
    match value.kind() {
        ValueKind::Bool => Some(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i64::try_from(value.clone()).ok(),
        _ => None,
    }
}

/// An operation on two numbers; `None` where one is no number, or a whole result has more than 64 bits.
fn number(
    left: &Value,
    right: &Value,
    on_whole: fn(i64, i64) -> Option<i64>,
    on_float: fn(f64, f64) -> f64,
) -> Option<Value> {
    if let (Some(left), Some(right)) = (whole(left), whole(right)) {
        return on_whole(left, right).map(Value::from);
    }
    let float = |value: &Value| match value.kind() {
        ValueKind::Number | ValueKind::Bool => f64::try_from(value.clone()).ok(),
        _ => None,
    };
    Some(Value::from(on_float(float(left)?, float(right)?)))
}
