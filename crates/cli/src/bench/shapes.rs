//! Which shapes of work are timed, and how often.
//!
//! In: what was asked for, and the rates of a short probe. Out: shapes that end in about a minute, unless somebody
//! asked for more, and notes on what was left out.

use std::fmt;

/// Seconds that shapes nobody asked for may take together.
const BUDGET_S: f64 = 45.0;
/// Runs of each shape, where they fit the budget.
const RUNS: usize = 3;

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Reading a prompt into an empty sequence, with an output row for its last token.
    Prompt { tokens: usize },
    /// One token after the other, in each of `sequences` that hold `depth` tokens when it begins.
    Decode { depth: usize, sequences: usize },
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::Prompt { tokens } => format!("prompt {tokens}"),
            Self::Decode {
                depth,
                sequences: 1,
            } => format!("decode at {depth}"),
            Self::Decode { sequences, .. } => format!("decode {sequences} sequences"),
        };
        f.pad(&name)
    }
}

/// What the probe found, in tokens per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    pub(super) prompt: f64,
    pub(super) decode: f64,
}

impl Shape {
    pub(super) fn sequences(self) -> usize {
        match self {
            Self::Prompt { .. } => 1,
            Self::Decode { sequences, .. } => sequences,
        }
    }

    /// Tokens a sequence must hold, with `steps` tokens decoded.
    pub(super) fn context(self, steps: usize) -> usize {
        match self {
            Self::Prompt { tokens } => tokens,
            Self::Decode { depth, .. } => depth + steps,
        }
    }

    /// Seconds it takes, roughly, and rather too many.
    fn seconds(self, runs: usize, steps: usize, rates: Rates) -> f64 {
        match self {
            Self::Prompt { tokens } => (runs * tokens) as f64 / rates.prompt,
            Self::Decode { depth, sequences } => {
                let filled = (sequences * depth) as f64 / rates.prompt;
                filled + (sequences * runs * steps) as f64 / rates.decode
            }
        }
    }
}

/// Shapes to time.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// With whether somebody asked for it.
    shapes: Vec<(Shape, bool)>,
    /// What a person should know about the choice.
    pub(super) notes: Vec<String>,
}

impl Wanted {
    pub(super) fn shapes(&self) -> impl Iterator<Item = Shape> {
        self.shapes.iter().map(|&(shape, _)| shape)
    }

    /// Adds a shape for each size of `asked`, or of `usual` where nothing was asked; none twice.
    pub(super) fn add(
        &mut self,
        asked: &Option<Vec<usize>>,
        usual: &[usize],
        shape: impl Fn(usize) -> Shape,
    ) {
        for &size in asked.as_deref().unwrap_or(usual) {
            let new = shape(size);
            match self.shapes.iter_mut().find(|(known, _)| *known == new) {
                Some((_, is_asked)) => *is_asked |= asked.is_some(),
                None => self.shapes.push((new, asked.is_some())),
            }
        }
    }

    /// Leaves out what a context of `limit` does not hold; returns a shape that was asked for and does not fit.
    pub(super) fn keep_within(&mut self, limit: usize, steps: usize) -> Option<Shape> {
        let too_long = |shape: Shape| shape.context(steps) > limit;
        let refused = self.shapes.iter().find(|(s, asked)| *asked && too_long(*s));
        if let Some(&(shape, _)) = refused {
            return Some(shape);
        }
        let reason = format!("the context holds {limit} tokens");
        self.leave_out(&reason, too_long);
        None
    }

    fn leave_out(&mut self, reason: &str, unwanted: impl Fn(Shape) -> bool) {
        let (out, kept) = self.shapes.iter().partition(|(shape, _)| unwanted(*shape));
        self.shapes = kept;
        let names: Vec<String> = out.iter().map(|(shape, _)| shape.to_string()).collect();
        if !names.is_empty() {
            self.notes
                .push(format!("left out: {} ({reason})", names.join(", ")));
        }
    }
}

/// Leaves out usual shapes until the rest ends within the budget; returns how often each is to be run.
pub(super) fn fit(wanted: &mut Wanted, runs: Option<usize>, steps: usize, rates: Rates) -> usize {
    let total = |wanted: &Wanted, runs| {
        let seconds = wanted.shapes().map(|s| s.seconds(runs, steps, rates));
        seconds.sum::<f64>()
    };
    let mut count = runs.unwrap_or(RUNS);
    if runs.is_none() && total(wanted, count) > BUDGET_S {
        count = 1;
        let note = "a slow model: each shape runs once; --runs N asks for more";
        wanted.notes.push(note.to_owned());
    }
    let mut dropped = Vec::new();
    let mut seconds = total(wanted, count);
    while seconds > BUDGET_S {
        let cost = |shape: Shape| shape.seconds(count, steps, rates);
        let optional = wanted.shapes.iter().filter(|(_, asked)| !asked);
        let dearest = optional
            .map(|&(shape, _)| shape)
            .filter(|shape| !is_smallest(*shape) && !dropped.contains(shape))
            .max_by(|a, b| cost(*a).total_cmp(&cost(*b)));
        let Some(shape) = dearest else { break };
        seconds -= cost(shape);
        dropped.push(shape);
    }
    wanted.leave_out("too long for a quick look; ask for it by its flag", |s| {
        dropped.contains(&s)
    });
    count
}

/// Whether the shape stays whatever it takes: a bench without a prompt and a decode figure says nothing.
fn is_smallest(shape: Shape) -> bool {
    matches!(
        shape,
        Shape::Prompt { tokens: 128 }
            | Shape::Decode {
                depth: 0,
                sequences: 1
            }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(asked: Option<Vec<usize>>) -> Wanted {
        let mut wanted = Wanted::default();
        wanted.add(&asked, &[128, 2048], |tokens| Shape::Prompt { tokens });
        let decode = |depth| Shape::Decode {
            depth,
            sequences: 1,
        };
        wanted.add(&None, &[0, 1024], decode);
        let together = |sequences| Shape::Decode {
            depth: 0,
            sequences,
        };
        wanted.add(&None, &[1, 4], together);
        wanted
    }

    fn names(wanted: &Wanted) -> Vec<String> {
        wanted.shapes().map(|shape| shape.to_string()).collect()
    }

    const FAST: Rates = Rates {
        prompt: 1e6,
        decode: 1e5,
    };
    const SLOW: Rates = Rates {
        prompt: 30.0,
        decode: 10.0,
    };

    #[test]
    fn a_fast_model_runs_everything_and_nothing_twice() {
        let mut wanted = usual(None);
        assert_eq!(fit(&mut wanted, None, 32, FAST), RUNS);
        let all = [
            "prompt 128",
            "prompt 2048",
            "decode at 0",
            "decode at 1024",
            "decode 4 sequences",
        ];
        assert_eq!(names(&wanted), all);
        assert!(wanted.notes.is_empty());
    }

    #[test]
    fn a_slow_model_runs_less_and_says_so_but_what_was_asked_stays() {
        let mut wanted = usual(None);
        assert_eq!(fit(&mut wanted, None, 32, SLOW), 1);
        let left = ["prompt 128", "decode at 0", "decode 4 sequences"];
        assert_eq!(names(&wanted), left);
        assert_eq!(wanted.notes.len(), 2);
        let mut wanted = usual(Some(vec![2048]));
        assert_eq!(fit(&mut wanted, Some(5), 32, SLOW), 5);
        assert!(names(&wanted).contains(&"prompt 2048".to_owned()));
    }

    #[test]
    fn a_short_context_drops_usual_shapes_and_refuses_asked_ones() {
        let mut wanted = usual(None);
        assert_eq!(wanted.keep_within(1040, 32), None);
        assert!(!names(&wanted).contains(&"decode at 1024".to_owned()));
        let refused = usual(Some(vec![2048])).keep_within(1040, 32);
        assert_eq!(refused, Some(Shape::Prompt { tokens: 2048 }));
    }
}
