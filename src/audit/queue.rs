use std::collections::VecDeque;
use std::mem;
use std::task::Waker;
use std::time::Duration;

/// How many bytes wait at most. Real events have half a kilobyte.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// How many bytes are written at once, but for a single entry that is longer.
const BATCH_BYTES: usize = 64 * 1024;

/// The events that are to be written, in their order. They stay here until the operating system has them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// The lines of those entries that are not being written, one behind the other: an event has no memory of its own.
    waiting: Vec<u8>,
    /// How many entries are being written.
    taken: usize,
    taken_bytes: usize,
    /// How many bytes of the first entry are written.
    sent: usize,
}

/// Whole lines, one or more, that belong together.
#[derive(Debug)]
struct Entry {
    length: usize,
    /// What became true after it was put here.
    amended: Option<Vec<u8>>,
    waits: Option<Waits>,
}

/// A call that waits until its entry is written.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) waker: Waker,
    /// By monotonic time.
    pub(super) since: Duration,
}

/// Names an entry by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryId(u64);

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl EntryId {
    /// Whether the entry stands before the one of this number.
    pub(super) fn is_before(self, number: u64) -> bool {
        self.0 < number
    }
}

impl Queue {
    /// Puts lines at the end.
    pub(super) fn push(&mut self, lines: &[u8], waits: Option<Waits>) -> Result<EntryId, Full> {
        if self.taken_bytes + self.waiting.len() + lines.len() > MOST_BYTES {
            return Err(Full);
        }
        let id = EntryId(self.end());
        self.append(lines, waits);
        Ok(id)
    }

    fn append(&mut self, lines: &[u8], waits: Option<Waits>) {
        self.waiting.extend_from_slice(lines);
        self.entries.push_back(Entry { length: lines.len(), amended: None, waits });
    }

    /// The number of the first entry that is not written.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number that the next entry will have.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Has another waker woken when the entry is written.
    pub(super) fn wake(&mut self, id: EntryId, waker: &Waker) {
        let entry = self.place(id).and_then(|at| self.entries.get_mut(at));
        if let Some(waits) = entry.and_then(|entry| entry.waits.as_mut()) {
            waits.waker.clone_from(waker);
        }
    }

    /// Since when the first who waits does.
    pub(super) fn waited_for_since(&self) -> Option<Duration> {
        self.entries.iter().find_map(|entry| entry.waits.as_ref()).map(|waits| waits.since)
    }

    fn place(&self, id: EntryId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok().filter(|at| *at < self.entries.len())
    }

    /// Replaces an entry's lines or, where they are being written, lets others follow them. Gives them back when the entry
    /// is written.
    pub(super) fn amend(&mut self, id: EntryId, lines: Vec<u8>) -> Option<Vec<u8>> {
        let Some(entry) = self.place(id).and_then(|at| self.entries.get_mut(at)) else { return Some(lines) };
        // They take its place when it is taken: a whole queue is amended at once, which then takes no moving of bytes.
        entry.amended = Some(lines);
        None
    }

    /// Moves the lines of the first entries into `batch`, and answers how many of its bytes are written already. There is
    /// nothing to write when it is empty.
    pub(super) fn take(&mut self, batch: &mut Vec<u8>) -> usize {
        batch.clear();
        if batch.capacity() > 2 * BATCH_BYTES {
            // Of an outage.
            *batch = Vec::new();
        }
        if self.waiting.len() <= BATCH_BYTES {
            mem::swap(batch, &mut self.waiting);
            self.taken = self.entries.len();
        } else {
            let mut bytes = 0;
            self.taken = 0;
            for entry in &self.entries {
                if bytes > 0 && bytes + entry.length > BATCH_BYTES {
                    break;
                }
                bytes += entry.length;
                self.taken += 1;
            }
            batch.extend(self.waiting.drain(..bytes));
        }
        if self.entries.iter().take(self.taken).any(|entry| entry.amended.is_some()) {
            self.put_amended(batch);
        }
        self.taken_bytes = batch.len();
        self.sent
    }

    /// Notes that so many more bytes of `batch`, which was taken, are written. Answers how many entries are done with, and
    /// puts those who waited for them into `done`.
    pub(super) fn written(&mut self, batch: &[u8], bytes: usize, done: &mut Vec<Waker>) -> u64 {
        let (mut entries, mut start, mut following) = (0, 0, Vec::new());
        let end = self.sent + bytes;
        while let Some(entry) = self.entries.front_mut().filter(|entry| self.taken > 0 && start + entry.length <= end) {
            start += entry.length;
            done.extend(entry.waits.take().map(|waits| waits.waker));
            following.extend(entry.amended.take());
            self.entries.pop_front();
            self.first += 1;
            self.taken -= 1;
            entries += 1;
        }
        self.sent = end - start;
        self.put_back(batch.get(start..).unwrap_or_default());
        for lines in following {
            // In the place of what has just gone.
            self.append(&lines, None);
        }
        entries
    }

    /// Leaves everything as it is, but for those who wait.
    pub(super) fn dismiss(&mut self, dismissed: &mut Vec<Waker>) {
        let waits = self.entries.iter_mut().filter_map(|entry| entry.waits.take());
        dismissed.extend(waits.map(|waits| waits.waker));
    }

    /// The first entry is to be written from its beginning: what is written of it is elsewhere.
    pub(super) fn begin_anew(&mut self) {
        self.sent = 0;
    }

    /// Puts what became true in the place of what has not been begun.
    fn put_amended(&mut self, batch: &mut Vec<u8>) {
        let mut lines = Vec::with_capacity(batch.len());
        let mut start = 0;
        let mut is_begun = self.sent > 0;
        for entry in self.entries.iter_mut().take(self.taken) {
            let end = start + entry.length;
            match entry.amended.take_if(|_| !is_begun) {
                Some(amended) => {
                    entry.length = amended.len();
                    lines.extend(amended);
                }
                None => lines.extend_from_slice(batch.get(start..end).unwrap_or_default()),
            }
            (start, is_begun) = (end, false);
        }
        *batch = lines;
    }

    /// Nothing is being written.
    fn put_back(&mut self, rest: &[u8]) {
        self.taken = 0;
        self.taken_bytes = 0;
        if !rest.is_empty() {
            self.waiting.splice(..0, rest.iter().copied());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    fn queue(lines: &[&str]) -> (Queue, Vec<EntryId>) {
        let mut queue = Queue::default();
        let waits = || Some(Waits { waker: Waker::noop().clone(), since: Duration::ZERO });
        let ids = lines.iter().map(|line| queue.push(line.as_bytes(), waits()).unwrap()).collect();
        (queue, ids)
    }

    /// What is taken, without what is written of it.
    fn taken(queue: &mut Queue) -> (String, Vec<u8>) {
        let mut batch = Vec::new();
        let sent = queue.take(&mut batch);
        (String::from_utf8(batch[sent..].to_vec()).unwrap(), batch)
    }

    fn is_empty(queue: &Queue) -> bool {
        queue.entries.is_empty() && queue.waiting.is_empty() && queue.taken_bytes == 0 && queue.sent == 0
    }

    #[test]
    fn a_write_that_stops_within_a_line_goes_on_there() {
        let (mut queue, ids) = queue(&["one\n", "two\n", "three\n"]);
        let (text, batch) = taken(&mut queue);
        assert_eq!(text, "one\ntwo\nthree\n");
        let mut done = Vec::new();
        assert_eq!((queue.written(&batch, 6, &mut done), done.len()), (1, 1));
        assert!(ids[0].is_before(queue.first()) && !ids[1].is_before(queue.first()));
        let (text, batch) = taken(&mut queue);
        assert_eq!(text, "o\nthree\n");
        assert_eq!(queue.written(&batch, 1, &mut done), 0);
        queue.begin_anew();
        let (text, batch) = taken(&mut queue);
        assert_eq!(text, "two\nthree\n");
        queue.push(b"four\n", None).unwrap();
        assert_eq!((queue.written(&batch, 10, &mut done), done.len()), (2, 3));
        let (text, batch) = taken(&mut queue);
        assert_eq!((text.as_str(), queue.written(&batch, 5, &mut done)), ("four\n", 1));
        assert!(is_empty(&queue) && queue.first() == queue.end());
    }

    #[test]
    fn an_entry_is_amended_in_its_place_until_it_is_taken() {
        let (mut queue, ids) = queue(&["one\n", "two\n", "three\n"]);
        assert_eq!(queue.amend(ids[1], b"TWO!\n".to_vec()), None);
        let (text, batch) = taken(&mut queue);
        assert_eq!(text, "one\nTWO!\nthree\n");
        let last = queue.push(b"last\n", None).unwrap();
        // It is being written: what is written stands, and what is true follows.
        assert_eq!(queue.amend(ids[0], b"ONE!\n".to_vec()), None);
        assert_eq!(queue.amend(last, b"LAST\n".to_vec()), None);
        queue.written(&batch, 4, &mut Vec::new());
        let (text, batch) = taken(&mut queue);
        assert_eq!(text, "TWO!\nthree\nLAST\nONE!\n");
        // Nothing of it was written after all.
        assert_eq!(queue.amend(ids[1], b"two\n".to_vec()), None);
        queue.written(&batch, 0, &mut Vec::new());
        let (text, batch) = taken(&mut queue);
        assert_eq!(text, "two\nthree\nLAST\nONE!\n");
        // A part of it was, and is not done with by that.
        queue.written(&batch, 2, &mut Vec::new());
        assert_eq!(queue.amend(ids[1], b"TWO\n".to_vec()), None);
        assert_eq!(queue.amend(ids[2], b"3\n".to_vec()), None);
        let (text, batch) = taken(&mut queue);
        assert_eq!(text, "o\n3\nLAST\nONE!\n");
        queue.written(&batch, text.len(), &mut Vec::new());
        let (text, batch) = taken(&mut queue);
        assert_eq!(text, "TWO\n");
        queue.written(&batch, 4, &mut Vec::new());
        assert_eq!(queue.amend(ids[0], b"later\n".to_vec()), Some(b"later\n".to_vec()));
        assert!(is_empty(&queue));
    }

    #[test]
    fn those_who_wait_are_told_once_and_nothing_is_lost() {
        let (mut queue, _) = queue(&["one\n", "two\n"]);
        let (_, batch) = taken(&mut queue);
        let mut told = Vec::new();
        queue.dismiss(&mut told);
        queue.dismiss(&mut told);
        queue.written(&batch, 2, &mut told);
        assert_eq!((told.len(), queue.waited_for_since()), (2, None));
        assert_eq!(taken(&mut queue).0, "e\ntwo\n");
    }

    #[test]
    fn amending_all_that_waits_takes_no_longer_for_each_the_more_there_are() {
        let mut queue = Queue::default();
        let line = [b'x'; 500];
        let ids: Vec<_> = std::iter::from_fn(|| queue.push(&line, None).ok()).collect();
        let start = SystemClock.elapsed();
        for id in &ids {
            assert_eq!(queue.amend(*id, b"amended\n".to_vec()), None);
        }
        let took = SystemClock.elapsed().saturating_sub(start);
        println!("{} entries amended in {took:?}", ids.len());
        assert!(took < Duration::from_millis(500), "{took:?}");
        let mut written = String::new();
        loop {
            let (text, batch) = taken(&mut queue);
            if text.is_empty() {
                break;
            }
            queue.written(&batch, batch.len(), &mut Vec::new());
            written += &text;
        }
        assert_eq!(written, "amended\n".repeat(ids.len()));
        assert!(is_empty(&queue));
    }

    #[test]
    fn it_has_a_bound_and_so_has_a_batch() {
        let mut queue = Queue::default();
        let line = vec![b'x'; 1_000];
        let pushed = std::iter::repeat_with(|| queue.push(&line, None)).take_while(Result::is_ok).count();
        assert_eq!(pushed, MOST_BYTES / 1_000);
        assert_eq!(taken(&mut queue).0.len(), BATCH_BYTES / 1_000 * 1_000);
    }
}
