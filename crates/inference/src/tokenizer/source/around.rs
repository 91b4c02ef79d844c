//! What stands around a text, and between two: the post-processors.
//!
//! In: special tokens. Out: a `TemplateProcessing` of tokenizer.json. Type ids tell two texts apart.

use serde_json::{Map, Value, json};

use super::AddedToken;

/// One place of a template.
#[derive(Clone, Copy)]
enum Slot<'a> {
    First,
    Second,
    Token(&'a AddedToken),
}

/// `[CLS] a [SEP] b [SEP]`, with the second text of another type.
pub(super) fn sentences(cls: &AddedToken, sep: &AddedToken) -> Value {
    let (cls, sep) = (Slot::Token(cls), Slot::Token(sep));
    let first = [(cls, 0), (Slot::First, 0), (sep, 0)];
    template(
        &first,
        &[&first[..], &[(Slot::Second, 1), (sep, 1)]].concat(),
    )
}

/// `<s> a </s></s> b </s>`, all of one type.
pub(super) fn doubled(begin: &AddedToken, end: &AddedToken) -> Value {
    let (begin, end) = (Slot::Token(begin), Slot::Token(end));
    let first = [(begin, 0), (Slot::First, 0), (end, 0)];
    template(
        &first,
        &[&first[..], &[(end, 0), (Slot::Second, 0), (end, 0)]].concat(),
    )
}

/// Each text between its own begin and end, where there are such.
pub(super) fn each(begin: Option<&AddedToken>, end: Option<&AddedToken>) -> Value {
    if begin.is_none() && end.is_none() {
        return Value::Null;
    }
    let one = |text, kind| {
        let begin = begin.map(|token| (Slot::Token(token), kind));
        let end = end.map(|token| (Slot::Token(token), kind));
        begin
            .into_iter()
            .chain([(text, kind)])
            .chain(end)
            .collect::<Vec<_>>()
    };
    let (first, second) = (one(Slot::First, 0), one(Slot::Second, 1));
    template(&first, &[&first[..], &second[..]].concat())
}

fn template(single: &[(Slot<'_>, u32)], pair: &[(Slot<'_>, u32)]) -> Value {
    let piece = |(slot, kind): &(Slot<'_>, u32)| match slot {
        Slot::First => json!({"Sequence": {"id": "A", "type_id": kind}}),
        Slot::Second => json!({"Sequence": {"id": "B", "type_id": kind}}),
        Slot::Token(token) => json!({"SpecialToken": {"id": token.content, "type_id": kind}}),
    };
    let mut tokens = Map::new();
    for (slot, _) in pair {
        if let Slot::Token(token) = slot {
            let (content, id) = (&token.content, token.id);
            let value = json!({"id": content, "ids": [id], "tokens": [content]});
            tokens.insert(content.clone(), value);
        }
    }
    json!({
        "type": "TemplateProcessing",
        "single": single.iter().map(piece).collect::<Vec<_>>(),
        "pair": pair.iter().map(piece).collect::<Vec<_>>(),
        "special_tokens": tokens,
    })
}
