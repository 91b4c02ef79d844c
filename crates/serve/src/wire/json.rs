//! JSON as a request may write it: no key twice, nothing but one object, 128 levels at most.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::ApiError;

/// The object that a body is.
///
/// # Errors
/// 400: it is no JSON, too deep, no object, or has a key twice, which `param` then names.
pub(crate) fn object_from_bytes(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if bytes.is_empty() {
        return Err(ApiError::bad_request(
            "the body is empty, expected is a JSON object",
        ));
    }
    let twice = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict(&twice).deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    match (value, twice.into_inner()) {
        (Ok(Value::Object(map)), _) => Ok(map),
        (Ok(_), _) => Err(ApiError::bad_request("the body is no JSON object")),
        (Err(error), Some(key)) => Err(ApiError::field(key, error)),
        (Err(error), None) => Err(ApiError::bad_request(format!(
            "the body is not JSON: {error}"
        ))),
    }
}

/// Reads a value; the first key that stands twice in its object is left in the cell.
#[derive(Clone, Copy)]
struct Strict<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                let error = A::Error::custom("the key stands twice in its object");
                self.0.replace(Some(key));
                return Err(error);
            }
            map.insert(key, access.next_value_seed(self)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_plain_object_passes() {
        for wrong in [
            "",
            "[1]",
            "1",
            "{\"a\":1,}",
            "{\"a\":NaN}",
            "{} {}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":1e999}",
            "{a:1}",
        ] {
            let error = object_from_bytes(wrong.as_bytes()).unwrap_err();
            assert_eq!(error.status.as_u16(), 400, "{wrong}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(object_from_bytes(deep.as_bytes()).is_err());
        assert!(object_from_bytes(b"{\"a\":\"\xff\"}").is_err());
        let twice = object_from_bytes(br#"{"a":{"b":1,"c":[{"d":1,"d":2}]}}"#).unwrap_err();
        assert_eq!(twice.param.as_deref(), Some("d"));
        let good = object_from_bytes(br#"{"b":{"c":1},"a":[{"c":-1.5}],"n":null}"#).unwrap();
        assert_eq!(
            Value::Object(good).to_string(),
            r#"{"b":{"c":1},"a":[{"c":-1.5}],"n":null}"#
        );
    }
}
