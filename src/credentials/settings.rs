use std::time::Duration;

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
    /// How many tickets are kept, and how many access tokens.
    pub capacity: u64,
    /// How many renewals run at once in the background.
    pub renewals_in_flight: usize,
    /// How long one exchange with all its retries may take, counted from its turn.
    pub exchange_budget: Duration,
    /// How far SuperOffice's clock may be from ours when its tokens are checked.
    pub clock_leeway: Duration,
}

impl Settings {
    /// The longest `min_validity` a caller may ask for. A caller who always asks for it forces one exchange in a sixth of
    /// a ticket's life at most: SuperOffice asks for no more than one an hour.
    pub fn longest_min_validity(&self) -> Duration {
        self.lifetime.saturating_sub(self.renew_before_max.max(self.lifetime / 6))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_hours(6),
            renew_before_min: Duration::from_mins(40),
            renew_before_max: Duration::from_mins(70),
            wait_before_expiry: Duration::from_mins(1),
            capacity: 100_000,
            renewals_in_flight: 16,
            exchange_budget: Duration::from_secs(10),
            clock_leeway: Duration::from_mins(1),
        }
    }
}
