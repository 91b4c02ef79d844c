//! The loop of the thread: take what came, let go of who left, run a step, tell what happened.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use lattice_inference::generate::{Event, Generator, RequestId};

use super::{Command, Gauges, News, Outbox, Submit};

/// A request under way.
struct Active {
    outbox: Outbox,
    deadline: Instant,
}

pub(super) struct Loop {
    generator: Generator,
    queue: Receiver<Command>,
    active: BTreeMap<RequestId, Active>,
    gauges: Arc<Gauges>,
}

impl Loop {
    pub(super) fn new(generator: Generator, queue: Receiver<Command>, gauges: Arc<Gauges>) -> Loop {
        Loop {
            generator,
            queue,
            active: BTreeMap::new(),
            gauges,
        }
    }

    /// Runs until there is nothing to do and nobody who could bring something, or until it is told to end.
    pub(super) fn run(mut self) {
        loop {
            if self.generator.idle() {
                self.show();
                let Ok(command) = self.queue.recv() else {
                    return;
                };
                if self.obey(command).is_break() {
                    return;
                }
            }
            while let Ok(command) = self.queue.try_recv() {
                if self.obey(command).is_break() {
                    return;
                }
            }
            self.let_go();
            self.step();
            self.show();
        }
    }

    fn obey(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Submit(submit) => self.take(*submit),
            Command::Save(answer) => {
                let _ = answer.send(self.generator.save_next());
            }
            Command::End => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn take(&mut self, submit: Submit) {
        let Submit {
            request,
            outbox,
            deadline,
        } = submit;
        if outbox.is_deaf() {
            return;
        }
        match self.generator.enqueue(request) {
            Ok(id) => {
                outbox.tell(News::Queued);
                self.active.insert(id, Active { outbox, deadline });
            }
            Err(error) => outbox.tell(News::Refused(error)),
        }
    }

    /// Cancels what nobody waits for any more, and what took too long.
    fn let_go(&mut self) {
        let now = Instant::now();
        let over = |active: &Active| active.outbox.is_deaf() || active.deadline <= now;
        let over: Vec<_> = self
            .active
            .iter()
            .filter(|(_, active)| over(active))
            .collect();
        let over: Vec<_> = over.into_iter().map(|(id, _)| *id).collect();
        for id in over {
            self.generator.cancel(id);
            let Some(active) = self.active.remove(&id) else {
                continue;
            };
            if active.outbox.is_deaf() {
                self.gauges.abandoned.fetch_add(1, Ordering::Relaxed);
            } else {
                active.outbox.tell(News::TimeUp);
            }
        }
    }

    fn step(&mut self) {
        let step = AssertUnwindSafe(|| self.generator.step());
        let events = catch_unwind(step).unwrap_or_else(|_| {
            // What the running sequences hold is not known: their requests end, those that wait go on.
            self.generator.give_up_running();
            Vec::new()
        });
        self.gauges.steps.fetch_add(1, Ordering::Relaxed);
        for event in events {
            self.tell(event);
        }
    }

    fn tell(&mut self, event: Event) {
        let id = event.request();
        let done = matches!(event, Event::Done { .. });
        // Cancelled ones are not heard any more.
        if let Some(active) = self.active.get(&id) {
            active.outbox.tell(News::Event(Box::new(event)));
        }
        if done {
            self.active.remove(&id);
        }
    }

    fn show(&self) {
        let (generator, gauges) = (&self.generator, &self.gauges);
        gauges.running.store(generator.running(), Ordering::Relaxed);
        gauges.waiting.store(generator.waiting(), Ordering::Relaxed);
        let cache = generator.cache();
        gauges.prefixes.store(cache.prefixes, Ordering::Relaxed);
        let bytes = cache.snapshot_bytes;
        gauges.snapshot_bytes.store(bytes, Ordering::Relaxed);
    }
}
