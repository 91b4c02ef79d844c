//! Finds stop strings in a text that arrives in deltas.

/// Holds back what may become a stop string.
///
/// The match that ends first wins, of those ending together the longest: so the split into deltas cannot
/// change what is found.
#[derive(Debug, Default)]
pub(super) struct StopFinder {
    stops: Vec<String>,
    held: String,
}

impl StopFinder {
    pub(super) fn new(stops: Vec<String>) -> StopFinder {
        StopFinder {
            stops,
            held: String::new(),
        }
    }

    /// Adds `delta`; what is certain to be text goes to `out`. A stop string's index is returned when it is
    /// complete; the text before it is then in `out`, and the rest is gone.
    pub(super) fn push(&mut self, delta: &str, out: &mut String) -> Option<usize> {
        if self.stops.is_empty() {
            out.push_str(delta);
            return None;
        }
        self.held.push_str(delta);
        if let Some((start, stop)) = self.first_match() {
            out.push_str(&self.held[..start]);
            self.held.clear();
            return Some(stop);
        }
        let certain = self.held.len() - self.forming();
        out.push_str(&self.held[..certain]);
        self.held.drain(..certain);
        None
    }

    /// The text ended: what is held is text.
    pub(super) fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }

    fn first_match(&self) -> Option<(usize, usize)> {
        let found = |(stop, text): (usize, &String)| {
            self.held
                .find(text)
                .map(|start| (start + text.len(), start, stop))
        };
        let first = self.stops.iter().enumerate().filter_map(found).min();
        first.map(|(_, start, stop)| (start, stop))
    }

    /// Bytes of the longest end of the held text that a stop string starts with.
    fn forming(&self) -> usize {
        let longest = |stop: &String| {
            let most = self.held.len().min(stop.len() - 1);
            (1..=most)
                .rev()
                .find(|&bytes| self.held.as_bytes().ends_with(&stop.as_bytes()[..bytes]))
        };
        // Held text and stop strings are whole characters, and a character's first byte is never inside of
        // another one: a match of bytes that starts at a stop string's start is one of characters, except
        // for a last character cut short, which held text does not have.
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}
