//! GBNF.
use super::GrammarError;
pub(super) fn lark_from_gbnf(_text: &str) -> Result<String, GrammarError> {
    Err(GrammarError::Refused {
        kind: "gbnf",
        reason: "not yet".to_owned(),
    })
}
