//! Which tokens of a text are read together, and which of them count.
//!
//! In: the number of tokens of a text. Out: windows into it.
//! Source: llama.cpp's `tools/perplexity`, whose figures are the ones people compare with.

use super::QualityError;

/// How a text is cut. Without a stride: chunks side by side, of each the second half is scored, so that every
/// scored token has at least half a context before it. With one: a window begins every `stride` tokens and its
/// last `stride` tokens are scored; slower, with more past for each. What does not fill a window is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Tokens of a window.
    pub context_tokens: usize,
    /// Tokens from one window to the next; `None`: chunks side by side.
    pub stride: Option<usize>,
    /// Windows read at most; `None`: all.
    pub windows_max: Option<usize>,
    /// Stands in each window's first place, instead of the text's token.
    pub bos: Option<u32>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            context_tokens: 512,
            stride: None,
            windows_max: None,
            bos: None,
        }
    }
}

/// Tokens read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first token, counted in the text.
    pub start: usize,
    /// One past the last token.
    pub end: usize,
    /// The first token, counted in the window, whose successor is scored; all after it are, too.
    pub first_scored: usize,
}

impl Rule {
    /// The windows over a text of `tokens`.
    ///
    /// # Errors
    /// A context or stride that scores nothing, a text shorter than one window.
    pub fn windows(&self, tokens: usize) -> Result<Vec<Window>, QualityError> {
        let (context, step, first_scored) = self.shape()?;
        if tokens < context {
            return Err(QualityError::TextTooShort {
                found: tokens,
                context,
            });
        }
        let fitting = (tokens - context) / step + 1;
        let count = self.windows_max.map_or(fitting, |max| max.min(fitting));
        let window = |index: usize| Window {
            start: index * step,
            end: index * step + context,
            first_scored,
        };
        Ok((0..count.max(1)).map(window).collect())
    }

    /// Tokens of a window, tokens between two, and the first one with a scored successor.
    fn shape(&self) -> Result<(usize, usize, usize), QualityError> {
        let context = self.context_tokens;
        let min = if self.stride.is_some() { 2 } else { 3 };
        if context < min {
            return Err(QualityError::ContextTooShort { context, min });
        }
        match self.stride {
            None => Ok((context, context, context / 2)),
            Some(stride) if (1..context).contains(&stride) => {
                Ok((context, stride, context - 1 - stride))
            }
            Some(stride) => Err(QualityError::Stride { stride, context }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(rule: &Rule, tokens: usize) -> Vec<usize> {
        let windows = rule.windows(tokens).unwrap();
        let targets = |w: &Window| w.start + w.first_scored + 1..w.end;
        windows.iter().flat_map(targets).collect()
    }

    #[test]
    fn chunks_lie_side_by_side_and_score_their_second_half() {
        let rule = Rule {
            context_tokens: 8,
            ..Rule::default()
        };
        assert_eq!(scored(&rule, 23), [5, 6, 7, 13, 14, 15]);
        let one = Rule {
            windows_max: Some(1),
            ..rule
        };
        assert_eq!(scored(&one, 23), [5, 6, 7]);
    }

    #[test]
    fn a_stride_scores_each_later_token_once() {
        let rule = Rule {
            context_tokens: 8,
            stride: Some(3),
            ..Rule::default()
        };
        assert_eq!(scored(&rule, 16), (5..14).collect::<Vec<_>>());
    }

    #[test]
    fn shapes_that_score_nothing_are_refused() {
        let rule = |context_tokens, stride| Rule {
            context_tokens,
            stride,
            ..Rule::default()
        };
        for bad in [
            rule(0, None),
            rule(2, None),
            rule(1, Some(1)),
            rule(8, Some(0)),
            rule(8, Some(8)),
            rule(101, None),
        ] {
            assert!(bad.windows(100).is_err(), "{bad:?}");
        }
        assert!(rule(3, None).windows(3).is_ok());
        assert!(rule(8, Some(7)).windows(8).is_ok());
    }
}
