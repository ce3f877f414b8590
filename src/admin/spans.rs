//! Time as people say it.

use std::time::Duration;

use jiff::Timestamp;
use maud::{Markup, html};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// In the two largest units: `5 h 12 min`.
pub(super) fn in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    let (one, unit, other, smaller) = match seconds {
        ..MINUTE => return format!("{seconds} s"),
        MINUTE..HOUR => return format!("{} min", seconds / MINUTE),
        HOUR..DAY => (seconds / HOUR, "h", seconds % HOUR / MINUTE, "min"),
        DAY.. => (seconds / DAY, "d", seconds % DAY / HOUR, "h"),
    };
    if other == 0 { format!("{one} {unit}") } else { format!("{one} {unit} {other} {smaller}") }
}

/// `12 min ago`, or `in 3 h`; the time itself is there for who wants it.
pub(super) fn when(time: Timestamp, now: Timestamp) -> Markup {
    let distance = now.duration_since(time);
    let words = in_words(distance.unsigned_abs());
    html! {
        time datetime=(exact(time)) title=(shown(time)) {
            @if distance.unsigned_abs().as_secs() == 0 { "now" }
            @else if distance.is_positive() { (words) " ago" }
            @else { "in " (words) }
        }
    }
}

/// For people, to the second.
pub(super) fn shown(time: Timestamp) -> String {
    time.strftime("%F %T UTC").to_string()
}

/// For programs, to the second, in UTC.
pub(super) fn exact(time: Timestamp) -> String {
    format!("{time:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_its_two_largest_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min"),
            (3_600, "1 h"),
            (18_750, "5 h 12 min"),
            (86_399, "23 h 59 min"),
            (86_400, "1 d"),
            (90_000, "1 d 1 h"),
            (365 * 86_400 + 7_200, "365 d 2 h"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn a_time_is_told_from_now() {
        let now: Timestamp = "2026-11-22T12:00:00.25Z".parse().unwrap();
        for (time, words) in [
            ("2026-11-22T11:48:00Z", ">12 min ago<"),
            ("2026-11-22T15:00:00.5Z", ">in 3 h<"),
            ("2026-11-22T12:00:00Z", ">now<"),
        ] {
            let markup = when(time.parse().unwrap(), now).into_string();
            assert!(markup.contains(words), "{markup}");
        }
        assert_eq!(exact(now), "2026-11-22T12:00:00Z");
        assert_eq!(shown(now), "2026-11-22 12:00:00 UTC");
    }
}
