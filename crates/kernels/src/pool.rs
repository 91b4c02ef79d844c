//! A fork-join pool: one closure, many numbered tasks, every thread begins with a run of its own.
//!
//! In: a closure and a count. Out: every task has run once when [`Pool::run`] returns.
//! It does not know: what the tasks do.
//!
//! Layout: one word holds the state of the current region, `epoch << 16 | inside << 1 | open`. The
//! caller writes the job while the word is closed and nobody is inside, then opens it under a new
//! epoch. A worker enters by a compare-and-swap that counts it in, so that the job cannot change
//! under it; workers that come late find the region closed and miss nothing. The caller works too,
//! closes the region when the numbers run out, and waits only for those inside.
//! The numbers are cut into one contiguous share per thread, each with a counter. A thread takes from
//! its own share in order, then from the others' in turn: neighbouring tasks read neighbouring
//! memory, which a thread's prefetchers follow, and every region gives a thread the same part of a
//! weight.
//! Contract: `run` from inside a task, or from a second thread while a region is open, does its
//! tasks serially on the calling thread. A panic in a task ends the region and is raised again on
//! the caller. Waiting workers spin for some tens of microseconds, then sleep.
//! Measured: an empty region on two threads takes 0.1 to 0.2 us while the worker spins
//! (`examples/rates.rs`, AMD EPYC, Zen 5). Decode over 1.5 GB of mapped bf16 weights on two threads,
//! interleaved runs: 51.9 GB/s where one counter for all gave 42.0 (a plain read: 81), the same
//! where the memory was slow (35.7 and 34.4 of 45).

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Looks at the state word before a worker sleeps: about 30 to 60 µs with the usual pause.
const SPINS: u32 = 2_000;

const OPEN: u64 = 1;
const ONE_INSIDE: u64 = 2;
const INSIDE: u64 = 0xfffe;
const EPOCH: u64 = 1 << 16;
/// Workers the `inside` field can count.
const WORKERS_MAX: usize = 1 << 14;

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// The threads of one [`crate::Cpu`].
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    state: AtomicU64,
    job: UnsafeCell<Job>,
    /// One per thread: the next task number of its share of the open region.
    next: Box<[Next]>,
    /// A region is under way.
    busy: AtomicBool,
    quit: AtomicBool,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// On a line of its own: every task counts it up.
#[repr(align(128))]
struct Next(AtomicUsize);

struct Job {
    task: *const Task<'static>,
    tasks: usize,
}

// SAFETY: `job` is written only by the thread that set `busy`, while the state word is closed with
// nobody inside, and read only by threads counted inside an open region; the word's release and
// acquire order the two. The other fields are Sync by themselves. `task` points at a Sync closure.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer carries no thread affinity.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` threads, the caller of [`Pool::run`] being one of them.
    pub(crate) fn new(threads: usize) -> std::io::Result<Pool> {
        let threads = threads.clamp(1, WORKERS_MAX);
        let next = (0..threads).map(|_| Next(AtomicUsize::new(0)));
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job {
                task: &|_| (),
                tasks: 0,
            }),
            next: next.collect(),
            busy: AtomicBool::new(false),
            quit: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            panic: Mutex::new(None),
        });
        let mut pool = Pool {
            shared,
            workers: Vec::new(),
        };
        for i in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let builder = Builder::new().name(format!("lattice-{i}"));
            pool.workers.push(builder.spawn(move || shared.work(i))?);
        }
        Ok(pool)
    }

    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0)` .. `task(tasks - 1)`, each once, in no particular order.
    pub(crate) fn run(&self, tasks: usize, task: &Task<'_>) {
        let alone = tasks <= 1 || self.workers.is_empty();
        if alone || self.shared.busy.swap(true, Acquire) {
            (0..tasks).for_each(task);
            return;
        }
        self.shared.open(tasks, task);
        self.shared.take_tasks(0, task, tasks);
        self.shared.close();
        let panic = self
            .shared
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.shared.busy.store(false, Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, SeqCst);
        self.shared.wake_all();
        for worker in self.workers.drain(..) {
            // A worker catches its tasks' panics; were it dead all the same, there is nothing to join.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn open(&self, tasks: usize, task: &Task<'_>) {
        // SAFETY: only the lifetime changes. `run` does not return, nor unwind, before `close` has
        // seen every worker that could hold the pointer leave: `take_tasks` catches panics.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        // SAFETY: the word is closed and nobody is inside (`close` waited for that, and `busy`
        // keeps other callers out), so that no one reads the job now.
        unsafe { *self.job.get() = Job { task, tasks } };
        for (thread, next) in self.next.iter().enumerate() {
            next.0.store(self.share(thread, tasks).start, Relaxed);
        }
        let closed = self.state.load(Relaxed);
        self.state
            .store((closed & !(EPOCH - 1)).wrapping_add(EPOCH) | OPEN, SeqCst);
        // Either a worker going to sleep sees the new word, or we see it among the sleepers.
        if self.sleepers.load(SeqCst) > 0 {
            self.wake_all();
        }
    }

    fn close(&self) {
        self.state.fetch_and(!OPEN, AcqRel);
        let mut spins = 0;
        while self.state.load(Acquire) & INSIDE != 0 {
            spins += 1;
            if spins < SPINS {
                spin_loop()
            } else {
                std::thread::yield_now()
            }
        }
    }

    /// The tasks that `thread` begins with.
    fn share(&self, thread: usize, tasks: usize) -> Range<usize> {
        let threads = self.next.len();
        let start = |thread: usize| (thread as u128 * tasks as u128 / threads as u128) as usize;
        start(thread)..start(thread + 1)
    }

    /// Runs tasks until there are none: those of `me`'s share, then what is left of the others'.
    fn take_tasks(&self, me: usize, task: &Task<'_>, tasks: usize) {
        let threads = self.next.len();
        let result = catch_unwind(AssertUnwindSafe(|| {
            for thread in (me..threads).chain(0..me) {
                let end = self.share(thread, tasks).end;
                let next = &self.next[thread].0;
                // A look before the step: a share that is gone stays in every thread's cache.
                while next.load(Relaxed) < end {
                    let i = next.fetch_add(1, Relaxed);
                    if i < end {
                        task(i);
                    }
                }
            }
        }));
        if let Err(payload) = result {
            self.next
                .iter()
                .for_each(|next| next.0.store(tasks, Relaxed));
            let mut slot = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            slot.get_or_insert(payload);
        }
    }

    fn work(&self, me: usize) {
        let mut seen = 0;
        while let Some(state) = self.wait(seen) {
            seen = state / EPOCH;
            if self.enter(seen) {
                // SAFETY: we are counted inside the open region, so the job stays as written, and
                // what it points at lives until we have left.
                let (task, tasks) = unsafe {
                    let job = &*self.job.get();
                    (&*job.task, job.tasks)
                };
                self.take_tasks(me, task, tasks);
                self.state.fetch_sub(ONE_INSIDE, Release);
            }
        }
    }

    /// Counts the calling worker into the region of `epoch`, unless that is over.
    fn enter(&self, epoch: u64) -> bool {
        let enter = |state: u64| {
            (state & OPEN == OPEN && state / EPOCH == epoch).then_some(state + ONE_INSIDE)
        };
        self.state.fetch_update(AcqRel, Acquire, enter).is_ok()
    }

    /// The state word once it is open in another epoch than `seen`; None when the pool ends.
    fn wait(&self, seen: u64) -> Option<u64> {
        let fresh = |state: u64| state & OPEN == OPEN && state / EPOCH != seen;
        for _ in 0..SPINS {
            let state = self.state.load(Acquire);
            if fresh(state) {
                return Some(state);
            }
            if self.quit.load(Relaxed) {
                return None;
            }
            spin_loop();
        }
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, SeqCst);
        let found = loop {
            let state = self.state.load(SeqCst);
            if self.quit.load(SeqCst) {
                break None;
            }
            if fresh(state) {
                break Some(state);
            }
            guard = self
                .wake
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, SeqCst);
        found
    }

    fn wake_all(&self) {
        // Taking the lock puts us before a worker's look at the word or after it began to wait.
        drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_runs(pool: &Pool, tasks: usize) {
        let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        pool.run(tasks, &|i| {
            counts[i].fetch_add(1, Relaxed);
        });
        assert!(counts.iter().all(|c| c.load(Relaxed) == 1));
    }

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).expect("threads start");
            assert_eq!(pool.threads(), threads);
            for round in 0..400 {
                count_runs(&pool, round % 37);
            }
        }
    }

    #[test]
    fn shares_cover_the_tasks_in_order() {
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads).expect("threads start");
            for tasks in [0, 1, 2, 6, 7, 8, 1000, usize::MAX] {
                let mut end = 0;
                for thread in 0..threads {
                    let share = pool.shared.share(thread, tasks);
                    assert_eq!(share.start, end);
                    end = share.end;
                }
                assert_eq!(end, tasks);
            }
        }
    }

    #[test]
    fn a_thread_that_is_done_helps_the_others() {
        let pool = Pool::new(2).expect("threads start");
        let late = AtomicUsize::new(0);
        // The first task waits for all others: one thread must take what is left of both shares.
        pool.run(100, &|i| {
            if i > 0 {
                late.fetch_add(1, Release);
                return;
            }
            while late.load(Acquire) < 99 {
                std::thread::yield_now();
            }
        });
        assert_eq!(late.into_inner(), 99);
    }

    #[test]
    fn sleeping_workers_wake() {
        let pool = Pool::new(3).expect("threads start");
        for _ in 0..20 {
            std::thread::sleep(std::time::Duration::from_millis(2));
            count_runs(&pool, 9);
        }
    }

    #[test]
    fn a_run_inside_a_task_is_serial() {
        let pool = Pool::new(3).expect("threads start");
        let inner = AtomicUsize::new(0);
        pool.run(8, &|_| {
            let me = std::thread::current().id();
            pool.run(4, &|_| {
                assert_eq!(std::thread::current().id(), me);
                inner.fetch_add(1, Relaxed);
            });
        });
        assert_eq!(inner.load(Relaxed), 32);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3).expect("threads start");
        for bad in [0, 5, 63] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(64, &|i| assert!(i != bad, "task {i} fails"));
            }));
            let payload = caught.expect_err("the task's panic comes through");
            let text = payload
                .downcast_ref::<String>()
                .expect("a formatted message");
            assert!(text.contains("fails"), "{text}");
            count_runs(&pool, 20);
        }
    }

    #[test]
    fn callers_on_several_threads_do_not_mix() {
        let pool = Pool::new(3).expect("threads start");
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..200).for_each(|round| count_runs(&pool, round % 11)));
            }
        });
    }
}
