//! Several files at once.
//!
//! In: files, and what to do with one of them. Out: events, all told in the caller's thread, in the order they came.
//! The first error, or a break, stops every file at its next bytes, and ends requests that wait.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::fetch::Hearer;
use crate::{HubError, RemoteFile};

/// How often a caller is asked whether to go on, at least.
const TICK: Duration = Duration::from_millis(100);
/// How often a file tells how far it is, at most.
const TELL: Duration = Duration::from_millis(30);

/// How far it is.
#[derive(Debug)]
pub enum Event<'a> {
    /// Nothing happened; asked so that the caller can stop.
    Tick,
    /// Another process fetches the model; it is waited for.
    Waiting,
    /// What an earlier run has of a large file is read and hashed.
    Checking {
        /// The file.
        file: &'a RemoteFile,
    },
    /// A file is begun, or gone on with.
    File {
        /// Which, among those of this piece of work.
        index: usize,
        /// The file.
        file: &'a RemoteFile,
        /// Bytes of it that are there already.
        have: u64,
    },
    /// So many bytes of a file are there now. It may be fewer than before: then it was begun anew.
    Bytes {
        /// Which.
        index: usize,
        /// The file.
        file: &'a RemoteFile,
        /// Bytes of it.
        have: u64,
    },
    /// A file broke off, or came wrong, and is asked for again.
    Again {
        /// The file.
        file: &'a RemoteFile,
        /// What happened.
        reason: &'a str,
        /// After this pause.
        pause: Duration,
    },
    /// A file is whole, checked and on the disk.
    Done {
        /// Which.
        index: usize,
        /// The file.
        file: &'a RemoteFile,
    },
}

/// Where the work says how far it is; a break stops it.
pub type Watch<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'a;

/// What a file's thread tells the caller's.
enum Message {
    Checking {
        index: usize,
    },
    File {
        index: usize,
        have: u64,
    },
    Bytes {
        index: usize,
        have: u64,
    },
    Again {
        index: usize,
        reason: String,
        pause: Duration,
    },
    Done {
        index: usize,
        result: Result<(), HubError>,
    },
}

/// A file's own line to the caller.
pub(crate) struct Line<'a> {
    index: usize,
    stop: &'a AtomicBool,
    sender: Sender<Message>,
    told: Instant,
}

impl Line<'_> {
    /// [`HubError::Stopped`] if the work is to end.
    pub(crate) fn go_on(&self) -> Result<(), HubError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(HubError::Stopped);
        }
        Ok(())
    }

    /// What there is of the file is looked at.
    pub(crate) fn checking(&self) {
        self.send(Message::Checking { index: self.index });
    }

    /// The file is begun with so many bytes.
    pub(crate) fn begin(&self, have: u64) {
        self.send(Message::File {
            index: self.index,
            have,
        });
    }

    fn send(&self, message: Message) {
        // The caller's end is there as long as any thread is.
        let _ = self.sender.send(message);
    }
}

impl Hearer for Line<'_> {
    fn have(&mut self, bytes: u64) -> Result<(), HubError> {
        if bytes == 0 || self.told.elapsed() >= TELL {
            self.told = Instant::now();
            self.send(Message::Bytes {
                index: self.index,
                have: bytes,
            });
        }
        self.go_on()
    }

    fn again(&mut self, error: &HubError, pause: Duration) -> Result<(), HubError> {
        let reason = error.to_string();
        self.send(Message::Again {
            index: self.index,
            reason,
            pause,
        });
        let until = Instant::now() + pause;
        while Instant::now() < until {
            self.go_on()?;
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
        self.go_on()
    }
}

/// Does `one` for each of `files`, up to `at_once` at a time; `end` ends requests that wait for a server.
pub(crate) fn each(
    files: &[&RemoteFile],
    at_once: usize,
    one: &(dyn Fn(&RemoteFile, &mut Line<'_>) -> Result<(), HubError> + Sync),
    end: &dyn Fn(),
    watch: &mut Watch<'_>,
) -> Result<(), HubError> {
    let (sender, receiver) = mpsc::channel();
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, files.len().max(1)) {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(index) else { break };
                    let told = Instant::now();
                    let mut line = Line {
                        index,
                        stop,
                        sender: sender.clone(),
                        told,
                    };
                    let result = one(file, &mut line);
                    line.send(Message::Done { index, result });
                }
            });
        }
        drop(sender);
        let mut first = None;
        loop {
            let flow = match receiver.recv_timeout(TICK) {
                Ok(Message::Done {
                    result: Err(error), ..
                }) => {
                    // What stopped the others comes first; that they were stopped says nothing.
                    if first.is_none() {
                        first = Some(error);
                    }
                    ControlFlow::Break(())
                }
                Ok(message) => watch(event(files, &message)),
                Err(RecvTimeoutError::Timeout) => watch(Event::Tick),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if flow.is_break() && !stop.swap(true, Ordering::Relaxed) {
                first.get_or_insert(HubError::Stopped);
                end();
            }
        }
        first.map_or(Ok(()), Err)
    })
}

fn event<'a>(files: &[&'a RemoteFile], message: &'a Message) -> Event<'a> {
    match message {
        Message::Checking { index } => Event::Checking {
            file: files[*index],
        },
        Message::File { index, have } => Event::File {
            index: *index,
            file: files[*index],
            have: *have,
        },
        Message::Bytes { index, have } => Event::Bytes {
            index: *index,
            file: files[*index],
            have: *have,
        },
        Message::Again {
            index,
            reason,
            pause,
        } => Event::Again {
            file: files[*index],
            reason,
            pause: *pause,
        },
        Message::Done { index, .. } => Event::Done {
            index: *index,
            file: files[*index],
        },
    }
}
