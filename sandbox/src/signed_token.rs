//! Checks a `SignedSystemToken` as SuperOffice's published validator does.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::partner_key::PartnerKey;

/// Why a signed system user token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Not three parts, or the signature is not Base64.
    Malformed,
    /// The time stamp is not `yyyyMMddHHmm`, or too far away.
    Timestamp,
    /// The signature is somebody else's.
    Signature,
}

/// The system user token inside, once time stamp and signature are right.
pub(crate) fn check<'a>(
    signed: &'a str,
    key: &PartnerKey,
    max_drift: Duration,
    now: Timestamp,
) -> Result<&'a str, Flaw> {
    let parts: Vec<&str> = signed.split('.').collect();
    let [token, timestamp, signature] = parts[..] else { return Err(Flaw::Malformed) };
    let signature = STANDARD.decode(signature).map_err(|_| Flaw::Malformed)?;
    let time = parse_timestamp(timestamp).ok_or(Flaw::Timestamp)?;
    let max_drift = SignedDuration::try_from(max_drift).unwrap_or(SignedDuration::MAX);
    // Strict on both sides: the limit itself is too far.
    if time.duration_since(now).abs() >= max_drift {
        return Err(Flaw::Timestamp);
    }
    let message = format!("{token}.{timestamp}");
    if key.verifies(message.as_bytes(), &signature) { Ok(token) } else { Err(Flaw::Signature) }
}

fn parse_timestamp(text: &str) -> Option<Timestamp> {
    if text.len() != 12 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<i16>().ok();
    let small = |range| number(range).and_then(|number| i8::try_from(number).ok());
    let time = DateTime::new(number(0..4)?, small(4..6)?, small(6..8)?, small(8..10)?, small(10..12)?, 0, 0).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_twelve_digits_of_a_real_minute() {
        assert_eq!(parse_timestamp("202006301117"), "2020-06-30T11:17:00Z".parse().ok());
        for wrong in [
            "20200630111",
            "2020063011170",
            "202006311117",
            "202006302417",
            "20200630111x",
            "+02006301117",
            "é2006301117",
        ] {
            assert_eq!(parse_timestamp(wrong), None, "{wrong}");
        }
    }
}
