//! Grammars compiled for one vocabulary, within bounds, and kept.

use std::fmt::Display;
use std::sync::{Arc, Mutex, OnceLock};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory, TokenParser};
use toktrie::{InferenceCapabilities, TokEnv};

use super::cache::Cache;
use super::guide::GrammarGuide;
use super::masks::MaskThread;
use super::vocabulary::vocabulary;
use super::{Grammar, GrammarError, gbnf, schema};
use crate::deep::on_deep_stack;
use crate::sample::TokenMask;
use crate::tokenizer::Tokenizer;

/// Rules may nest as deep as a grammar is long.
const STACK_BYTES: usize = 256 << 20;

/// Terminals of a Lark grammar: each is copied into those that name it.
const TERMINALS_MAX: usize = 500;

/// What a grammar may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrammarLimits {
    /// Bytes of its text.
    pub text_bytes_max: usize,
    /// Brackets or schemas inside of each other.
    pub depth_max: usize,
    /// The largest number that repeats something: `{0,1000}`, `maxItems`, `maxLength`.
    pub repeat_max: usize,
    /// States of its lexer, 1 to 2 kB each.
    pub states_max: usize,
    /// Grammars that are kept.
    pub cached_max: usize,
    /// Bytes of the grammars that are kept, as far as they can be told.
    pub cached_bytes_max: usize,
}

impl Default for GrammarLimits {
    fn default() -> GrammarLimits {
        GrammarLimits {
            text_bytes_max: 256 << 10,
            depth_max: 64,
            repeat_max: 20_000,
            states_max: 50_000,
            cached_max: 128,
            cached_bytes_max: 128 << 20,
        }
    }
}

/// Compiles grammars for one tokenizer and keeps the latest.
pub struct Grammars {
    tokenizer: Arc<dyn Tokenizer>,
    limits: GrammarLimits,
    /// Made by the first grammar: the tree of a large vocabulary takes a moment.
    machine: OnceLock<Result<Machine, GrammarError>>,
    cache: Mutex<Cache<Arc<Compiled>>>,
}

struct Machine {
    factory: ParserFactory,
    vocabulary: TokEnv,
    masks: Arc<MaskThread>,
    /// The tokens that do not begin with a space, where the decoder drops the first one.
    no_space: Option<Arc<TokenMask>>,
}

/// A grammar ready for any number of requests.
pub struct Compiled {
    start: Matcher,
    empty_only: bool,
    vocabulary: TokEnv,
    masks: Arc<MaskThread>,
    no_space: Option<Arc<TokenMask>>,
    bytes: usize,
}

impl Grammars {
    /// Grammars over the tokens of `tokenizer`, within the default limits. What is wrong with its vocabulary is said by
    /// the first grammar.
    #[must_use]
    pub fn new(tokenizer: Arc<dyn Tokenizer>) -> Grammars {
        Grammars::with_limits(tokenizer, GrammarLimits::default())
    }

    /// Grammars within `limits`.
    #[must_use]
    pub fn with_limits(tokenizer: Arc<dyn Tokenizer>, limits: GrammarLimits) -> Grammars {
        let cache = Mutex::new(Cache::new(limits.cached_max, limits.cached_bytes_max));
        Grammars {
            tokenizer,
            limits,
            machine: OnceLock::new(),
            cache,
        }
    }

    /// Grammars that are kept, and their bytes.
    #[must_use]
    pub fn cached(&self) -> (usize, usize) {
        let cache = self
            .cache
            .lock()
            .unwrap_or_else(|broken| broken.into_inner());
        cache.size()
    }

    /// Compiles a grammar, or finds it among those that were compiled before.
    ///
    /// # Errors
    /// It is wrong, too large, too complex, or nothing satisfies it. The time is bounded by the limits.
    pub fn compile(&self, grammar: &Grammar) -> Result<Arc<Compiled>, GrammarError> {
        let text = canonical_text(grammar);
        let kind = grammar.kind();
        if text.len() > self.limits.text_bytes_max {
            return Err(GrammarError::TooLarge {
                kind,
                what: "its length in bytes",
                found: text.len(),
                most: self.limits.text_bytes_max,
            });
        }
        let key = format!("{kind}\n{text}");
        let cache = || {
            self.cache
                .lock()
                .unwrap_or_else(|broken| broken.into_inner())
        };
        if let Some(found) = cache().get(&key) {
            return Ok(found);
        }
        let compiled = Arc::new(self.compile_new(grammar)?);
        cache().insert(key, Arc::clone(&compiled), compiled.bytes);
        Ok(compiled)
    }

    fn compile_new(&self, grammar: &Grammar) -> Result<Compiled, GrammarError> {
        let machine = self.machine()?;
        let kind = grammar.kind();
        let work = || {
            let source = source(grammar, &self.limits)?;
            let parser = machine.factory.create_parser(source);
            let parser = parser.map_err(|error| refusal(kind, &error))?;
            started(kind, parser)
        };
        let start = on_deep_stack("grammar", STACK_BYTES, work).map_err(|error| {
            let reason = format!("no stack to compile it on: {error}");
            GrammarError::Refused { kind, reason }
        })?;
        let Start {
            matcher: start,
            lexer_bytes,
            empty_only,
        } = start?;
        Ok(Compiled {
            start,
            empty_only,
            vocabulary: Arc::clone(&machine.vocabulary),
            masks: Arc::clone(&machine.masks),
            no_space: machine.no_space.clone(),
            // Rules are some words for each word of the text.
            bytes: lexer_bytes + 64 * canonical_text(grammar).len(),
        })
    }

    fn machine(&self) -> Result<&Machine, GrammarError> {
        let made = self.machine.get_or_init(|| {
            let vocabulary = vocabulary(Arc::clone(&self.tokenizer))?;
            let factory = factory(&vocabulary, &self.limits)?;
            let strips = self.tokenizer.strips_leading_space();
            Ok(Machine {
                factory,
                no_space: strips.then(|| Arc::new(no_space(&*self.tokenizer))),
                vocabulary,
                masks: Arc::default(),
            })
        });
        made.as_ref().map_err(Clone::clone)
    }
}

impl Compiled {
    /// A guide for one request. `stop_ids` may come where the grammar lets the text end.
    #[must_use]
    pub fn guide(&self, stop_ids: &[u32]) -> GrammarGuide {
        // A copy of its own: what one request makes of the grammar must not show in another.
        let matcher = Box::new(self.start.deep_clone());
        let no_space = self.no_space.clone();
        let guide = GrammarGuide::new(matcher, Arc::clone(&self.masks), stop_ids, no_space);
        match self.empty_only {
            true => guide.ended(),
            false => guide,
        }
    }

    /// Whether the grammar has this text, whole.
    ///
    /// # Errors
    /// [`GrammarError::Refused`] where the grammar is too complex to tell.
    pub fn matches(&self, text: &str) -> Result<bool, GrammarError> {
        let wrong = |error| refusal("grammar", &error);
        let mut matcher = self.start.deep_clone();
        let ids = self.vocabulary.tok_trie().greedy_tokenize(text.as_bytes());
        if self.vocabulary.tok_trie().decode_raw(&ids) != text.as_bytes() {
            return Ok(false);
        }
        let taken = matcher.try_consume_tokens(&ids).map_err(wrong)?;
        if taken < ids.len() {
            return Ok(false);
        }
        Ok(matcher.is_stopped() || matcher.is_accepting().map_err(wrong)?)
    }
}

/// The text that names a grammar in the cache.
fn canonical_text(grammar: &Grammar) -> String {
    match grammar {
        Grammar::JsonSchema(schema) => schema.to_string(),
        Grammar::JsonObject => String::new(),
        Grammar::Regex(text) | Grammar::Lark(text) | Grammar::Gbnf(text) => text.clone(),
    }
}

/// The grammar as llguidance takes it, checked.
fn source(grammar: &Grammar, limits: &GrammarLimits) -> Result<TopLevelGrammar, GrammarError> {
    let kind = grammar.kind();
    match grammar {
        Grammar::JsonSchema(value) => {
            let schema = schema::prepared(value, limits)?;
            Ok(TopLevelGrammar::from_json_schema(schema))
        }
        Grammar::JsonObject => Ok(TopLevelGrammar::from_json_schema(schema::any_object())),
        Grammar::Regex(pattern) => {
            check_text(kind, pattern, limits)?;
            Ok(TopLevelGrammar::from_regex(unanchored(pattern)))
        }
        Grammar::Lark(text) => {
            check_text(kind, text, limits)?;
            Ok(TopLevelGrammar::from_lark(text.clone()))
        }
        Grammar::Gbnf(text) => {
            check_text(kind, text, limits)?;
            Ok(TopLevelGrammar::from_lark(gbnf::lark_from_gbnf(text)?))
        }
    }
}

/// The whole text must match anyway: an anchor at either end says nothing new.
fn unanchored(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    match pattern.strip_suffix('$') {
        // An even number of backslashes stand for themselves.
        Some(rest) if rest.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 0 => rest,
        _ => pattern,
    }
}

/// Counts what would cost too much before anything is made of it: brackets inside of each other, wherever they
/// stand, and numbers that repeat.
fn check_text(kind: &'static str, text: &str, limits: &GrammarLimits) -> Result<(), GrammarError> {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut escaped = false;
    for byte in text.bytes() {
        match byte {
            _ if escaped => {}
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
        deepest = deepest.max(depth);
    }
    bounded(kind, "the depth of its brackets", deepest, limits.depth_max)?;
    let names = |line: &&str| {
        line.trim_start_matches('_')
            .starts_with(|c: char| c.is_ascii_uppercase())
    };
    let terminals = text.lines().filter(names).count();
    bounded(
        kind,
        "the number of its terminals",
        terminals,
        TERMINALS_MAX,
    )?;
    for count in repetitions(text) {
        bounded(kind, "a repetition", count, limits.repeat_max)?;
    }
    Ok(())
}

/// The numbers in `{2,5}` and behind `~`, wherever they stand.
fn repetitions(text: &str) -> impl Iterator<Item = usize> {
    let number = |digits: &str| match digits {
        "" => 0,
        digits => digits.parse().unwrap_or(usize::MAX),
    };
    let braces = text
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'));
    let braces = braces.map(|(inside, _)| inside);
    let tildes = text.split('~').skip(1).map(|rest| {
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        &rest[..end.unwrap_or(rest.len())]
    });
    let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = braces.chain(tildes);
    let parts = parts.flat_map(|part| part.split([',', '.']).map(str::trim));
    parts.filter(is_number).map(number)
}

pub(super) fn bounded(
    kind: &'static str,
    what: &'static str,
    found: usize,
    most: usize,
) -> Result<(), GrammarError> {
    if found > most {
        return Err(GrammarError::TooLarge {
            kind,
            what,
            found,
            most,
        });
    }
    Ok(())
}

fn factory(vocabulary: &TokEnv, limits: &GrammarLimits) -> Result<ParserFactory, GrammarError> {
    let slices = llguidance::earley::SlicedBiasComputer::general_slices();
    let factory = ParserFactory::new(vocabulary, InferenceCapabilities::default(), &slices);
    let mut factory =
        factory.map_err(|error| GrammarError::Vocabulary(first_line(&error.to_string())))?;
    factory.quiet();
    *factory.limits_mut() = ParserLimits {
        max_lexer_states: limits.states_max,
        verbose_errors: false,
        ..ParserLimits::default()
    };
    Ok(factory)
}

/// The start of a text.
struct Start {
    matcher: Matcher,
    lexer_bytes: usize,
    /// The text may be empty, and nothing else.
    empty_only: bool,
}

/// The start of a text. That there is a text at all is seen by a first mask.
fn started(kind: &'static str, parser: TokenParser) -> Result<Start, GrammarError> {
    let lexer_bytes = parser.parser.lexer_stats().num_bytes;
    let matcher = Matcher::new(Ok(parser));
    let mut trial = matcher.deep_clone();
    let accepting = trial
        .is_accepting()
        .map_err(|error| refusal(kind, &error))?;
    match trial.compute_mask() {
        Err(error) if !accepting => Err(refusal(kind, &error)),
        mask => Ok(Start {
            matcher,
            lexer_bytes,
            empty_only: mask.is_err(),
        }),
    }
}

/// An error of llguidance in our words: its first lines, without the state of the parser.
pub(super) fn refusal(kind: &'static str, error: &impl Display) -> GrammarError {
    let text = format!("{error:#}");
    let mut reason = first_line(&text);
    // The parser of expressions draws a picture first, and says what is wrong below.
    if let Some(said) = text.lines().find_map(|line| line.strip_prefix("error: ")) {
        reason = format!(
            "{} {said}",
            reason.trim_end_matches("regex parse error:").trim_end()
        );
    }
    if reason == "noExtensionBias" {
        let reason = "no text comes to an end, or none may begin".to_owned();
        return GrammarError::Unsatisfiable { kind, reason };
    }
    if reason.contains("nsatisfiable") || reason.contains("schema is false") {
        return GrammarError::Unsatisfiable { kind, reason };
    }
    GrammarError::Refused { kind, reason }
}

/// Lower-case, short, and without what the library says to its own people.
fn first_line(text: &str) -> String {
    const BYTES_MAX: usize = 300;
    let line = text.split(['\n', '<']).next().unwrap_or_default().trim();
    let mut end = line.len().min(BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let line = line[..end].trim_end_matches('.');
    let mut letters = line.chars();
    let second_is_capital = letters.clone().nth(1).is_some_and(char::is_uppercase);
    match letters.next() {
        Some(first) if !second_is_capital => first.to_lowercase().chain(letters).collect(),
        _ => line.to_owned(),
    }
}

fn no_space(tokenizer: &dyn Tokenizer) -> TokenMask {
    let mut mask = TokenMask::all(tokenizer.ids_max());
    mask.retain(|id| {
        !tokenizer
            .bytes_from_id(id)
            .unwrap_or_default()
            .starts_with(b" ")
    });
    mask
}
