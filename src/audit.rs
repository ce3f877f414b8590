//! The audit: one event for each credential that is handed out, each refusal and each change, handed to the operating
//! system before the answer leaves.
//!
//! ```text
//! grpc, http, credentials ── Audit ── Queue ── Writer ─┬─ there and then, where the kernel does not wait (pipes)
//!                                                      └─ a thread (files, and whatever blocks or fails)
//! ```
//!
//! Events are JSON, one line each. When they cannot be written nothing is handed out: [`Audit::write`] says so, and
//! [`Audit::check`] says it before anything is begun. Writing is tried again until it works.

mod event;
mod line;
mod queue;
mod receipt;
mod sink;
mod sums;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

pub use self::event::{Decision, Event, Issued, Kind};
use self::event::{Stamp, Sum};
use self::receipt::Receipt;
use self::sink::Sink;
use self::sums::Refused;
use self::writer::Writer;
use crate::clock::Clock;
use crate::crypto::{AuditKey, AuditKeyError, RandomnessError, random_token};
use crate::identifiers::{ClientSecret, Environment};
use crate::regular_file;

/// The reason of answers that are withheld because their event cannot be written.
pub const AUDIT_UNAVAILABLE: &str = "AUDIT_UNAVAILABLE";

/// Longer ones are no keys.
const MAX_KEY_FILE: usize = 8 * 1024;

/// Where and how events are written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where they go.
    pub output: Output,
    /// Whether an event must be on the disk, not only with the operating system, before its answer leaves.
    pub fsync: bool,
    /// File with the key that makes credentials' names. One is derived from the client secret when it is absent.
    pub hmac_key_file: Option<PathBuf>,
    /// How long an answer waits for its event. Then it is withheld.
    pub write_timeout: Duration,
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To stdout, which the log does not use.
    Stdout,
    /// To a file that they are appended to, or a named pipe.
    File(PathBuf),
    /// Nowhere: there are none.
    Off,
}

/// Writes events. Clones share everything.
#[derive(Clone, Debug)]
pub struct Audit(Option<Arc<Inner>>);

/// Whole events, ready to be written.
#[derive(Debug)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// Puts more events behind these.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }
}

/// An event could not be written. What it tells of must not be handed out.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the audit event cannot be written")]
pub struct AuditUnavailable;

/// Why there is no audit.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The output cannot be opened.
    #[error("{} cannot be written to", shown(.output))]
    Output {
        /// The output.
        output: Output,
        /// Why.
        source: io::Error,
    },
    /// The first event was not taken.
    #[error("{} does not take the first event: see the log for why", shown(.output))]
    FirstEvent {
        /// The output.
        output: Output,
    },
    /// The key file cannot be used.
    #[error("audit.hmac_key_file {} cannot be used", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyFileProblem,
    },
    /// There is no thread for it.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// There are no random numbers for the events' ids.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
}

/// Why a file gives no key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileProblem {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(io::Error),
    /// It holds something else.
    #[error("{0}")]
    Content(AuditKeyError),
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    clock: Arc<dyn Clock>,
    key: RwLock<AuditKey>,
    ids: Arc<Ids>,
    writer: Arc<Writer>,
}

/// What the ids of one process's events are made of.
#[derive(Debug)]
struct Ids {
    start: String,
    next: AtomicU64,
    environment: Environment,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            output: Output::Stdout,
            fsync: false,
            hmac_key_file: None,
            // With the way there and back, an answer is there within a second.
            write_timeout: Duration::from_millis(750),
        }
    }
}

impl Audit {
    /// Writes nothing, and never fails.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the output and writes the first event.
    pub async fn open(
        settings: &Settings,
        environment: Environment,
        client_secret: &ClientSecret,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuditError> {
        let path = match &settings.output {
            Output::Off => return Ok(Self::off()),
            Output::Stdout => None,
            Output::File(path) => Some(path.clone()),
        };
        let key = match &settings.hmac_key_file {
            Some(path) => read_key(path)?,
            None => AuditKey::of_client(client_secret),
        };
        let mut sink = Sink::new(path, settings.fsync);
        let output = || settings.output.clone();
        sink.open(clock.elapsed()).map_err(|source| AuditError::Output { output: output(), source })?;

        let start: String = random_token()?.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        let ids = Arc::new(Ids { start, next: AtomicU64::new(0), environment });
        let writer = Arc::new(Writer::new(sink, settings.fsync, Arc::clone(&clock)));
        let (thread_writer, thread_ids, thread_clock) = (Arc::clone(&writer), Arc::clone(&ids), Arc::clone(&clock));
        let tell = move |sums: Vec<(Refused, Sum)>| thread_ids.lines_of_sums(&sums, thread_clock.now());
        let run = move || thread_writer.run(tell);
        std::thread::Builder::new().name("audit".to_owned()).spawn(run).map_err(AuditError::Thread)?;

        let inner = Inner { settings: settings.clone(), clock, key: RwLock::new(key), ids, writer };
        let audit = Self(Some(Arc::new(inner)));
        let first = || audit.lines([Event::of_server(Kind::Start)]);
        audit.write(first(), first).await.map_err(|_| AuditError::FirstEvent { output: output() })?;
        Ok(audit)
    }

    /// Whether events are written at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Fails while events cannot be written: what could not be told of is not to be begun.
    pub fn check(&self) -> Result<(), AuditUnavailable> {
        match &self.0 {
            Some(inner) if inner.writer.is_failing() => Err(AuditUnavailable),
            _ => Ok(()),
        }
    }

    /// A name for a call that came without one.
    pub fn draw_id(&self) -> String {
        let Some(inner) = &self.0 else { return String::new() };
        let mut id = Vec::with_capacity(32);
        line::id(&mut id, &inner.ids.start, inner.ids.next());
        String::from_utf8(id).unwrap_or_default()
    }

    /// What an event says of a credential that is handed out.
    pub fn issued(&self, credential: &str, expire_time: Timestamp, source: &'static str) -> Option<Issued> {
        let key = self.0.as_ref()?.key.read().unwrap_or_else(PoisonError::into_inner);
        Some(Issued { name: key.name(credential), key: key.id(), expire_time, source })
    }

    /// The events as they are written, with the time of now.
    pub fn lines<'a>(&self, events: impl IntoIterator<Item = Event<'a>>) -> Lines {
        let Some(inner) = &self.0 else { return Lines(Vec::new()) };
        let now = inner.clock.now();
        let mut lines = Vec::with_capacity(640);
        for event in events {
            event.write(inner.ids.stamp(now), None, &mut lines);
        }
        Lines(lines)
    }

    /// Returns when the operating system has the events. When that fails, what they tell of must not be handed out, and
    /// `otherwise` tells what happened instead; that is written as soon as anything can be.
    pub async fn write(&self, lines: Lines, otherwise: impl FnOnce() -> Lines) -> Result<(), AuditUnavailable> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let writer = &inner.writer;
        let receipt = Arc::new(Receipt::default());
        let entry = self.check().ok().and_then(|()| writer.put(lines.0, Some(Arc::clone(&receipt))).ok());
        if entry.is_some() {
            let outcome = if let Some(outcome) = receipt.outcome() {
                outcome
            } else {
                tokio::select! {
                    biased;
                    outcome = receipt.settled() => outcome,
                    () = inner.clock.sleep(inner.settings.write_timeout) => writer.give_up(&receipt),
                }
            };
            if outcome.is_ok() {
                return Ok(());
            }
        }
        if writer.refused(entry, otherwise().0).is_err() {
            self.count("UNAVAILABLE", AUDIT_UNAVAILABLE);
        }
        Err(AuditUnavailable)
    }

    /// Has an event written that nothing waits for.
    pub fn note(&self, event: &Event<'_>) {
        let Some(inner) = &self.0 else { return };
        if inner.writer.put(self.lines([*event]).0, None).is_err() {
            self.count(event.outcome, event.reason.unwrap_or_default());
        }
    }

    /// Has a refusal written of somebody who was not let in. Nothing waits for it, and of too many the rest is counted.
    pub fn note_at_the_door(&self, event: &Event<'_>) {
        let Some(inner) = &self.0 else { return };
        let (outcome, reason) = (event.outcome, event.reason.unwrap_or_default());
        let (now, elapsed) = (inner.clock.now(), inner.clock.elapsed());
        if self.check().is_err() {
            return self.count(outcome, reason);
        }
        let mut state = inner.writer.state();
        let was_empty = state.sums.is_empty();
        let is_told = state.sums.admit(outcome, reason, now, elapsed);
        drop(state);
        if is_told {
            self.note(event);
        } else if was_empty {
            inner.writer.counted();
        }
    }

    /// Where its key is, if that has a file of its own.
    pub fn key_file(&self) -> Option<&Path> {
        self.0.as_ref()?.settings.hmac_key_file.as_deref()
    }

    /// Names credentials by another key from now on.
    pub fn replace_key(&self, key: &AuditKey) {
        if let Some(inner) = &self.0 {
            inner.replace_key(key);
        }
    }

    /// Writes the last event, and all that waits before it.
    pub async fn close(&self) {
        let Some(inner) = &self.0 else { return };
        let sums = inner.writer.state().sums.take();
        if !sums.is_empty() {
            let _ = inner.writer.put(inner.ids.lines_of_sums(&sums, inner.clock.now()), None);
        }
        let last = || self.lines([Event::of_server(Kind::Stop)]);
        if self.write(last(), last).await.is_err() {
            tracing::error!("the last audit events are lost");
        }
    }

    fn count(&self, outcome: &str, reason: &str) {
        let Some(inner) = &self.0 else { return };
        let (now, elapsed) = (inner.clock.now(), inner.clock.elapsed());
        let mut state = inner.writer.state();
        let was_empty = state.sums.is_empty();
        state.sums.count(outcome, reason, now, elapsed);
        drop(state);
        if was_empty {
            inner.writer.counted();
        }
    }
}

impl Inner {
    fn replace_key(&self, key: &AuditKey) {
        let mut current = self.key.write().unwrap_or_else(PoisonError::into_inner);
        if current.id() != key.id() {
            tracing::info!(key = %key.id(), "the audit key is replaced");
            current.clone_from(key);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writer.close();
    }
}

impl Ids {
    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn stamp(&self, time: Timestamp) -> Stamp<'_> {
        Stamp { time, start: &self.start, number: self.next(), environment: self.environment }
    }

    fn lines_of_sums(&self, sums: &[(Refused, Sum)], now: Timestamp) -> Vec<u8> {
        let mut lines = Vec::new();
        for (Refused { outcome, reason }, sum) in sums {
            let reason = Some(reason.as_str()).filter(|reason| !reason.is_empty());
            let event = Event { decision: Decision::Refused, outcome, reason, ..Event::of_server(Kind::Refusals) };
            event.write(self.stamp(now), Some(*sum), &mut lines);
        }
        lines
    }
}

/// Reads a key file. It may block.
pub fn read_key(path: &Path) -> Result<AuditKey, AuditError> {
    let failed = |source| AuditError::KeyFile { path: path.to_owned(), source };
    let content = regular_file::read(path, MAX_KEY_FILE).map_err(|error| failed(KeyFileProblem::Unreadable(error)))?;
    AuditKey::read(&content.bytes).map_err(|error| failed(KeyFileProblem::Content(error)))
}

fn shown(output: &Output) -> String {
    match output {
        Output::Stdout => "stdout, which audit.output names,".to_owned(),
        Output::File(path) => format!("audit.path {}", path.display()),
        Output::Off => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests;
