use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use crate::random::Random;

/// With a ticket that is this near its expiry an exchange is no longer put off.
const LAST_RESORT: Duration = Duration::from_mins(10);
/// The longest pause between failed renewals. The shortest is half of it.
const RENEWAL_PAUSE: Duration = Duration::from_mins(1);

/// How credentials are kept. [`Settings::default`] is what SuperOffice's documentation asks for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long SuperOffice keeps a ticket, counted from the moment the exchange was sent.
    pub lifetime: Duration,
    /// The latest point of renewal, before expiry.
    pub renew_before_min: Duration,
    /// The earliest point of renewal, before expiry.
    pub renew_before_max: Duration,
    /// So shortly before expiry callers wait for the renewal.
    pub wait_before_expiry: Duration,
    /// How a ticket in use is renewed.
    pub renewal: Renewal,
    /// How many tickets are kept, and how many access tokens.
    pub capacity: u64,
    /// How many renewals run at once in the background.
    pub renewals_in_flight: usize,
    /// Whether tickets are got before anybody asks for them: when ticketd starts, and when a tenant appears or changes.
    pub warm: bool,
    /// How many tickets are got at once that nobody has asked for.
    pub warm_in_flight: usize,
    /// How long one exchange with all its retries may take, counted from its turn.
    pub exchange_budget: Duration,
    /// How far SuperOffice's clock may be from ours when its tokens are checked.
    pub clock_leeway: Duration,
}

/// How a ticket in use is renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Renewal {
    /// It is used once at its tenant's own API, whereupon its life counts anew. Only where that refuses it, another
    /// one is exchanged for.
    #[default]
    KeepAlive,
    /// Another one is exchanged for, which writes a row in the tenant's database each time.
    Exchange,
}

impl FromStr for Renewal {
    type Err = UnknownRenewal;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "keep-alive" => Ok(Self::KeepAlive),
            "exchange" => Ok(Self::Exchange),
            _ => Err(UnknownRenewal),
        }
    }
}

/// The text names no way of renewal.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected \"keep-alive\" or \"exchange\"")]
pub struct UnknownRenewal;

impl Settings {
    /// The longest `min_validity` a caller may ask for. A caller who always asks for it forces one exchange in a sixth of
    /// a ticket's life at most: SuperOffice asks for no more than one an hour.
    pub fn longest_min_validity(&self) -> Duration {
        self.lifetime.saturating_sub(self.renew_before_max.max(self.lifetime / 6))
    }

    /// When a ticket expires that SuperOffice took at `proven`, and when it is renewed: each ticket at a time of its own.
    pub(super) fn times_of(&self, proven: Timestamp, random: &dyn Random) -> (Timestamp, Timestamp) {
        let expire_time = proven.saturating_add(self.lifetime).unwrap_or(Timestamp::MAX);
        let before_expiry = random.between(self.renew_before_min, self.renew_before_max);
        (expire_time, expire_time.saturating_sub(before_expiry).unwrap_or(proven))
    }

    /// How long before expiry a ticket that cannot be kept alive is exchanged for: ten minutes, less where the windows
    /// of renewal are short, but never so late that a caller waits for a keep-alive alone.
    pub(super) fn last_resort(&self) -> Duration {
        LAST_RESORT.min(self.renew_before_min / 4).max(self.wait_before_expiry)
    }

    /// A pause after a failed renewal, which is short where the windows of renewal are.
    pub(super) fn renewal_pause(&self, random: &dyn Random) -> Duration {
        let longest = RENEWAL_PAUSE.min(self.renew_before_min / 8);
        random.between(longest / 2, longest)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_hours(6),
            renew_before_min: Duration::from_mins(40),
            renew_before_max: Duration::from_mins(70),
            wait_before_expiry: Duration::from_mins(1),
            renewal: Renewal::default(),
            capacity: 100_000,
            renewals_in_flight: 16,
            warm: false,
            warm_in_flight: 4,
            exchange_budget: Duration::from_secs(10),
            clock_leeway: Duration::from_mins(1),
        }
    }
}
