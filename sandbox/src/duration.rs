//! Durations as people write them (`20s`, `6h`, `1m 30s`), in settings, behaviours and on the command line.

use std::time::Duration;

use jiff::SignedDuration;
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{:#}", SignedDuration::try_from(*duration).unwrap_or(SignedDuration::MAX)))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let signed: SignedDuration =
        text.parse().map_err(|_| D::Error::custom(format!("`{text}` is not a duration such as 20s or 6h")))?;
    Duration::try_from(signed).map_err(|_| D::Error::custom("a duration may not be negative"))
}
