//! How long masks take: `mask_times TOKENIZER.json SCHEMA.json [ROUNDS]`.
//!
//! Walks texts of the schema by tokens drawn at random from each mask, each text with a copy of the grammar of its own.
//! Prints the time until the first grammar, of compiling, and mean, median, p99 and most of a mask and of taking a token
//! in; and how many tokens were forced.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lattice_inference::grammar::{Compiled, Grammar, Grammars};
use lattice_inference::sample::{Guide as _, TokenMask};
use lattice_inference::tokenizer::{HfTokenizer, Tokenizer as _};

/// Tokens of one text at most.
const TOKENS_MAX: usize = 400;

#[derive(Default)]
struct Walked {
    masks: Vec<Duration>,
    accepts: Vec<Duration>,
    forced: usize,
    tokens: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "mask_times TOKENIZER.json SCHEMA.json [ROUNDS]";
    let (tokenizer, schema) = args.next().zip(args.next()).ok_or(usage)?;
    let rounds: u64 = args.next().map_or(Ok(20), |rounds| rounds.parse())?;
    let tokenizer = Arc::new(HfTokenizer::from_json(&std::fs::read(tokenizer)?, None)?);
    let grammar = Grammar::schema_from_text(&std::fs::read_to_string(schema)?)?;
    let grammars = Grammars::new(Arc::<HfTokenizer>::clone(&tokenizer));
    let started = Instant::now();
    grammars.compile(&Grammar::JsonObject)?;
    let took = started.elapsed();
    println!(
        "tokens {}, vocabulary and first grammar {took:.1?}",
        tokenizer.ids_max()
    );
    let started = Instant::now();
    let compiled = grammars.compile(&grammar)?;
    println!("compile {:.2?}", started.elapsed());
    let started = Instant::now();
    drop(compiled.guide(&[]));
    println!("guide of one request {:.2?}", started.elapsed());
    let mut all = Walked::default();
    for seed in 0..rounds {
        walk(&tokenizer, &compiled, seed, &mut all);
    }
    report("mask", &mut all.masks);
    report("accept", &mut all.accepts);
    println!("tokens {}, of these forced {}", all.tokens, all.forced);
    Ok(())
}

fn walk(tokenizer: &HfTokenizer, compiled: &Compiled, seed: u64, all: &mut Walked) {
    let mut guide = compiled.guide(&[]);
    let tokens = TokenMask::from_tokenizer(tokenizer, tokenizer.ids_max());
    let mut allowed = tokens.clone();
    let mut draw = seed;
    for _ in 0..TOKENS_MAX {
        if guide.complete() {
            return;
        }
        all.tokens += 1;
        let id = match guide.forced() {
            Some(id) => {
                all.forced += 1;
                id
            }
            None => {
                allowed.copy_from(&tokens);
                let started = Instant::now();
                let masked = guide.mask(&mut allowed);
                all.masks.push(started.elapsed());
                draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d);
                draw = draw.wrapping_add(0x1405_7b7e_f767_814f);
                match masked.ok().and_then(|()| pick(&allowed, draw >> 33)) {
                    Some(id) => id,
                    None => return,
                }
            }
        };
        let started = Instant::now();
        guide.accept(id);
        all.accepts.push(started.elapsed());
    }
}

/// One of the allowed ids, of the first 400: in vocabularies made by merging these are the usual ones.
fn pick(allowed: &TokenMask, draw: u64) -> Option<u32> {
    let count = allowed.count().min(400) as u64;
    let nth = draw.checked_rem(count)? as usize;
    let width = u32::try_from(allowed.width()).ok()?;
    (0..width).filter(|&id| allowed.allows(id)).nth(nth)
}

fn report(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let last = times.len().saturating_sub(1) as f64;
    let at = |share: f64| {
        times
            .get((last * share) as usize)
            .copied()
            .unwrap_or_default()
    };
    let count = u32::try_from(times.len().max(1)).unwrap_or(1);
    let mean = times.iter().sum::<Duration>() / count;
    println!(
        "{name}: {} of them, mean {mean:.1?}, median {:.1?}, p99 {:.1?}, most {:.1?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
