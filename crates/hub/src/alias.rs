//! Short names for models that people ask for often.
//!
//! In: a short name. Out: the name the hub has for the model. One table; a directory of that name wins over it.

/// A short name and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// What people type.
    pub short: &'static str,
    /// `org/name` on the hub.
    pub name: &'static str,
}

const fn alias(short: &'static str, name: &'static str) -> Alias {
    Alias { short, name }
}

/// All short names.
pub const ALIASES: &[Alias] = &[
    alias("qwen3.5-0.8b", "Qwen/Qwen3.5-0.8B"),
    alias("qwen3.5-2b", "Qwen/Qwen3.5-2B"),
    alias("qwen3.6-27b", "Qwen/Qwen3.6-27B"),
    alias("qwen3.6-35b-a3b", "Qwen/Qwen3.6-35B-A3B"),
    alias("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    alias("bge-small-en-v1.5", "BAAI/bge-small-en-v1.5"),
    alias("bge-base-en-v1.5", "BAAI/bge-base-en-v1.5"),
    alias("bge-large-en-v1.5", "BAAI/bge-large-en-v1.5"),
    alias("all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
    alias(
        "paraphrase-multilingual-minilm-l12-v2",
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
    ),
    alias("multilingual-e5-small", "intfloat/multilingual-e5-small"),
    alias("multilingual-e5-base", "intfloat/multilingual-e5-base"),
    alias("qwen3-embedding-0.6b", "Qwen/Qwen3-Embedding-0.6B"),
    alias("qwen3-embedding-4b", "Qwen/Qwen3-Embedding-4B"),
];

/// What a short name stands for; letters count the same in both cases.
pub fn alias_of(short: &str) -> Option<&'static Alias> {
    ALIASES
        .iter()
        .find(|alias| alias.short.eq_ignore_ascii_case(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_is_a_name_and_none_stands_twice() {
        for (at, alias) in ALIASES.iter().enumerate() {
            assert!(!alias.short.contains('/') && alias.name.split('/').count() == 2);
            assert_eq!(lattice_files::check_model_name(alias.name), Ok(()));
            assert_eq!(lattice_files::check_model_name(alias.short), Ok(()));
            assert!(ALIASES[..at].iter().all(|other| other.short != alias.short));
            assert_eq!(alias_of(&alias.short.to_uppercase()), Some(alias));
        }
        assert_eq!(alias_of("qwen"), None);
    }
}
