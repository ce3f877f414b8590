use std::fmt;

use crate::identifiers::{CallerId, SpiffeId};

const ALL_BELOW: &str = "/*";

/// Whom an entry of a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallerPattern {
    /// This caller.
    Exactly(CallerId),
    /// Every SPIFFE ID that goes on from here with a slash: `spiffe://corp/ns/crm`. At least the trust domain.
    Below(String),
}

impl CallerPattern {
    /// A SPIFFE ID, or one up to a slash and `*` for all that go on from there.
    pub(super) fn spiffe(text: &str) -> Option<Self> {
        match text.strip_suffix(ALL_BELOW) {
            // Whatever is below has to be a SPIFFE ID.
            Some(above) => format!("{above}/x").parse::<SpiffeId>().ok().map(|_| Self::Below(above.to_owned())),
            None => text.parse().ok().map(|id| Self::Exactly(CallerId::Spiffe(id))),
        }
    }

    /// A DNS name as certificates have it.
    pub(super) fn dns(text: &str) -> Option<Self> {
        let of_label = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(of_label);
        let is_name = text.len() <= 253 && text.split('.').all(is_label);
        is_name.then(|| Self::Exactly(CallerId::Dns(text.into())))
    }

    /// Whether it names this caller. What decides is compiled; this is for explanations.
    pub(super) fn names(&self, caller: &CallerId) -> bool {
        match (self, caller) {
            (Self::Exactly(named), caller) => named == caller,
            (Self::Below(above), CallerId::Spiffe(id)) => {
                id.as_str().strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
            (Self::Below(_), _) => false,
        }
    }
}

impl fmt::Display for CallerPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(caller) => caller.fmt(formatter),
            Self::Below(above) => write!(formatter, "{above}{ALL_BELOW}"),
        }
    }
}
