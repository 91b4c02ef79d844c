//! Laws of the sampler. Numbers quoted from `transformers` were computed with version 5.23.

use std::collections::BTreeSet;

use lattice_inference::sample::{
    Guide as _, NgramDraft, SampleError, Sampler, SamplerOptions, Scratch, TokenMask,
    logprobs_from_logits, uniform,
};
use proptest::prelude::*;

/// Logits of a vocabulary of eight, and the text so far.
const LOGITS: [f32; 8] = [2.0, -1.0, 0.5, 3.0, -0.25, 1.5, 0.0, 2.5];
const TEXT: [u32; 6] = [3, 1, 6, 3, 7, 1];

fn sampler(options: SamplerOptions, prompt: &[u32], vocab: usize) -> Sampler {
    Sampler::new(options, 7, prompt, vocab).expect("options within their ranges")
}

/// The tokens chosen at the first `count` places.
fn choices(options: &SamplerOptions, logits: &[f32], mask: &TokenMask, count: usize) -> Vec<u32> {
    let mut scratch = Scratch::default();
    let mut sampler = sampler(options.clone(), &[], logits.len());
    (0..count)
        .map(|_| {
            let id = sampler
                .choose(logits, mask, &mut scratch)
                .expect("something is allowed");
            sampler.accept(id);
            id
        })
        .collect()
}

fn kept(options: &SamplerOptions, logits: &[f32]) -> Vec<u32> {
    let chosen = choices(options, logits, &TokenMask::all(logits.len()), 3000);
    chosen
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// Every cut by a full sort and in f64: the probability of each id, in the order of the ids.
fn naive(options: &SamplerOptions, logits: &[f32], mask: &TokenMask) -> Vec<(u32, f64)> {
    let mut all: Vec<(u32, f64)> = (0u32..)
        .zip(logits)
        .filter(|&(id, &logit)| mask.allows(id) && logit > f32::NEG_INFINITY)
        .map(|(id, &logit)| (id, f64::from(logit)))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let max = all[0].1;
    if options.top_k > 0 && (options.top_k as usize) < all.len() {
        let least = all[options.top_k as usize - 1].1;
        all.retain(|&(_, logit)| logit >= least);
    }
    for (_, logit) in &mut all {
        *logit = ((*logit - max) / f64::from(options.temperature)).exp();
    }
    let total: f64 = all.iter().map(|&(_, weight)| weight).sum();
    let mut before = 0.0;
    let mut at = 0;
    all.retain(|&(_, weight)| {
        let keep = at == 0 || options.top_p >= 1.0 || before < f64::from(options.top_p) * total;
        before += weight;
        at += 1;
        keep
    });
    all.retain(|&(_, weight)| weight >= f64::from(options.min_p));
    all.sort_by_key(|&(id, _)| id);
    let total: f64 = all.iter().map(|&(_, weight)| weight).sum();
    all.iter()
        .map(|&(id, weight)| (id, weight / total))
        .collect()
}

/// The ids that inverting the cumulative distribution may give where rounding differs by `slack`.
fn near(probabilities: &[(u32, f64)], uniform: f64, slack: f64) -> Vec<u32> {
    let mut below = 0.0;
    let mut ids = Vec::new();
    for &(id, probability) in probabilities {
        if uniform >= below - slack && uniform < below + probability + slack {
            ids.push(id);
        }
        below += probability;
    }
    ids
}

#[test]
fn cuts_keep_what_transformers_keeps() {
    let plain = SamplerOptions::default;
    assert_eq!(
        kept(
            &SamplerOptions {
                top_p: 0.8,
                ..plain()
            },
            &LOGITS
        ),
        [0, 3, 7]
    );
    assert_eq!(
        kept(
            &SamplerOptions {
                top_p: 0.5,
                ..plain()
            },
            &LOGITS
        ),
        [3, 7]
    );
    assert_eq!(
        kept(
            &SamplerOptions {
                top_p: 0.0,
                ..plain()
            },
            &LOGITS
        ),
        [3]
    );
    assert_eq!(
        kept(
            &SamplerOptions {
                min_p: 0.3,
                ..plain()
            },
            &LOGITS
        ),
        [0, 3, 7]
    );
    assert_eq!(
        kept(
            &SamplerOptions {
                top_k: 5,
                ..plain()
            },
            &LOGITS
        ),
        [0, 2, 3, 5, 7]
    );
    // Those equal to the last of the best k stay.
    let ties = [1.0, 3.0, 2.0, 2.0, 2.0];
    assert_eq!(
        kept(
            &SamplerOptions {
                top_k: 2,
                ..plain()
            },
            &ties
        ),
        [1, 2, 3, 4]
    );
}

#[test]
fn the_whole_chain_draws_from_the_distribution_of_transformers() {
    // RepetitionPenalty(1.3), Temperature(0.7), TopK(5), TopP(0.8), softmax.
    let theirs = [(0, 0.290_026_78), (3, 0.450_128_76), (7, 0.259_844_48)];
    let options = SamplerOptions {
        temperature: 0.7,
        top_k: 5,
        top_p: 0.8,
        repetition_penalty: 1.3,
        ..SamplerOptions::default()
    };
    let mask = TokenMask::all(8);
    let mut scratch = Scratch::default();
    for seed in 0..2000 {
        let options = SamplerOptions {
            seed: Some(seed),
            ..options.clone()
        };
        let id = sampler(options, &TEXT, 8)
            .choose(&LOGITS, &mask, &mut scratch)
            .unwrap();
        let expected = near(&theirs, uniform(seed, 0), 1e-6);
        assert!(
            expected.contains(&id),
            "seed {seed}: {id}, not {expected:?}"
        );
    }
}

#[test]
fn penalties_change_logits_as_transformers_and_openai_say() {
    // A bias lifts one id just below or just above the value that the penalty leaves to id 3.
    let best = |options: SamplerOptions, prompt: &[u32], generated: &[u32]| {
        let mut sampler = sampler(
            SamplerOptions {
                temperature: 0.0,
                ..options
            },
            prompt,
            8,
        );
        generated.iter().for_each(|&id| sampler.accept(id));
        sampler
            .choose(&LOGITS, &TokenMask::all(8), &mut Scratch::default())
            .unwrap()
    };
    let lifted = |value: f32| vec![(4, value + 0.25)];
    // RepetitionPenalty(1.3): 3.0 becomes 2.307692289352417, of prompt and text alike.
    for (prompt, generated) in [(&TEXT[..], &[][..]), (&[], &TEXT[..])] {
        let with = |value| SamplerOptions {
            repetition_penalty: 1.3,
            logit_bias: lifted(value),
            ..SamplerOptions::default()
        };
        assert_eq!(best(with(2.3076), prompt, generated), 3);
        assert_eq!(best(with(2.3078), prompt, generated), 4);
    }
    // Presence and frequency count generated tokens only: 3.0 - 0.5 - 2 * 0.2 = 2.1 < 2.5 - 0.7.
    let with = |value| SamplerOptions {
        presence_penalty: 0.5,
        frequency_penalty: 0.2,
        logit_bias: lifted(value),
        ..SamplerOptions::default()
    };
    assert_eq!(best(with(2.99), &TEXT, &[]), 3);
    assert_eq!(best(with(2.099), &[], &TEXT), 3);
    assert_eq!(best(with(2.101), &[], &TEXT), 4);
}

#[test]
fn negative_logits_of_seen_tokens_are_multiplied() {
    let options = SamplerOptions {
        repetition_penalty: 1.3,
        ..SamplerOptions::greedy()
    };
    let choose = |logits: [f32; 2]| {
        let mut scratch = Scratch::default();
        sampler(options.clone(), &[0], 2)
            .choose(&logits, &TokenMask::all(2), &mut scratch)
            .unwrap()
    };
    // -1.0 becomes -1.3.
    assert_eq!(choose([-1.0, -1.29]), 1);
    assert_eq!(choose([-1.0, -1.31]), 0);
}

#[test]
fn greedy_takes_the_lowest_of_equal_ids() {
    let mut logits = vec![0.0; 300];
    for id in [70, 131, 299] {
        logits[id] = 5.0;
    }
    let mut mask = TokenMask::all(300);
    assert_eq!(choices(&SamplerOptions::greedy(), &logits, &mask, 1), [70]);
    mask.forbid(70);
    assert_eq!(choices(&SamplerOptions::greedy(), &logits, &mask, 1), [131]);
}

#[test]
fn a_dead_end_and_broken_logits_are_errors() {
    for options in [SamplerOptions::greedy(), SamplerOptions::default()] {
        let sampler = sampler(options, &[], 8);
        let mut scratch = Scratch::default();
        let dead = sampler.choose(&LOGITS, &TokenMask::none(8), &mut scratch);
        assert_eq!(dead, Err(SampleError::DeadEnd { width: 8, index: 0 }));
        let never = [f32::NEG_INFINITY; 8];
        let dead = sampler.choose(&never, &TokenMask::all(8), &mut scratch);
        assert_eq!(dead, Err(SampleError::DeadEnd { width: 8, index: 0 }));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut logits = LOGITS;
            logits[5] = bad;
            let broken = sampler.choose(&logits, &TokenMask::all(8), &mut scratch);
            assert_eq!(
                broken,
                Err(SampleError::NotFinite {
                    id: 5,
                    others: 0,
                    index: 0
                })
            );
        }
    }
}

#[test]
fn numbers_outside_of_their_range_are_refused_by_name() {
    let plain = SamplerOptions::default;
    let bad = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -1e9,
        1e9,
        101.0,
        -3.0,
    ];
    for value in bad {
        let cases = [
            (
                "temperature",
                SamplerOptions {
                    temperature: value,
                    ..plain()
                },
            ),
            (
                "top_p",
                SamplerOptions {
                    top_p: value,
                    ..plain()
                },
            ),
            (
                "min_p",
                SamplerOptions {
                    min_p: value,
                    ..plain()
                },
            ),
            (
                "repetition_penalty",
                SamplerOptions {
                    repetition_penalty: value,
                    ..plain()
                },
            ),
            (
                "presence_penalty",
                SamplerOptions {
                    presence_penalty: value,
                    ..plain()
                },
            ),
            (
                "frequency_penalty",
                SamplerOptions {
                    frequency_penalty: value,
                    ..plain()
                },
            ),
        ];
        for (field, options) in cases {
            let error = options.validate(8).expect_err("outside of the range");
            assert_eq!(error.field, field, "{error}");
        }
    }
}

#[test]
fn biases_and_counts_are_refused_outside_of_their_range() {
    let plain = SamplerOptions::default;
    for bias in [f32::NAN, f32::INFINITY, -101.0] {
        let options = SamplerOptions {
            logit_bias: vec![(0, bias)],
            ..plain()
        };
        assert_eq!(options.validate(8).unwrap_err().field, "logit_bias");
    }
    let unknown = SamplerOptions {
        logit_bias: vec![(8, 1.0)],
        ..plain()
    };
    assert_eq!(
        unknown.validate(8).unwrap_err().to_string(),
        "logit_bias is for token id 8, allowed is an id below 8"
    );
    assert!(
        SamplerOptions {
            logit_bias: vec![(0, 0.0); 1025],
            ..plain()
        }
        .validate(8)
        .is_err()
    );
    assert!(
        SamplerOptions {
            logprobs: Some(21),
            ..plain()
        }
        .validate(8)
        .is_err()
    );
    let edges = SamplerOptions {
        temperature: 100.0,
        top_k: u32::MAX,
        top_p: 0.0,
        min_p: 1.0,
        logit_bias: vec![(7, -100.0); 1024],
        logprobs: Some(20),
        ..plain()
    };
    assert_eq!(edges.validate(8), Ok(()));
}

#[test]
fn extreme_legal_options_still_choose() {
    let logits = [f32::MAX, -f32::MAX, 0.0, f32::NEG_INFINITY];
    for temperature in [f32::MIN_POSITIVE / 2.0, 1e-30, 0.0, 1.0, 100.0] {
        for repetition_penalty in [0.01, 100.0] {
            let options = SamplerOptions {
                temperature,
                repetition_penalty,
                presence_penalty: -2.0,
                logit_bias: vec![(0, 100.0), (0, 100.0)],
                ..SamplerOptions::default()
            };
            assert_eq!(choices(&options, &logits, &TokenMask::all(4), 3), [0, 0, 0]);
        }
    }
}

#[test]
fn draws_depend_on_seed_and_place_alone() {
    assert_eq!(uniform(1, 2), uniform(1, 2));
    let mean = (0..10_000).map(|index| uniform(3, index)).sum::<f64>() / 1e4;
    assert!((mean - 0.5).abs() < 0.01, "{mean}");
    let differ = (0..1000)
        .filter(|&seed| uniform(seed, 0) != uniform(seed + 1, 0))
        .count();
    assert_eq!(differ, 1000);
    let lag = (0..10_000)
        .map(|i| (uniform(i, 0) - 0.5) * (uniform(i + 1, 0) - 0.5))
        .sum::<f64>();
    assert!(
        lag.abs() / 1e4 < 0.003,
        "neighbouring seeds are unrelated: {lag}"
    );
}

#[test]
fn logprobs_are_the_log_softmax_of_the_raw_logits() {
    // torch.log_softmax of the same logits.
    let theirs = [
        -1.869_828_8,
        -4.869_829,
        -3.369_828_7,
        -0.869_828_8,
        -4.119_829,
        -2.369_828_7,
        -3.869_828_7,
        -1.369_828_8,
    ];
    let mut scratch = Scratch::default();
    let mut tokens = TokenMask::all(8);
    tokens.forbid(7);
    for (id, logprob) in (0..).zip(theirs) {
        let ours = logprobs_from_logits(&LOGITS, id, 2, &tokens, &mut scratch);
        assert_eq!(ours.id, id);
        assert!(
            (ours.logprob - logprob).abs() < 1e-6,
            "{id}: {}",
            ours.logprob
        );
        // Id 7 is second best, but has no token.
        let top: Vec<u32> = ours.top.iter().map(|&(id, _)| id).collect();
        assert_eq!(top, [3, 0]);
        assert_eq!(
            ours.top[1].1,
            logprobs_from_logits(&LOGITS, 0, 0, &tokens, &mut scratch).logprob
        );
    }
}

#[test]
fn ngram_drafts_repeat_what_followed_last_time() {
    let propose = |length, ids: &[u32], max| {
        let mut out = Vec::new();
        NgramDraft::new(length).propose(ids, max, &mut out);
        out
    };
    assert_eq!(propose(2, &[1, 2, 3, 4, 1, 2, 5, 6, 1, 2], 3), [5, 6, 1]);
    assert_eq!(propose(2, &[1, 2, 3, 4, 1, 2], 1), [3]);
    assert_eq!(propose(3, &[1, 2, 3, 4, 1, 2], 4), [0_u32; 0]);
    assert_eq!(propose(1, &[9, 9, 9], 4), [9]);
    assert_eq!(propose(1, &[9], 4), [0_u32; 0]);
    assert_eq!(propose(1, &[], 4), [0_u32; 0]);
}

fn any_logits() -> impl Strategy<Value = Vec<f32>> {
    let coarse = (-40i8..40).prop_map(|step| f32::from(step) / 4.0);
    let logit = prop_oneof![
        8 => -8.0f32..8.0,
        4 => coarse,
        1 => Just(f32::NEG_INFINITY),
    ];
    prop_oneof![
        3 => prop::collection::vec(logit.clone(), 1..80),
        1 => prop::collection::vec(logit, 1000..3000),
    ]
}

fn any_options() -> impl Strategy<Value = SamplerOptions> {
    let top_k = prop_oneof![Just(0u32), 1u32..40, 40u32..4000];
    let top_p = prop_oneof![Just(1.0f32), Just(0.0f32), 0.01f32..1.0];
    let min_p = prop_oneof![Just(0.0f32), 0.0f32..0.5];
    (0.1f32..3.0, top_k, top_p, min_p).prop_map(|(temperature, top_k, top_p, min_p)| {
        SamplerOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            ..SamplerOptions::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn sampling_equals_a_full_sort(
        mut logits in any_logits(),
        options in any_options(),
        holes in prop::collection::vec(any::<u16>(), 0..40),
        seed in any::<u64>(),
    ) {
        let width = logits.len();
        logits[0] = 0.5;
        let mut mask = TokenMask::all(width);
        for hole in holes {
            let id = u32::from(hole) % width as u32;
            if id != 0 {
                mask.forbid(id);
            }
        }
        let options = SamplerOptions { seed: Some(seed), ..options };
        let probabilities = naive(&options, &logits, &mask);
        for (index, id) in (0..).zip(choices(&options, &logits, &mask, 40)) {
            // The border of top-p or min-p may fall differently in f32: one token in doubt moves the
            // sum by its own share, so a wider look is taken only where the narrow one fails.
            let draw = uniform(seed, index);
            let expected = near(&probabilities, draw, 1e-5);
            prop_assert!(
                expected.contains(&id) || on_a_border(&options, &logits, &mask, draw, id),
                "{} is not among {:?}", id, expected
            );
        }
    }

    #[test]
    fn greedy_equals_the_first_maximum(logits in any_logits(), holes in prop::collection::vec(any::<u16>(), 0..40)) {
        let mut mask = TokenMask::all(logits.len());
        for hole in holes {
            mask.forbid(u32::from(hole) % logits.len() as u32);
        }
        let mut best: Option<(u32, f32)> = None;
        for (id, &logit) in (0..).zip(&logits) {
            if mask.allows(id) && logit > best.map_or(f32::NEG_INFINITY, |(_, logit)| logit) {
                best = Some((id, logit));
            }
        }
        let sampler = sampler(SamplerOptions::greedy(), &[], logits.len());
        let chosen = sampler.choose(&logits, &mask, &mut Scratch::default()).ok();
        prop_assert_eq!(chosen, best.map(|(id, _)| id));
    }

    #[test]
    fn masks_agree_with_sets(width in 1usize..200, ids in prop::collection::vec(0u32..220, 0..60)) {
        let mut mask = TokenMask::none(width);
        ids.iter().for_each(|&id| mask.allow(id));
        let set: BTreeSet<u32> = ids.into_iter().filter(|&id| (id as usize) < width).collect();
        prop_assert_eq!(mask.count(), set.len());
        let mut seen = Vec::new();
        mask.retain(|id| { seen.push(id); id % 2 == 0 });
        prop_assert!(seen.iter().eq(&set));
        prop_assert!((0..220).all(|id| mask.allows(id) == (id % 2 == 0 && set.contains(&id))));
        let mut all = TokenMask::all(width);
        prop_assert_eq!(all.count(), width);
        all.intersect(&mask);
        prop_assert_eq!(all, mask);
    }
}

/// Whether a change of `top_p` or `min_p` by one part in 100,000 explains the choice.
fn on_a_border(
    options: &SamplerOptions,
    logits: &[f32],
    mask: &TokenMask,
    draw: f64,
    id: u32,
) -> bool {
    [1.0 - 1e-5, 1.0 + 1e-5].into_iter().any(|factor: f32| {
        [1.0 - 1e-5, 1.0 + 1e-5].into_iter().any(|other: f32| {
            let moved = SamplerOptions {
                top_p: options.top_p * factor,
                min_p: options.min_p * other,
                ..options.clone()
            };
            near(&naive(&moved, logits, mask), draw, 1e-4).contains(&id)
        })
    })
}
