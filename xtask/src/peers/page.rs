//! The page and the raw figures.
//!
//! In: a session's runs. Out: Markdown for people, CSV for programs; no path of this machine in either.

use std::fs;

use super::arguments::{Pair, name_of};
use super::machine::Machine;
use super::sample::{Answer, Engine, OTHERS_MAX, Sample, median, of, range, ratios};
use super::shape::Shape;

/// A session, as far as it went.
pub(super) struct Page {
    pub(super) title: String,
    pub(super) date: String,
    pub(super) machine: Machine,
    pub(super) commit: String,
    pub(super) lattice_version: String,
    pub(super) peer_version: String,
    pub(super) commands: [String; 2],
    pub(super) threads: usize,
    pub(super) pairs: Vec<Pair>,
    pub(super) samples: Vec<Sample>,
}

const CSV_HEAD: &str = "date,model,file,shape,round,engine,tok_s,load_s,memory_gib,gbps,read_gbps_before,\
                        read_gbps_after,others_share,stolen_share,error\n";
const TABLE_HEAD: &str = "\
| model | peer's file | work | Lattice, tok/s | best | peer, tok/s | best | ratio | least-most | memory, GB/s | Lattice reads | others, at most |
|---|---|---|---|---|---|---|---|---|---|---|---|
";

impl Page {
    pub(super) fn markdown(&self) -> String {
        let parts = [self.head(), self.table(), self.models(), self.failures()];
        parts.concat()
    }

    pub(super) fn csv(&self) -> String {
        let rows = self.samples.iter().map(|sample| self.csv_row(sample));
        std::iter::once(CSV_HEAD.to_owned()).chain(rows).collect()
    }

    fn head(&self) -> String {
        let Machine {
            processor,
            features,
            cores,
            memory_gib,
        } = &self.machine;
        let rounds = self.samples.iter().map(|s| s.round + 1).max().unwrap_or(0);
        let [ours, theirs] = &self.commands;
        format!(
            "# {}: Lattice beside another engine\n\n{}. Raw figures: [{title}.csv]({title}.csv).\n\n\
             - **Machine**: {processor} ({}), {cores} cores, {memory_gib} GiB; {} threads.\n\
             - **Lattice**: {}, working tree {}; `{ours}`.\n\
             - **Peer**: {}; `{theirs}`.\n\
             - **Rounds**: {rounds}. In each, both engines run each shape once, one right after the other; who begins\n  \
               alternates. Medians; ratio is the median of the rounds' ratios. Beside each run the memory's read speed\n  \
               was measured before and after (`lattice bench --only`); others is other processes' share of all cores.\n  \
               Rows with a run beside more than {:.0} % are marked **bold** with the number of such runs.\n\n",
            self.title,
            self.date,
            features.join(" "),
            self.threads,
            self.lattice_version,
            self.commit,
            or_unknown(&self.peer_version),
            100.0 * OTHERS_MAX,
            title = self.title,
        )
    }

    fn table(&self) -> String {
        let rows = self.rows().map(|(index, shape)| self.row(index, shape));
        std::iter::once(TABLE_HEAD.to_owned()).chain(rows).collect()
    }

    /// Pairs and shapes that were run, in the order they first were.
    fn rows(&self) -> impl Iterator<Item = (usize, Shape)> {
        let mut seen = Vec::new();
        for sample in &self.samples {
            let row = (sample.pair, sample.shape);
            if !seen.contains(&row) {
                seen.push(row);
            }
        }
        seen.into_iter()
    }

    fn row(&self, index: usize, shape: Shape) -> String {
        let ours = of(&self.samples, index, shape, Engine::Lattice);
        let theirs = of(&self.samples, index, shape, Engine::Peer);
        let both = [ours.clone(), theirs.clone()].concat();
        let ratios = ratios(&ours, &theirs);
        let spread = range(&ratios).map(|(least, most)| format!("{least:.2}-{most:.2}"));
        let reads: Vec<f64> = both.iter().map(|s| s.read_gbps()).collect();
        let cells = [
            self.pairs[index].name.clone(),
            name_of(&self.pairs[index].file),
            shape.name(),
            cell(median(&speeds(&ours)), 1),
            cell(range(&speeds(&ours)).map(|(_, most)| most), 1),
            cell(median(&speeds(&theirs)), 1),
            cell(range(&speeds(&theirs)).map(|(_, most)| most), 1),
            cell(median(&ratios), 2),
            spread.unwrap_or_else(|| "-".to_owned()),
            range(&reads).map_or("-".to_owned(), |(least, most)| {
                format!("{least:.0}-{most:.0}")
            }),
            share_read(&ours),
            others(&both),
        ];
        format!("| {} |\n", cells.join(" | "))
    }

    /// What each model weighs.
    fn models(&self) -> String {
        let head = "\n| model | bytes per token | peer's file | bytes | load, s | peer | memory, GiB | peer |\n\
                    |---|---|---|---|---|---|---|---|\n";
        let rows: String = (0..self.pairs.len()).map(|i| self.model_row(i)).collect();
        let note = "Load is without the tokenizer in Lattice; memory is the most in any run, mapped files included.";
        format!("{head}{rows}\n{note}\n")
    }

    fn model_row(&self, index: usize) -> String {
        let pair = &self.pairs[index];
        let ours = self.answers(index, Engine::Lattice);
        let theirs = self.answers(index, Engine::Peer);
        let weights = ours.iter().find_map(|answer| answer.weight_bytes);
        let file = fs::metadata(&pair.file).map(|metadata| metadata.len()).ok();
        let count = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |n| n.to_string());
        let cells = [
            pair.name.clone(),
            count(weights),
            name_of(&pair.file),
            count(file),
            load(&ours),
            load(&theirs),
            memory(&ours),
            memory(&theirs),
        ];
        format!("| {} |\n", cells.join(" | "))
    }

    fn answers(&self, pair: usize, engine: Engine) -> Vec<&Answer> {
        let wanted = |s: &&Sample| s.pair == pair && s.engine == engine;
        let samples = self.samples.iter().filter(wanted);
        samples.filter_map(|s| s.answer.as_ref().ok()).collect()
    }

    fn failures(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for sample in &self.samples {
            if let Err(reason) = &sample.answer {
                let name = &self.pairs[sample.pair].name;
                let (shape, engine) = (sample.shape.name(), sample.engine.name());
                let line = format!("- {name}, {shape}, {engine}: no figure: {reason}\n");
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
        if lines.is_empty() {
            return String::new();
        }
        format!("\n{}", lines.concat())
    }

    fn csv_row(&self, sample: &Sample) -> String {
        let pair = &self.pairs[sample.pair];
        let answer = sample.answer.as_ref().ok();
        let error = sample.answer.as_ref().err();
        let figure = |value: Option<f64>| value.map_or(String::new(), |x| format!("{x:.4}"));
        let cells = [
            self.date.clone(),
            quoted(&pair.name),
            quoted(&name_of(&pair.file)),
            sample.shape.to_string(),
            (sample.round + 1).to_string(),
            sample.engine.name().to_owned(),
            figure(sample.tok_s()),
            figure(answer.and_then(|a| a.load_s)),
            figure(answer.and_then(|a| a.memory_gib)),
            figure(answer.and_then(|a| a.gbps)),
            figure(Some(sample.read_gbps[0])),
            figure(Some(sample.read_gbps[1])),
            figure(Some(sample.shares.others)),
            figure(Some(sample.shares.stolen)),
            error.map_or(String::new(), |reason| quoted(reason)),
        ];
        format!("{}\n", cells.join(","))
    }
}

fn speeds(samples: &[&Sample]) -> Vec<f64> {
    samples.iter().filter_map(|sample| sample.tok_s()).collect()
}

/// Seconds, the median.
fn load(answers: &[&Answer]) -> String {
    let seconds: Vec<f64> = answers.iter().filter_map(|a| a.load_s).collect();
    cell(median(&seconds), 2)
}

/// GiB, the most.
fn memory(answers: &[&Answer]) -> String {
    let gib: Vec<f64> = answers.iter().filter_map(|a| a.memory_gib).collect();
    cell(range(&gib).map(|(_, most)| most), 2)
}

/// Of the memory's speed beside each run, what decoding read: the median.
fn share_read(ours: &[&Sample]) -> String {
    let share = |sample: &&Sample| {
        let gbps = sample.answer.as_ref().ok()?.gbps?;
        Some(100.0 * gbps / sample.read_gbps())
    };
    let shares: Vec<f64> = ours.iter().filter_map(share).collect();
    median(&shares).map_or("-".to_owned(), |share| format!("{share:.0} %"))
}

/// The largest share of others, and how many runs stood beside too much of it.
fn others(samples: &[&Sample]) -> String {
    let shares: Vec<f64> = samples.iter().map(|sample| sample.shares.others).collect();
    let most = 100.0 * range(&shares).map_or(0.0, |(_, most)| most);
    let beside = shares.iter().filter(|&&share| share > OTHERS_MAX).count();
    if beside == 0 {
        format!("{most:.1} %")
    } else {
        format!("**{most:.1} %, {beside} of {} runs**", shares.len())
    }
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |x| format!("{x:.digits$}"))
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// A CSV cell that may hold anything.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::Shares;
    use super::super::sample::tests::sample;
    use super::*;

    fn page() -> Page {
        let mut loud = sample(1, Engine::Peer, Some(40.0));
        loud.shares = Shares {
            others: 0.2,
            stolen: 0.0,
        };
        Page {
            title: "2026-11-x".to_owned(),
            date: "2026-11-25".to_owned(),
            machine: Machine::default(),
            commit: "abc".to_owned(),
            lattice_version: "lattice 0".to_owned(),
            peer_version: String::new(),
            commands: ["a".to_owned(), "b".to_owned()],
            threads: 2,
            pairs: vec![Pair {
                name: "m".to_owned(),
                model: vec!["d/m".to_owned()],
                file: "no-such-folder/m.gguf".into(),
            }],
            samples: vec![
                sample(0, Engine::Lattice, Some(30.0)),
                sample(0, Engine::Peer, Some(20.0)),
                loud,
                sample(1, Engine::Lattice, Some(20.0)),
                sample(2, Engine::Lattice, None),
            ],
        }
    }

    #[test]
    fn a_row_has_medians_bests_the_rounds_ratio_and_a_mark() {
        let table = page().table();
        let row = table.lines().nth(2).unwrap();
        let expected = "| m | m.gguf | prompt of 512 | 25.0 | 30.0 | 30.0 | 40.0 | 1.00 | 0.50-1.50 | 42-42 | - | \
                        **20.0 %, 1 of 5 runs** |";
        assert_eq!(row, expected);
        let columns = |line: &str| line.matches('|').count();
        let lines: Vec<usize> = table.lines().map(columns).collect();
        assert!(lines.iter().all(|&n| n == lines[0]), "{lines:?}");
    }

    #[test]
    fn every_run_is_a_row_of_the_raw_figures_and_failures_say_why() {
        let csv = page().csv();
        assert_eq!(csv.lines().count(), 6);
        let commas = |line: &str| {
            line.split('"')
                .step_by(2)
                .map(|s| s.matches(',').count())
                .sum()
        };
        let counts: Vec<usize> = csv.lines().map(commas).collect();
        assert!(counts.iter().all(|&n| n == counts[0]), "{counts:?}");
        assert!(csv.contains("prompt:512,3,lattice,,"), "{csv}");
        assert!(csv.contains("\"out of, memory\""), "{csv}");
        let text = page().markdown();
        assert!(text.contains("- m, prompt of 512, lattice: no figure: out of, memory"));
        assert!(!text.contains("no-such-folder"), "{text}");
    }

    #[test]
    fn what_decoding_reads_is_a_share_of_the_memory_beside_it() {
        let mut run = sample(0, Engine::Lattice, Some(1.0));
        run.answer.as_mut().unwrap().gbps = Some(21.0);
        assert_eq!(share_read(&[&run]), "50 %");
        assert_eq!(quoted("a\"b,c"), "\"a\"\"b,c\"");
    }
}
