//! The audit: one event for each credential that is handed out, each refusal and each change, handed to the operating
//! system before the answer leaves.
//!
//! ```text
//! grpc, http, credentials ── Audit ── Queue ── Writer ─┬─ a task, where the kernel does not wait (pipes)
//!                                                      └─ a thread (files, and whatever blocks or fails)
//! ```
//!
//! All that is ready goes with one write, as the write costs more than an event.
//!
//! Events are JSON, one line each. When they cannot be written nothing is handed out: [`Audit::write`] says so, and
//! [`Audit::check`] says it before anything is begun. Writing is tried again until it works.

mod error;
mod event;
mod id;
mod line;
mod queue;
mod scribe;
mod sink;
mod sums;
mod writer;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::{Either, select};
use jiff::Timestamp;
use thiserror::Error;

pub use self::error::{AuditError, KeyFileProblem};
pub use self::event::{Decision, Event, Issued, Kind};
use self::event::{Stamp, Sum};
pub use self::id::Id;
use self::id::START;
use self::queue::{EntryId, Full, Waits};
use self::sink::Sink;
use self::sums::Refused;
use self::writer::{NotWritten, Writer};
use crate::clock::Clock;
use crate::crypto::{AuditKey, KeptAuditName, random_token};
use crate::identifiers::{ClientSecret, Environment};
use crate::regular_file;

/// The reason of answers that are withheld because their event cannot be written.
pub const AUDIT_UNAVAILABLE: &str = "AUDIT_UNAVAILABLE";

/// Longer ones are no keys.
const MAX_KEY_FILE: usize = 8 * 1024;
/// So much is kept for the next event; nearly every one is shorter.
const LINE_BYTES: usize = 4 * 1024;

thread_local! {
    /// Where a thread writes an event before it puts it into the queue.
    static LINES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

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

/// Where events are put that are written together.
#[derive(Debug, Default)]
pub struct Lines(Vec<u8>);

/// Tells a call's own events among those that are being written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Receipt(Option<EntryId>);

/// An event could not be written. What it tells of must not be handed out.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the audit event cannot be written")]
pub struct AuditUnavailable;

#[derive(Debug)]
struct Inner {
    settings: Settings,
    clock: Arc<dyn Clock>,
    key: ArcSwap<AuditKey>,
    ids: Arc<Ids>,
    writer: Arc<Writer>,
}

/// What the ids of one process's events are made of.
#[derive(Debug)]
struct Ids {
    start: [u8; START],
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

        let ids = Arc::new(Ids::new(&random_token()?, environment));
        let writer = Arc::new(Writer::new(sink, Arc::clone(&clock)));
        let (thread_writer, thread_ids, thread_clock) = (Arc::clone(&writer), Arc::clone(&ids), Arc::clone(&clock));
        let tell = move |sums: &[(Refused, Sum)]| thread_ids.lines_of_sums(sums, thread_clock.now());
        let run = move || thread_writer.run(tell);
        std::thread::Builder::new().name("audit".to_owned()).spawn(run).map_err(AuditError::Thread)?;
        tokio::spawn(scribe::serve(Arc::clone(&writer), Arc::clone(&clock), settings.write_timeout));

        let inner = Inner { settings: settings.clone(), clock, key: ArcSwap::from_pointee(key), ids, writer };
        let audit = Self(Some(Arc::new(inner)));
        let first = Event::of_server(Kind::Start);
        audit.write(&first, &first).await.map_err(|_| AuditError::FirstEvent { output: output() })?;
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
    pub fn draw_id(&self) -> Id {
        self.0.as_ref().map(|inner| inner.ids.next()).unwrap_or_default()
    }

    /// What an event says of a credential that is handed out.
    pub fn issued(
        &self,
        credential: &str,
        kept: &KeptAuditName,
        expire_time: Timestamp,
        source: &'static str,
    ) -> Option<Issued> {
        let key = self.0.as_ref()?.key.load();
        Some(Issued { name: key.kept_name(kept, credential), key: key.id(), expire_time, source })
    }

    /// Puts an event into `lines`, with the time of now.
    pub fn add(&self, event: &Event<'_>, lines: &mut Lines) {
        let Some(inner) = &self.0 else { return };
        event.write(inner.ids.stamp(inner.clock.now()), None, &mut lines.0);
    }

    /// Returns when the operating system has the event. When that fails, what it tells of must not be handed out, and
    /// `otherwise` tells what happened instead; that is written as soon as anything can be.
    pub async fn write(&self, event: &Event<'_>, otherwise: &Event<'_>) -> Result<(), AuditUnavailable> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let mut receipt = Receipt::default();
        let since = inner.clock.elapsed();
        let write =
            |context: &mut Context<'_>| self.poll_write(&mut receipt, since, |lines| self.add(event, lines), context);
        let written = std::future::poll_fn(write).await;
        if written.is_err() {
            self.amend(receipt, |lines| self.add(otherwise, lines));
        }
        written
    }

    /// [`write`](Self::write) for a future of one's own, without whose memory it does: polled first, it has `add` put in
    /// the events. `since` is the time of that.
    pub fn poll_write(
        &self,
        receipt: &mut Receipt,
        since: Duration,
        add: impl FnOnce(&mut Lines),
        context: &Context<'_>,
    ) -> Poll<Result<(), AuditUnavailable>> {
        let Some(inner) = &self.0 else { return Poll::Ready(Ok(())) };
        if let Some(entry) = receipt.0 {
            return inner.writer.poll(entry, context).map_err(|NotWritten| AuditUnavailable);
        }
        let waits = Waits { waker: context.waker().clone(), since };
        match with_lines(add, |lines| inner.writer.put(lines, Some(waits))) {
            Ok(entry) => {
                receipt.0 = Some(entry);
                Poll::Pending
            }
            Err(Full) => Poll::Ready(Err(AuditUnavailable)),
        }
    }

    /// Has what happened instead written, after a write that failed.
    pub fn amend(&self, receipt: Receipt, add: impl FnOnce(&mut Lines)) {
        let Some(inner) = &self.0 else { return };
        let mut lines = Lines::default();
        add(&mut lines);
        if inner.writer.refused(receipt.0, lines.0).is_err() {
            self.count("UNAVAILABLE", AUDIT_UNAVAILABLE);
        }
    }

    /// Has an event written that nothing waits for.
    pub fn note(&self, event: &Event<'_>) {
        let Some(inner) = &self.0 else { return };
        if with_lines(|lines| self.add(event, lines), |lines| inner.writer.put(lines, None)).is_err() {
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

    /// Writes the last event, and all that waits before it, unless that takes longer than a call would wait.
    pub async fn close(&self) {
        let Some(inner) = &self.0 else { return };
        let sums = inner.writer.state().sums.take();
        let lines = inner.ids.lines_of_sums(&sums, inner.clock.now());
        if !sums.is_empty() && inner.writer.put(&lines, None).is_err() {
            inner.writer.state().sums.put_back(sums);
        }
        let last = Event::of_server(Kind::Stop);
        let write = std::pin::pin!(self.write(&last, &last));
        // Whoever gives up for others may have ended.
        let patience = inner.clock.sleep(inner.settings.write_timeout);
        if !matches!(select(write, patience).await, Either::Left((Ok(()), _))) {
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
        if self.key.load().id() != key.id() {
            tracing::info!(key = %key.id(), "the audit key is replaced");
            self.key.store(Arc::new(key.clone()));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writer.close();
    }
}

impl Ids {
    fn new(random: &str, environment: Environment) -> Self {
        let mut start = [b'0'; START];
        for (place, byte) in start.iter_mut().zip(random.bytes().filter(u8::is_ascii_alphanumeric)) {
            *place = byte;
        }
        Self { start, next: AtomicU64::new(0), environment }
    }

    fn next(&self) -> Id {
        Id::new(self.start, self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn stamp(&self, time: Timestamp) -> Stamp {
        Stamp { time, id: self.next(), environment: self.environment }
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

/// Without taking memory for it: so much of a cached call's time would go there.
fn with_lines<R>(add: impl FnOnce(&mut Lines), put: impl FnOnce(&[u8]) -> R) -> R {
    let mut lines = Lines(LINES.try_with(Cell::take).unwrap_or_default());
    lines.0.reserve(LINE_BYTES);
    add(&mut lines);
    let outcome = put(&lines.0);
    lines.0.clear();
    lines.0.shrink_to(LINE_BYTES);
    // What ends with its thread needs no room.
    let _ = LINES.try_with(|kept| kept.set(lines.0));
    outcome
}

/// Reads a key file. It may block.
pub fn read_key(path: &Path) -> Result<AuditKey, AuditError> {
    let failed = |source| AuditError::KeyFile { path: path.to_owned(), source };
    let content = regular_file::read(path, MAX_KEY_FILE).map_err(|error| failed(KeyFileProblem::Unreadable(error)))?;
    AuditKey::read(&content.bytes).map_err(|error| failed(KeyFileProblem::Content(error)))
}

#[cfg(test)]
mod tests;
