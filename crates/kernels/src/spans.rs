//! The sequences of a ragged batch.
//!
//! In: where each sequence's rows stand. Out: checked disjointness, which is what lets tasks write
//! without locks. It does not know: what a state holds.

use std::ops::Range;

/// The rows of one sequence in a batch, and its recurrent state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSpan {
    /// Rows of the batch, in the order of the tokens.
    pub rows: Range<usize>,
    /// Where its state begins in the slice of all states, in floats.
    pub state: usize,
}

/// # Panics
/// If the rows of the spans do not ascend without overlap, or reach beyond `rows`.
pub(crate) fn check_rows<'a>(spans: impl Iterator<Item = &'a Range<usize>>, rows: usize) {
    let mut end = 0;
    for span in spans {
        assert!(
            span.start >= end && span.end >= span.start,
            "rows {span:?} after row {end}"
        );
        end = span.end;
    }
    assert!(end <= rows, "rows up to {end} of {rows}");
}

/// # Panics
/// As [`check_rows`], and if two states of `floats` overlap or one reaches beyond `states`.
pub(crate) fn check_states(spans: &[StateSpan], rows: usize, floats: usize, states: usize) {
    check_rows(spans.iter().map(|s| &s.rows), rows);
    for (i, span) in spans.iter().enumerate() {
        let end = span.state.checked_add(floats);
        assert!(
            end.is_some_and(|end| end <= states),
            "state at {} of {states}",
            span.state
        );
        // Few spans stand in a batch, and a sorted copy would allocate.
        for other in &spans[..i] {
            let apart = span.state.abs_diff(other.state);
            assert!(
                apart >= floats,
                "states at {} and {} overlap",
                span.state,
                other.state
            );
        }
    }
}
