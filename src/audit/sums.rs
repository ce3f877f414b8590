use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::event::Sum;

/// So many refusals of one reason are told one by one in a second.
const TOLD_A_SECOND: u32 = 100;
/// How many reasons are told apart. They come from our own tables, and there are fewer.
const MOST_REASONS: usize = 256;

/// Refusals that reached no service, counted by reason: whoever is not let in must not fill the disk.
#[derive(Debug, Default)]
pub(super) struct Sums(HashMap<Refused, Counted>);

/// What a refusal looks like.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Refused {
    pub(super) outcome: String,
    pub(super) reason: String,
}

#[derive(Debug)]
struct Counted {
    /// Of monotonic time.
    second: u64,
    told: u32,
    untold: Option<Sum>,
}

impl Sums {
    /// Whether a refusal is to be told by itself. If not it is counted.
    pub(super) fn admit(&mut self, outcome: &str, reason: &str, now: Timestamp, elapsed: Duration) -> bool {
        let (outcome, reason) = (outcome.to_owned(), reason.to_owned());
        let counted = self.of(Refused { outcome, reason }, elapsed);
        if counted.second != elapsed.as_secs() {
            (counted.second, counted.told) = (elapsed.as_secs(), 0);
        }
        if counted.told < TOLD_A_SECOND {
            counted.told += 1;
            return true;
        }
        counted.add(now);
        false
    }

    /// Counts a refusal that cannot be told by itself.
    pub(super) fn count(&mut self, outcome: &str, reason: &str, now: Timestamp, elapsed: Duration) {
        let (outcome, reason) = (outcome.to_owned(), reason.to_owned());
        self.of(Refused { outcome, reason }, elapsed).add(now);
    }

    /// Whether anything is counted that is not told.
    pub(super) fn is_empty(&self) -> bool {
        self.0.values().all(|counted| counted.untold.is_none())
    }

    /// What is counted and not told.
    pub(super) fn take(&mut self) -> Vec<(Refused, Sum)> {
        let taken = self.0.iter_mut().filter_map(|(refused, counted)| Some((refused.clone(), counted.untold.take()?)));
        taken.collect()
    }

    /// Counts again what could not be told.
    pub(super) fn put_back(&mut self, taken: Vec<(Refused, Sum)>) {
        for (refused, sum) in taken {
            // What was counted once keeps its place.
            let Some(counted) = self.0.get_mut(&refused) else { continue };
            let merged = |later: Sum| Sum { count: sum.count + later.count, until: later.until, ..sum };
            counted.untold = Some(counted.untold.take().map_or(sum, merged));
        }
    }

    fn of(&mut self, refused: Refused, elapsed: Duration) -> &mut Counted {
        let refused = if self.0.len() < MOST_REASONS || self.0.contains_key(&refused) {
            refused
        } else {
            Refused { outcome: "_OTHER".to_owned(), reason: String::new() }
        };
        self.0.entry(refused).or_insert(Counted { second: elapsed.as_secs(), told: 0, untold: None })
    }
}

impl Counted {
    fn add(&mut self, now: Timestamp) {
        let sum = self.untold.get_or_insert(Sum { count: 0, since: now, until: now });
        sum.count += 1;
        sum.until = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_a_second_of_each_reason_are_told_and_the_rest_is_counted() {
        let mut sums = Sums::default();
        let now = Timestamp::UNIX_EPOCH;
        let mut admitted = |reason: &str, second| {
            let elapsed = Duration::from_secs(second);
            (0..1_000).filter(|_| sums.admit("UNAUTHENTICATED", reason, now, elapsed)).count()
        };
        assert_eq!((admitted("A", 0), admitted("B", 0), admitted("A", 1), admitted("A", 1)), (100, 100, 100, 0));
        let mut counts: Vec<_> = sums.take().into_iter().map(|(refused, sum)| (refused.reason, sum.count)).collect();
        counts.sort();
        assert_eq!(counts, [("A".to_owned(), 900 + 900 + 1_000), ("B".to_owned(), 900)]);
        assert!(sums.is_empty());
    }
}
