use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::frames::{DATA, HEADERS, Head};
use crate::clock::Clock;

/// What each HEADERS of ours pays for, the head of an answer and its trailers. A call takes HEADERS, DATA and perhaps an
/// empty DATA; its caller may measure the line with a PING, and end it with a reset. (grpc-core: four, windows included.)
const FRAMES_PER_HEADERS: u32 = 8;
/// So much DATA of ours pays for one frame: who reads it gives back windows, that of the stream and that of the
/// connection. Less pays nothing, so that nobody fetches an answer by the byte.
const BYTES_PER_FRAME: usize = 64;
/// What a peer may send beside that: PINGs and SETTINGS, and calls that it gives up.
const FRAMES_PER_MILLISECOND: u32 = 1;
/// What it may send before anything is answered, beside the calls that it may have at once.
const FRAMES_AT_FIRST: u32 = 1_000;
const FRAMES_PER_CALL: u32 = 2 * FRAMES_PER_HEADERS;

/// How many frames a peer may send. h2 answers a PING, SETTINGS or a reset as often as they come: who sends nothing else
/// has us busy for nothing. Frames are paid for by the answers they lead to, so that no load, however high, comes near
/// the limit, and a flood meets it at once.
#[derive(Debug)]
pub(super) struct FrameBudget {
    left: u32,
    most: u32,
    /// Since then answers have paid.
    earned: u32,
    refilled: Duration,
    clock: Arc<dyn Clock>,
}

/// A peer sends more frames than its calls need.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the peer sends more frames than its calls need")]
pub(super) struct TooManyFrames;

impl FrameBudget {
    /// For a connection with so many calls at once.
    pub(super) fn new(max_calls: u32, clock: Arc<dyn Clock>) -> Self {
        let most = max_calls.saturating_mul(FRAMES_PER_CALL).saturating_add(FRAMES_AT_FIRST);
        Self { left: most, most, earned: 0, refilled: clock.elapsed(), clock }
    }

    /// A frame of ours pays.
    pub(super) fn earn(&mut self, head: Head) {
        let frames = match head.kind {
            HEADERS => FRAMES_PER_HEADERS,
            DATA => u32::try_from(head.length / BYTES_PER_FRAME).unwrap_or(u32::MAX),
            _ => 0,
        };
        self.earned = self.earned.saturating_add(frames);
    }

    /// Takes what has come.
    pub(super) fn spend(&mut self, frames: u32) -> Result<(), TooManyFrames> {
        if frames > self.left {
            self.refill();
        }
        self.left = self.left.checked_sub(frames).ok_or(TooManyFrames)?;
        Ok(())
    }

    fn refill(&mut self) {
        let milliseconds = self.clock.elapsed().saturating_sub(self.refilled).as_millis();
        let milliseconds = u32::try_from(milliseconds).unwrap_or(u32::MAX);
        self.refilled += Duration::from_millis(milliseconds.into());
        let by_time = milliseconds.saturating_mul(FRAMES_PER_MILLISECOND);
        let earned = std::mem::take(&mut self.earned).saturating_add(by_time);
        self.left = self.left.saturating_add(earned).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    const PING: u8 = 6;

    fn budget() -> (FrameBudget, ManualClock) {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        (FrameBudget::new(128, Arc::new(clock.clone())), clock)
    }

    fn frames_until_cut(budget: &mut FrameBudget) -> usize {
        (0..1_000_000).take_while(|_| budget.spend(1).is_ok()).count()
    }

    #[test]
    fn who_calls_nothing_has_a_start_and_a_frame_each_millisecond() {
        let (mut budget, clock) = budget();
        assert_eq!(frames_until_cut(&mut budget), 3_048);
        clock.advance(Duration::from_micros(1_500));
        assert_eq!(frames_until_cut(&mut budget), 1);
        clock.advance(Duration::from_micros(500));
        assert_eq!(frames_until_cut(&mut budget), 1, "half a millisecond is not lost");
        for _ in 0..10_000 {
            clock.advance(Duration::from_millis(1));
            budget.spend(1).unwrap();
        }
        clock.advance(Duration::from_hours(1));
        assert_eq!(frames_until_cut(&mut budget), 3_048, "quiet is not saved up");
    }

    #[test]
    fn answers_pay_for_calls_without_end() {
        let (mut budget, _clock) = budget();
        for _ in 0..100_000 {
            budget.spend(FRAMES_PER_CALL + 5).unwrap();
            for (kind, length) in [(HEADERS, 50), (DATA, 334), (HEADERS, 12), (PING, 8)] {
                budget.earn(Head { kind, length });
            }
        }
        for _ in 0..100_000 {
            budget.earn(Head { kind: HEADERS, length: 50 });
        }
        assert!(frames_until_cut(&mut budget) <= 2 * 3_048, "answers are not saved up either");
    }

    #[test]
    fn an_answer_fetched_by_the_byte_pays_for_its_headers_only() {
        let (mut budget, _clock) = budget();
        for _ in 0..100_000 {
            budget.earn(Head { kind: DATA, length: 1 });
        }
        assert_eq!(frames_until_cut(&mut budget), 3_048);
    }

    #[test]
    fn more_at_once_than_a_budget_holds_is_too_much() {
        let (mut budget, _clock) = budget();
        assert_eq!(budget.spend(u32::MAX), Err(TooManyFrames));
    }
}
