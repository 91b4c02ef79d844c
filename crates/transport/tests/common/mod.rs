//! What the tests share: the points of the table, and the values that other programs give for them.
#![allow(dead_code, reason = "each test binary uses its part")]

use lattice_transport::*;
use serde_json::Value;

/// X or Y of the table, the first `count` of 1000: `[count, 2]`.
pub(crate) fn table_points(second: bool, count: usize) -> Vec<f64> {
    let bytes = include_bytes!("../../goldens/points.bin");
    let start = usize::from(second) * 16_000;
    let values = bytes[start..start + count * 16].as_chunks::<8>().0;
    values
        .iter()
        .map(|bytes| f64::from_le_bytes(*bytes))
        .collect()
}

pub(crate) fn points(second: bool, count: usize) -> Points<f64> {
    Points::new(table_points(second, count), 2).expect("they are numbers")
}

pub(crate) fn points_f32(second: bool, count: usize) -> Points<f32> {
    let values = table_points(second, count);
    Points::new(values.into_iter().map(|x| x as f32).collect(), 2).expect("they are numbers")
}

pub(crate) fn values() -> Value {
    serde_json::from_str(include_str!("../../goldens/values.json")).expect("it is JSON")
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().expect("a list");
    list.iter().map(|x| x.as_f64().expect("a number")).collect()
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[track_caller]
pub(crate) fn close(found: f64, expected: f64, limit: f64) {
    assert!(
        (found - expected).abs() <= limit,
        "{found} is not within {limit:e} of {expected}"
    );
}
