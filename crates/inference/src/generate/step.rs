//! One step of the loop: one batch.

use super::generator::Generator;
use super::job::Job;
use super::running::Running;
use super::schedule::{Room, share};
use super::{Event, StopReason, prefix};
use crate::backend::{Batch, Limits, RunError};

/// Tokens that are worth a wait for another request that reads them.
const WORTH_WAITING: usize = 32;

impl Generator {
    /// Runs one batch and returns what happened since the last step, in order.
    ///
    /// A failure ends the request that it concerns, with an event of its own; where the runner's error does
    /// not tell which, each request of the batch is tried alone. When the key/value memory is full, kept
    /// beginnings go first, then the youngest request waits and is read again later.
    pub fn step(&mut self) -> Vec<Event> {
        self.step += 1;
        self.fill_places();
        self.share_batch();
        self.run_batch();
        self.settle();
        std::mem::take(&mut self.shared.events)
    }

    /// Gives waiting requests a sequence, in the order of their coming. One whose beginning another is reading right now
    /// lets those behind it go first: what is read twice costs both more than the wait.
    fn fill_places(&mut self) {
        let mut at = 0;
        while at < self.queue.len() && (self.running.is_empty() || !self.memory_full) {
            if self.is_being_read(&self.queue[at]) {
                at += 1;
                continue;
            }
            let Some(mut job) = self.queue.remove(at) else {
                return;
            };
            let runner = &mut *self.runner;
            let place = if job.wants_prompt_rows() {
                prefix::open(runner, self.running.len())
            } else {
                self.prefixes.place(runner, &job.ids, &self.running)
            };
            match place {
                Ok(Some(place)) => {
                    job.start(place.tokens, &mut self.shared.events);
                    self.running.push(Running::new(job, place));
                }
                Ok(None) => {
                    self.queue.insert(at, job);
                    return;
                }
                Err(error) => {
                    job.finish(StopReason::Failed(error.into()), &mut self.shared.events);
                }
            }
        }
    }

    /// Whether a running request is about to read much of what this one begins with.
    fn is_being_read(&self, job: &Job) -> bool {
        let Limits {
            sequences_max,
            rewinds,
            ..
        } = self.runner.limits();
        if job.wants_prompt_rows() || self.running.len() >= sequences_max {
            return false;
        }
        let reading = self.running.iter().filter(|it| it.is_reading());
        let every = self.options.snapshot_every;
        let soon = reading
            .map(|it| it.will_share(&job.ids, rewinds, every))
            .max();
        let soon = soon.filter(|&soon| soon >= WORTH_WAITING);
        soon.is_some_and(|soon| {
            soon >= WORTH_WAITING + self.prefixes.reach(&job.ids, &self.running, rewinds)
        })
    }

    /// Decides what each running request feeds.
    fn share_batch(&mut self) {
        let limits = self.runner.limits();
        self.running
            .sort_by_key(|running| (running.served, running.job.id));
        let wishes: Vec<_> = self
            .running
            .iter()
            .map(|running| running.wish(limits.rewinds, self.options.snapshot_every))
            .collect();
        let mut room = Room {
            tokens: limits.batch_tokens_max.max(1),
            rows: limits.output_rows_max.max(1),
        };
        let granted = share(&wishes, &mut room);
        for ((running, wish), tokens) in self.running.iter_mut().zip(&wishes).zip(granted) {
            running.grant(wish, tokens);
            if tokens > 0 {
                running.served = self.step;
            }
        }
        let most = self.options.draft_tokens_max;
        for running in &mut self.running {
            let runner = &mut *self.runner;
            running.draft(runner, &self.shared, most, &mut room, &mut self.proposals);
        }
    }

    fn run_batch(&mut self) {
        while let Err(error) = self.run(|_| true) {
            // A guess must never cost a request its end.
            let mut dropped = false;
            for running in &mut self.running {
                dropped |= running.drop_proposals();
            }
            if dropped {
                continue;
            }
            let full = matches!(error, RunError::CacheFull(_));
            if full && self.prefixes.close_oldest(&mut *self.runner) {
                continue;
            }
            if full && self.running.len() > 1 {
                self.send_back_youngest();
                continue;
            }
            self.run_each_alone(error);
            break;
        }
    }

    /// Runs the pieces of the requests for which `chosen` holds. On an error nothing has changed.
    fn run(&mut self, chosen: impl Fn(&Running) -> bool) -> Result<(), RunError> {
        let members = self.running.iter_mut().filter(|running| chosen(running));
        members.for_each(Running::prepare);
        let members = self.running.iter().filter(|running| chosen(running));
        let entries: Vec<_> = members.filter_map(Running::entry).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let outputs = self.runner.run(&Batch { entries: &entries })?;
        let mut rows = outputs.rows;
        for running in self.running.iter_mut().filter(|running| chosen(running)) {
            let (own, others) = rows.split_at(running.rows() * outputs.width);
            rows = others;
            running.take_rows(own, &*self.tokenizer, &mut self.shared);
        }
        Ok(())
    }

    /// The batch failed with `error`: finds out whose fault it is, and ends those requests.
    fn run_each_alone(&mut self, error: RunError) {
        let members: Vec<_> = self
            .running
            .iter()
            .filter(|running| running.piece.is_some())
            .collect();
        let ids: Vec<_> = members.iter().map(|running| running.job.id).collect();
        let alone = ids.len() == 1;
        for id in ids {
            let own = if alone {
                Err(error.clone())
            } else {
                self.run(|running| running.job.id == id)
            };
            let running = self.running.iter_mut().find(|running| running.job.id == id);
            if let (Err(error), Some(running)) = (own, running) {
                running.withdraw();
                running.job.fail(error);
            }
        }
    }

    /// Frees the memory of the youngest request. It waits at the head of the queue until another one has
    /// ended, and is then fed again from its start.
    fn send_back_youngest(&mut self) {
        let youngest = (0..self.running.len()).max_by_key(|&at| self.running[at].job.id);
        let mut running = self.running.swap_remove(youngest.unwrap_or(0));
        running.withdraw();
        self.runner.close(running.sequence);
        self.queue.push_front(running.job);
        self.memory_full = true;
    }

    /// After the batch: takes wrong proposals back, takes snapshots, and lets go of what ended.
    fn settle(&mut self) {
        let mut more = false;
        for running in &mut self.running {
            let settled = running.settle(&mut *self.runner, self.options.snapshot_every);
            more |= matches!(settled, Ok(true));
            if let Err(error) = settled {
                // What the sequence holds is not known: it is closed, not parked.
                running.fed = 0;
                if running.job.ended.is_none() {
                    running.job.fail(error);
                }
            }
        }
        if more {
            self.prefixes
                .bound_snapshots(&mut self.running, &mut *self.runner);
        }
        let mut at = 0;
        while at < self.running.len() {
            match self.running[at].job.ended.take() {
                Some(reason) => {
                    let running = self.running.remove(at);
                    self.retire(running, reason);
                }
                None => at += 1,
            }
        }
    }

    /// Ends a running request; what it has read stays for a prompt that starts alike.
    pub(super) fn retire(&mut self, mut running: Running, reason: StopReason) {
        self.memory_full = false;
        let runner = &mut *self.runner;
        let failed = matches!(reason, StopReason::Failed(_));
        running.job.finish(reason, &mut self.shared.events);
        if running.fed == 0 || failed {
            runner.close(running.sequence);
        } else {
            self.prefixes.park(running, runner);
            self.prefixes.bound_snapshots(&mut self.running, runner);
        }
    }
}
