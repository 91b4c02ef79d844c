//! What a person or a program may choose about answers: sampler, limits, thinking.
//!
//! In: flags, `/set NAME VALUE`, the fields of a JSON request or a saved conversation. Out: the same choices put
//! into a request. One table of names serves them all; ranges are the library's.

use lattice_inference::backend::Limits;
use lattice_inference::generate::{Request, RequestError, admit};
use serde_json::{Map, Value, json};

use crate::args::{ChatArgs, SamplerArgs};

/// Choices; what is unset falls to the model's generation_config.json.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choices {
    pub(crate) sampler: SamplerArgs,
    pub(crate) logit_bias: Vec<(u32, f32)>,
    /// Whether the model thinks before it answers.
    pub(crate) think: bool,
    /// Tokens it may think for.
    pub(crate) think_budget: Option<usize>,
}

/// A choice that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChoiceError {
    /// Nothing has this name.
    #[error("{0}: no such setting")]
    Unknown(String),
    /// The value is of the wrong type.
    #[error("{field}: expected {expected}, found {found}")]
    Type {
        field: String,
        expected: &'static str,
        found: String,
    },
}

/// Names of all choices, as JSON writes them.
pub(crate) const NAMES: [&str; 13] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "max_tokens",
    "stop",
    "logit_bias",
    "think",
    "think_budget",
];

impl Choices {
    pub(crate) fn from_args(args: &ChatArgs) -> Self {
        Self {
            sampler: args.sampler.clone(),
            logit_bias: Vec::new(),
            think: args.think,
            think_budget: args.think_budget,
        }
    }

    /// Sets one by name; `null` unsets it.
    pub(crate) fn set(&mut self, name: &str, value: &Value) -> Result<(), ChoiceError> {
        let (field, sampler) = (Field { name, value }, &mut self.sampler);
        match name {
            "temperature" => sampler.temperature = field.number()?,
            "top_k" => sampler.top_k = field.count()?,
            "top_p" => sampler.top_p = field.number()?,
            "min_p" => sampler.min_p = field.number()?,
            "repetition_penalty" => sampler.repetition_penalty = field.number()?,
            "presence_penalty" => sampler.presence_penalty = field.number()?,
            "frequency_penalty" => sampler.frequency_penalty = field.number()?,
            "seed" => sampler.seed = field.count()?,
            "max_tokens" => sampler.max_tokens = field.count()?,
            "stop" => sampler.stop = field.texts()?.unwrap_or_default(),
            "logit_bias" => self.logit_bias = field.biases()?.unwrap_or_default(),
            "think" => self.think = field.truth()?.unwrap_or_default(),
            "think_budget" => self.think_budget = field.count()?,
            _ => return Err(ChoiceError::Unknown(name.to_owned())),
        }
        Ok(())
    }

    /// The choices that are set, by name.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let s = &self.sampler;
        let bias = |(id, bias): &(u32, f32)| (id.to_string(), decimal(*bias));
        let bias: Map<String, Value> = self.logit_bias.iter().map(bias).collect();
        let number = |value: Option<f32>| value.map(decimal);
        let values = [
            number(s.temperature),
            s.top_k.map(Value::from),
            number(s.top_p),
            number(s.min_p),
            number(s.repetition_penalty),
            number(s.presence_penalty),
            number(s.frequency_penalty),
            s.seed.map(Value::from),
            s.max_tokens.map(Value::from),
            (!s.stop.is_empty()).then(|| json!(s.stop)),
            (!bias.is_empty()).then_some(Value::Object(bias)),
            self.think.then_some(Value::Bool(true)),
            self.think_budget.map(Value::from),
        ];
        let set = NAMES.into_iter().zip(values);
        set.filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    /// Puts the choices into a request that has the model's defaults.
    pub(crate) fn apply(&self, request: &mut Request) {
        let (from, to) = (&self.sampler, &mut request.sampler);
        to.temperature = from.temperature.unwrap_or(to.temperature);
        to.top_k = from.top_k.unwrap_or(to.top_k);
        to.top_p = from.top_p.unwrap_or(to.top_p);
        to.min_p = from.min_p.unwrap_or(to.min_p);
        to.repetition_penalty = from.repetition_penalty.unwrap_or(to.repetition_penalty);
        to.presence_penalty = from.presence_penalty.unwrap_or(to.presence_penalty);
        to.frequency_penalty = from.frequency_penalty.unwrap_or(to.frequency_penalty);
        to.seed = from.seed.or(to.seed);
        to.logit_bias.clone_from(&self.logit_bias);
        request.max_tokens = from.max_tokens.or(request.max_tokens);
        request.stop.clone_from(&from.stop);
        if let Some(thinking) = &mut request.thinking {
            thinking.budget = self.think_budget;
        }
    }

    /// Checks every range without a conversation; `vocab` ids may be named.
    pub(crate) fn check(&self, vocab: usize) -> Result<(), RequestError> {
        let mut request = Request {
            prompt: vec![0],
            ..Request::default()
        };
        self.apply(&mut request);
        let limits = Limits {
            sequences_max: 1,
            context_tokens_max: usize::MAX,
            batch_tokens_max: 1,
            output_rows_max: 1,
            output_width: vocab,
            vocab,
            types: 0,
            whole: false,
            pools: false,
            rewinds: true,
        };
        admit(request, &limits).map(|_admitted| ())
    }
}

/// A value of JSON with its name. Absent is `null`.
struct Field<'a> {
    name: &'a str,
    value: &'a Value,
}

impl Field<'_> {
    fn take<T>(
        &self,
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ChoiceError> {
        if self.value.is_null() {
            return Ok(None);
        }
        read(self.value).map(Some).ok_or_else(|| ChoiceError::Type {
            field: self.name.to_owned(),
            expected,
            found: shortened(self.value),
        })
    }

    /// Numbers beyond f32 become infinite, which no range has.
    fn number(&self) -> Result<Option<f32>, ChoiceError> {
        self.take("a number", |value| value.as_f64().map(|value| value as f32))
    }

    fn count<T: TryFrom<u64>>(&self) -> Result<Option<T>, ChoiceError> {
        let read = |value: &Value| T::try_from(value.as_u64()?).ok();
        self.take("a whole number from 0 up", read)
    }

    fn truth(&self) -> Result<Option<bool>, ChoiceError> {
        self.take("true or false", Value::as_bool)
    }

    fn texts(&self) -> Result<Option<Vec<String>>, ChoiceError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.take("a text or a list of texts", |value| match value {
            Value::Array(values) => values.iter().map(text).collect(),
            value => text(value).map(|text| vec![text]),
        })
    }

    fn biases(&self) -> Result<Option<Vec<(u32, f32)>>, ChoiceError> {
        let pair = |(id, bias): (&String, &Value)| {
            Some((id.parse().ok()?, bias.as_f64().map(|bias| bias as f32)?))
        };
        self.take("an object of numbers by token id", |value| {
            value.as_object()?.iter().map(pair).collect()
        })
    }
}

/// 0.7 as 0.7 and not as the f64 nearest to the f32.
fn decimal(value: f32) -> Value {
    serde_json::from_str(&value.to_string()).unwrap_or(Value::Null)
}

/// A value as messages print it: 40 characters at most.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_what_is_saved() {
        let given = json!({
            "temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1,
            "presence_penalty": -0.5, "frequency_penalty": 0.25, "seed": u64::MAX, "max_tokens": 9,
            "stop": ["a", "b"], "logit_bias": {"3": -1.5}, "think": true, "think_budget": 4,
        });
        let given = given.as_object().unwrap();
        assert_eq!(given.len(), NAMES.len());
        let mut choices = Choices::default();
        for (name, value) in given {
            choices.set(name, value).unwrap();
        }
        assert_eq!(&choices.to_json(), given);
        for name in NAMES {
            choices.set(name, &Value::Null).unwrap();
        }
        assert!(choices.to_json().is_empty());
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        let mut choices = Choices::default();
        let wrong = [
            ("temperature", json!("5")),
            ("temperature", json!(true)),
            ("top_k", json!(-1)),
            ("top_k", json!(1.5)),
            ("top_k", json!(1u64 << 40)),
            ("max_tokens", json!([])),
            ("stop", json!(["a", 1])),
            ("logit_bias", json!({"x": 1})),
            ("think", json!("yes")),
        ];
        for (name, value) in wrong {
            let error = choices.set(name, &value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: expected ")), "{error}");
        }
        let unknown = choices.set("heat", &json!(1)).unwrap_err();
        assert_eq!(unknown, ChoiceError::Unknown("heat".to_owned()));
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        for (name, value) in [
            ("temperature", json!(-1)),
            ("temperature", json!(1e308)),
            ("top_p", json!(2)),
            ("stop", json!("")),
            ("logit_bias", json!({"100": 1})),
        ] {
            let mut choices = Choices::default();
            choices.set(name, &value).unwrap();
            let error = choices.check(100).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
        Choices::default().check(100).unwrap();
    }
}
