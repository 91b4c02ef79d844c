//! The order in which texts are computed.
//!
//! In: the lengths of texts in tokens. Out: batches of texts of like lengths, each within a budget of tokens. It changes the
//! speed alone: a vector depends on its own text.

/// What a batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) tokens: usize,
    pub(crate) texts: usize,
}

/// Cuts texts into batches, longest texts first: places in `lengths`. A text that is longer than the budget is a batch of its own.
pub(crate) fn batches(lengths: &[usize], budget: Budget) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&text| std::cmp::Reverse(lengths[text]));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut left = 0;
    for text in order {
        let fits = |batch: &Vec<usize>| lengths[text] <= left && batch.len() < budget.texts;
        match batches.last_mut().filter(|batch| fits(batch)) {
            Some(batch) => {
                batch.push(text);
                left -= lengths[text];
            }
            None => {
                batches.push(vec![text]);
                left = budget.tokens.saturating_sub(lengths[text]);
            }
        }
    }
    batches
}

/// Cuts texts into windows that are tokenised and sorted at a time: each has at most `texts` texts, and ends after the text
/// with which it comes to `bytes`. Out: the ends.
pub(crate) fn windows(
    lengths: impl Iterator<Item = usize>,
    texts: usize,
    bytes: usize,
) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut first, mut sum, mut count) = (0, 0usize, 0);
    for length in lengths {
        count += 1;
        sum = sum.saturating_add(length);
        if count - first >= texts || sum >= bytes {
            ends.push(count);
            (first, sum) = (count, 0);
        }
    }
    if count > first {
        ends.push(count);
    }
    ends
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_once_within_the_budget(
            lengths in prop::collection::vec(1usize..600, 0..200),
            tokens in 1usize..2000,
            texts in 1usize..40,
        ) {
            let batches = batches(&lengths, Budget { tokens, texts });
            let mut all: Vec<usize> = batches.concat();
            for batch in &batches {
                let sum: usize = batch.iter().map(|&text| lengths[text]).sum();
                prop_assert!(!batch.is_empty() && batch.len() <= texts);
                prop_assert!(sum <= tokens || batch.len() == 1);
            }
            let sorted = all.iter().map(|&text| lengths[text]);
            prop_assert!(sorted.clone().zip(sorted.skip(1)).all(|(a, b)| a >= b));
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        }

        #[test]
        fn windows_end_where_they_are_full(
            lengths in prop::collection::vec(0usize..50, 0..100),
            texts in 1usize..20,
            bytes in 1usize..200,
        ) {
            let ends = windows(lengths.iter().copied(), texts, bytes);
            prop_assert_eq!(ends.last().copied().unwrap_or(0), lengths.len());
            let mut first = 0;
            for end in ends {
                let sum: usize = lengths[first..end - 1].iter().sum();
                prop_assert!(end > first && end - first <= texts && sum < bytes);
                first = end;
            }
        }
    }
}
