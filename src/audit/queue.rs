use std::collections::VecDeque;
use std::sync::Arc;

use super::receipt::Receipt;

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
    bytes: usize,
    /// How many entries are being written.
    taken: usize,
}

/// Whole lines, one or more, that belong together.
#[derive(Debug)]
struct Entry {
    lines: Vec<u8>,
    /// How many of its bytes are written.
    sent: usize,
    /// What became true after its bytes were taken.
    amended: Option<Vec<u8>>,
    receipt: Option<Arc<Receipt>>,
}

/// Names an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryId(u64);

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Queue {
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts lines at the end. The receipt is settled when they are written, or cannot be.
    pub(super) fn push(&mut self, lines: Vec<u8>, receipt: Option<Arc<Receipt>>) -> Result<EntryId, Full> {
        if self.bytes + lines.len() > MOST_BYTES {
            return Err(Full);
        }
        let id = EntryId(self.first + self.entries.len() as u64);
        self.append(lines, receipt);
        Ok(id)
    }

    fn append(&mut self, lines: Vec<u8>, receipt: Option<Arc<Receipt>>) {
        self.bytes += lines.len();
        self.entries.push_back(Entry { lines, sent: 0, amended: None, receipt });
    }

    /// Replaces an entry's lines or, where they are being written, lets others follow them. Gives them back when the entry
    /// is written.
    pub(super) fn amend(&mut self, id: EntryId, lines: Vec<u8>) -> Option<Vec<u8>> {
        let at = id.0.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| self.entries.get_mut(at).map(|entry| (at, entry))) {
            Some((at, entry)) if at >= self.taken && entry.sent == 0 => {
                self.bytes = self.bytes - entry.lines.len() + lines.len();
                entry.lines = lines;
            }
            Some((_, entry)) => entry.amended = Some(lines),
            None => return Some(lines),
        }
        None
    }

    /// Copies the first entries' bytes that are not written yet. None are left when `batch` is empty.
    pub(super) fn take(&mut self, batch: &mut Vec<u8>) {
        batch.clear();
        self.taken = 0;
        for entry in &self.entries {
            let rest = entry.lines.get(entry.sent..).unwrap_or_default();
            if !batch.is_empty() && batch.len() + rest.len() > BATCH_BYTES {
                break;
            }
            batch.extend_from_slice(rest);
            self.taken += 1;
        }
    }

    /// Notes that so many bytes of the taken entries are written. Answers how many entries are done with, and puts the
    /// receipts to settle into `done`.
    pub(super) fn written(&mut self, mut bytes: usize, done: &mut Vec<Arc<Receipt>>) -> u64 {
        let mut entries = 0;
        let mut following = Vec::new();
        while let Some(entry) = self.entries.front_mut().filter(|_| self.taken > 0) {
            let rest = entry.lines.len() - entry.sent;
            if bytes < rest {
                entry.sent += bytes;
                break;
            }
            bytes -= rest;
            self.taken -= 1;
            if let Some(entry) = self.entries.pop_front() {
                self.first += 1;
                self.bytes -= entry.lines.len();
                done.extend(entry.receipt);
                following.extend(entry.amended);
                entries += 1;
            }
        }
        self.put_back();
        for lines in following {
            // In the place of what has just gone.
            self.append(lines, None);
        }
        entries
    }

    /// Leaves everything as it is, and tells whoever waits that it is not written.
    pub(super) fn failed(&mut self, failed: &mut Vec<Arc<Receipt>>) {
        self.put_back();
        failed.extend(self.entries.iter_mut().filter_map(|entry| entry.receipt.take()));
    }

    /// The first entry is to be written from its beginning: what is written of it is elsewhere.
    pub(super) fn begin_anew(&mut self) {
        if let Some(entry) = self.entries.front_mut() {
            entry.sent = 0;
        }
    }

    /// Nothing is being written. What was not written at all is written as it was amended.
    fn put_back(&mut self) {
        for entry in self.entries.iter_mut().take(std::mem::take(&mut self.taken)).filter(|entry| entry.sent == 0) {
            if let Some(lines) = entry.amended.take() {
                self.bytes = self.bytes - entry.lines.len() + lines.len();
                entry.lines = lines;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(lines: &[&str]) -> (Queue, Vec<EntryId>, Vec<Arc<Receipt>>) {
        let mut queue = Queue::default();
        let receipts: Vec<_> = lines.iter().map(|_| Arc::new(Receipt::default())).collect();
        let push = |(line, receipt): (&&str, &Arc<Receipt>)| {
            queue.push(line.as_bytes().to_vec(), Some(Arc::clone(receipt))).unwrap()
        };
        let ids = lines.iter().zip(&receipts).map(push).collect();
        (queue, ids, receipts)
    }

    fn taken(queue: &mut Queue) -> String {
        let mut batch = Vec::new();
        queue.take(&mut batch);
        String::from_utf8(batch).unwrap()
    }

    #[test]
    fn a_write_that_stops_within_a_line_goes_on_there() {
        let (mut queue, _, receipts) = queue(&["one\n", "two\n", "three\n"]);
        assert_eq!(taken(&mut queue), "one\ntwo\nthree\n");
        let mut done = Vec::new();
        assert_eq!(queue.written(6, &mut done), 1);
        assert!(Arc::ptr_eq(&done[0], &receipts[0]) && done.len() == 1);
        assert_eq!(taken(&mut queue), "o\nthree\n");
        queue.begin_anew();
        assert_eq!(taken(&mut queue), "two\nthree\n");
        assert_eq!(queue.written(10, &mut done), 2);
        assert!(queue.is_empty() && queue.bytes == 0);
    }

    #[test]
    fn an_entry_is_amended_in_its_place_until_it_is_taken() {
        let (mut queue, ids, _) = queue(&["one\n", "two\n"]);
        assert_eq!(queue.amend(ids[1], b"TWO!\n".to_vec()), None);
        assert_eq!(taken(&mut queue), "one\nTWO!\n");
        // It is being written: what is written stands, and what is true follows.
        assert_eq!(queue.amend(ids[0], b"ONE!\n".to_vec()), None);
        queue.written(4, &mut Vec::new());
        assert_eq!(taken(&mut queue), "TWO!\nONE!\n");
        // Nothing of it was written after all.
        assert_eq!(queue.amend(ids[1], b"two\n".to_vec()), None);
        queue.failed(&mut Vec::new());
        assert_eq!(taken(&mut queue), "two\nONE!\n");
        queue.written(9, &mut Vec::new());
        assert_eq!(queue.amend(ids[0], b"later\n".to_vec()), Some(b"later\n".to_vec()));
        assert!(queue.is_empty() && queue.bytes == 0);
    }

    #[test]
    fn a_failure_is_told_once_and_loses_nothing() {
        let (mut queue, _, _) = queue(&["one\n", "two\n"]);
        assert_eq!(taken(&mut queue), "one\ntwo\n");
        let mut failed = Vec::new();
        queue.written(2, &mut failed);
        queue.failed(&mut failed);
        queue.failed(&mut failed);
        assert_eq!(failed.len(), 2);
        assert_eq!(taken(&mut queue), "e\ntwo\n");
    }

    #[test]
    fn it_has_a_bound_and_so_has_a_batch() {
        let mut queue = Queue::default();
        let line = vec![b'x'; 1_000];
        let pushed = std::iter::repeat_with(|| queue.push(line.clone(), None)).take_while(Result::is_ok).count();
        assert_eq!(pushed, MOST_BYTES / 1_000);
        assert_eq!(taken(&mut queue).len(), BATCH_BYTES / 1_000 * 1_000);
    }
}
