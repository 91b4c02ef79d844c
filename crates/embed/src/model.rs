//! The nine embedding models that are known by name, and how any other one is called.
//!
//! In: what people type. Out: an [`EmbeddingModel`], and [`Facts`] about one of the nine: defaults for what a
//! checkpoint's own files are silent about. The files win over this table; where they differ, that is said.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use lattice_hub::{ModelName, alias_of};
use lattice_inference::plan::Pooling;

use crate::EmbedError;

/// A model that makes vectors of texts.
///
/// ```
/// use lattice_embed::EmbeddingModel;
///
/// # fn main() -> Result<(), lattice_embed::EmbedError> {
/// assert_eq!(EmbeddingModel::default(), EmbeddingModel::BgeSmallEnV15);
/// let model: EmbeddingModel = "qwen3-embedding-0.6b".parse()?;
/// assert_eq!(model.facts().map(|facts| facts.dims), Some(1024));
/// assert!(matches!("./my-model".parse()?, EmbeddingModel::Local(_)));
/// assert!(matches!("org/name@v2".parse()?, EmbeddingModel::Named(_)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum EmbeddingModel {
    /// BAAI/bge-small-en-v1.5: English, 384 dimensions.
    #[default]
    BgeSmallEnV15,
    /// BAAI/bge-base-en-v1.5: English, 768 dimensions.
    BgeBaseEnV15,
    /// BAAI/bge-large-en-v1.5: English, 1024 dimensions.
    BgeLargeEnV15,
    /// intfloat/multilingual-e5-small: 384 dimensions.
    MultilingualE5Small,
    /// intfloat/multilingual-e5-base: 768 dimensions.
    MultilingualE5Base,
    /// sentence-transformers/all-MiniLM-L6-v2: English, 384 dimensions.
    AllMiniLmL6V2,
    /// sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2: 384 dimensions.
    ParaphraseMultilingualMiniLmL12V2,
    /// Qwen/Qwen3-Embedding-0.6B: multilingual, 1024 dimensions or fewer.
    Qwen3Embedding0_6B,
    /// Qwen/Qwen3-Embedding-4B: multilingual, 2560 dimensions or fewer.
    Qwen3Embedding4B,
    /// A directory as sentence-transformers writes it, or one with a plain BERT in it; or a GGUF file.
    Local(PathBuf),
    /// `org/name` or `org/name@revision` on the hub or among the models that are here.
    Named(String),
}

/// What is known about one of the nine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// Its short name, which [`EmbeddingModel`] reads and prints.
    pub name: &'static str,
    /// `org/name` on the hub.
    pub hub: &'static str,
    /// Columns of its vectors.
    pub dims: usize,
    /// Tokens of a text that it reads, special ones included.
    pub max_tokens: usize,
    /// How rows of tokens become one vector.
    pub pooling: Pooling,
    /// What stands before a query.
    pub query: &'static str,
    /// What stands before a passage.
    pub passage: &'static str,
    /// The fewest columns that a vector may be cut to, where the model was trained for that.
    pub dims_min: Option<usize>,
}

const QWEN_QUERY: &str =
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ";
const BGE_QUERY: &str = "Represent this sentence for searching relevant passages: ";

const fn bge(name: &'static str, hub: &'static str, dims: usize) -> Facts {
    Facts {
        name,
        hub,
        dims,
        max_tokens: 512,
        pooling: Pooling::Cls,
        query: BGE_QUERY,
        passage: "",
        dims_min: None,
    }
}

const fn mean(name: &'static str, hub: &'static str, dims: usize, max_tokens: usize) -> Facts {
    Facts {
        name,
        hub,
        dims,
        max_tokens,
        pooling: Pooling::Mean,
        query: "",
        passage: "",
        dims_min: None,
    }
}

const fn e5(name: &'static str, hub: &'static str, dims: usize) -> Facts {
    Facts {
        query: "query: ",
        passage: "passage: ",
        ..mean(name, hub, dims, 512)
    }
}

const fn qwen3(name: &'static str, hub: &'static str, dims: usize) -> Facts {
    Facts {
        name,
        hub,
        dims,
        max_tokens: 8192,
        pooling: Pooling::LastToken,
        query: QWEN_QUERY,
        passage: "",
        dims_min: Some(32),
    }
}

/// The nine, as their model cards and files on the hub describe them.
const TABLE: [(EmbeddingModel, Facts); 9] = [
    (
        EmbeddingModel::BgeSmallEnV15,
        bge("bge-small-en-v1.5", "BAAI/bge-small-en-v1.5", 384),
    ),
    (
        EmbeddingModel::BgeBaseEnV15,
        bge("bge-base-en-v1.5", "BAAI/bge-base-en-v1.5", 768),
    ),
    (
        EmbeddingModel::BgeLargeEnV15,
        bge("bge-large-en-v1.5", "BAAI/bge-large-en-v1.5", 1024),
    ),
    (
        EmbeddingModel::MultilingualE5Small,
        e5(
            "multilingual-e5-small",
            "intfloat/multilingual-e5-small",
            384,
        ),
    ),
    (
        EmbeddingModel::MultilingualE5Base,
        e5("multilingual-e5-base", "intfloat/multilingual-e5-base", 768),
    ),
    (
        EmbeddingModel::AllMiniLmL6V2,
        mean(
            "all-minilm-l6-v2",
            "sentence-transformers/all-MiniLM-L6-v2",
            384,
            256,
        ),
    ),
    (
        EmbeddingModel::ParaphraseMultilingualMiniLmL12V2,
        mean(
            "paraphrase-multilingual-minilm-l12-v2",
            "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
            384,
            128,
        ),
    ),
    (
        EmbeddingModel::Qwen3Embedding0_6B,
        qwen3("qwen3-embedding-0.6b", "Qwen/Qwen3-Embedding-0.6B", 1024),
    ),
    (
        EmbeddingModel::Qwen3Embedding4B,
        qwen3("qwen3-embedding-4b", "Qwen/Qwen3-Embedding-4B", 2560),
    ),
];

impl EmbeddingModel {
    /// The nine, in the order of the table in the README.
    pub fn known() -> impl ExactSizeIterator<Item = EmbeddingModel> {
        TABLE.into_iter().map(|(model, _)| model)
    }

    /// What is known about it: `None` for a directory, and for a name that is none of the nine.
    pub fn facts(&self) -> Option<&'static Facts> {
        match self {
            Self::Local(_) => None,
            // A revision of one of the nine is that model.
            Self::Named(name) => Facts::of_hub(name.split('@').next().unwrap_or(name)),
            _ => {
                let row = TABLE.iter().find(|(model, _)| model == self);
                row.map(|(_, facts)| facts)
            }
        }
    }

    /// What the hub calls it, with a revision if one was named: `None` for a directory.
    pub fn hub_name(&self) -> Option<&str> {
        match self {
            Self::Local(_) => None,
            Self::Named(name) => Some(name),
            _ => self.facts().map(|facts| facts.hub),
        }
    }
}

impl Facts {
    /// What is known about the model that the hub calls so; letters count the same in both cases.
    pub fn of_hub(name: &str) -> Option<&'static Facts> {
        let row = TABLE
            .iter()
            .find(|(_, facts)| facts.hub.eq_ignore_ascii_case(name));
        row.map(|(_, facts)| facts)
    }
}

impl fmt::Display for EmbeddingModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Named(name) => f.write_str(name),
            _ => f.write_str(self.facts().map_or("", |facts| facts.name)),
        }
    }
}

impl FromStr for EmbeddingModel {
    type Err = EmbedError;

    /// Reads a short name or the hub's name of one of the nine, `org/name`, `org/name@revision`, or a path, which
    /// begins with `.`, `~` or the root. The disk is not looked at.
    fn from_str(text: &str) -> Result<Self, EmbedError> {
        let same = |facts: &Facts| {
            facts.name.eq_ignore_ascii_case(text) || facts.hub.eq_ignore_ascii_case(text)
        };
        if let Some((model, _)) = TABLE.iter().find(|(_, facts)| same(facts)) {
            return Ok(model.clone());
        }
        let path = PathBuf::from(text);
        if path.is_absolute() || text.starts_with(['.', '~', '/']) {
            return Ok(Self::Local(path));
        }
        match text.parse::<ModelName>() {
            // A short name may stand for another model, or have a revision behind it.
            Ok(name) if alias_of(text).is_some() || text.contains('/') || text.contains('@') => {
                Ok(Self::Named(name.to_string()))
            }
            _ => Err(EmbedError::UnknownModel {
                name: text.to_owned(),
                known: known_names(),
            }),
        }
    }
}

fn known_names() -> String {
    let names: Vec<&str> = TABLE.iter().map(|(_, facts)| facts.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_knows_the_nine_by_the_same_names() {
        assert_eq!(EmbeddingModel::known().len(), 9);
        for model in EmbeddingModel::known() {
            let facts = model.facts().unwrap();
            assert_eq!(alias_of(facts.name).unwrap().name, facts.hub);
            assert_eq!(model.hub_name(), Some(facts.hub));
        }
    }

    #[test]
    fn a_name_reads_back() {
        for model in EmbeddingModel::known() {
            let facts = model.facts().unwrap();
            let read = |text: &str| text.parse::<EmbeddingModel>().unwrap();
            assert_eq!(read(&model.to_string()), model);
            assert_eq!(read(facts.hub), model);
            assert_eq!(read(&facts.name.to_uppercase()), model);
            let revised = read(&format!("{}@v1", facts.name));
            assert_eq!(revised, EmbeddingModel::Named(format!("{}@v1", facts.hub)));
            assert_eq!(revised.facts(), Some(facts));
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_what_there_is() {
        for text in ["", "bge", "a/b/c", "org/", "org/na me"] {
            let error = text.parse::<EmbeddingModel>().unwrap_err().to_string();
            assert!(error.contains("all-minilm-l6-v2"), "{error}");
        }
    }
}
