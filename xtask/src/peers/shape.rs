//! The kinds of work that both engines do, and how each is told to.
//!
//! In: a word of `--what`. Out: shapes, as words for programs and for people.

use std::fmt;

use anyhow::{Result, bail};

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Reading so many tokens into an empty sequence.
    Prompt(usize),
    /// One token after the other, `steps` of them, after `depth`.
    Decode { depth: usize, steps: usize },
    /// `steps` tokens in each of `count` sequences together, from empty ones.
    Sequences { count: usize, steps: usize },
}

/// Few steps where the way to the depth takes minutes.
const DEPTHS: [Shape; 2] = [
    Shape::Decode {
        depth: 4096,
        steps: 16,
    },
    Shape::Decode {
        depth: 16384,
        steps: 8,
    },
];

impl Shape {
    /// The shapes that one word of `--what` stands for: a group, or a shape's own word.
    pub(super) fn from_word(word: &str) -> Result<Vec<Self>> {
        let together = |count| Self::Sequences { count, steps: 16 };
        Ok(match word {
            "prompt" => vec![Self::Prompt(512)],
            "decode" => vec![Self::Decode {
                depth: 0,
                steps: 64,
            }],
            "depth" => DEPTHS.to_vec(),
            "sequences" => vec![together(4), together(8)],
            _ => match own(word) {
                Some(shape) => vec![shape],
                None => {
                    bail!("{word}: prompt, decode, depth, sequences, or a shape like prompt:512")
                }
            },
        })
    }

    /// What `lattice bench` is asked for.
    pub(super) fn lattice_words(self) -> Vec<String> {
        let (flag, size, steps) = match self {
            Self::Prompt(tokens) => ("--prompt", tokens, None),
            Self::Decode { depth, steps } => ("--decode-at", depth, Some(steps)),
            Self::Sequences { count, steps } => ("--sequences", count, Some(steps)),
        };
        let mut words = vec![flag.to_owned(), size.to_string()];
        if let Some(steps) = steps {
            words.extend(["--tokens".to_owned(), steps.to_string()]);
        }
        words
    }

    /// For people.
    pub(super) fn name(self) -> String {
        match self {
            Self::Prompt(tokens) => format!("prompt of {tokens}"),
            Self::Decode { depth: 0, .. } => "decode".to_owned(),
            Self::Decode { depth, .. } => format!("decode at {depth}"),
            Self::Sequences { count, .. } => format!("decode, {count} sequences"),
        }
    }
}

/// The word that the other engine is given, and answers with.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prompt(tokens) => write!(f, "prompt:{tokens}"),
            Self::Decode { depth, steps } => write!(f, "decode:{depth}:{steps}"),
            Self::Sequences { count, steps } => write!(f, "sequences:{count}:{steps}"),
        }
    }
}

/// Reads what `Display` writes; work that makes no token is none.
fn own(word: &str) -> Option<Shape> {
    let mut parts = word.split(':');
    let kind = parts.next()?;
    let sizes: Option<Vec<usize>> = parts.map(|part| part.parse().ok()).collect();
    match (kind, sizes?.as_slice()) {
        ("prompt", &[tokens]) if tokens > 0 => Some(Shape::Prompt(tokens)),
        ("decode", &[depth, steps]) if steps > 0 => Some(Shape::Decode { depth, steps }),
        ("sequences", &[count, steps]) if count > 0 && steps > 0 => {
            Some(Shape::Sequences { count, steps })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_read_as_it_is_written() {
        for word in ["prompt:512", "decode:4096:16", "sequences:8:16"] {
            let shapes = Shape::from_word(word).unwrap();
            assert_eq!(shapes.len(), 1);
            assert_eq!(shapes[0].to_string(), word);
        }
        for word in [
            "",
            "prompt",
            "depth:1",
            "decode:1",
            "prompt:0",
            "prompt:x",
            "sequences:2:0",
        ] {
            assert_eq!(own(word), None, "{word}");
        }
        assert!(Shape::from_word("speed").is_err());
    }

    #[test]
    fn groups_hold_the_usual_sizes() {
        let words = |group| {
            let shapes = Shape::from_word(group).unwrap();
            shapes.iter().map(Shape::to_string).collect::<Vec<_>>()
        };
        assert_eq!(words("prompt"), ["prompt:512"]);
        assert_eq!(words("decode"), ["decode:0:64"]);
        assert_eq!(words("depth"), ["decode:4096:16", "decode:16384:8"]);
        assert_eq!(words("sequences"), ["sequences:4:16", "sequences:8:16"]);
    }

    #[test]
    fn lattice_is_told_size_and_steps() {
        let shape = own("decode:4096:16").unwrap();
        let words = ["--decode-at", "4096", "--tokens", "16"];
        assert_eq!(shape.lattice_words(), words);
        assert_eq!(own("prompt:9").unwrap().lattice_words(), ["--prompt", "9"]);
    }
}
