use std::time::Duration;

use super::kind::{duration, number, parsed, switch};
use super::reader::{Checked, Reader};
use crate::credentials::Settings;

/// How tickets are kept. The windows are checked against the lifetime: proofs run with a life of 20 seconds.
pub(super) fn read(reader: &mut Reader) -> Checked<Settings> {
    let default = Settings::default();
    let mut section = reader.section("tickets");
    let day = Duration::from_hours(24);
    let window = || duration(Duration::ZERO..=day);
    let lifetime = section.or("lifetime", duration(Duration::from_secs(1)..=day), default.lifetime);
    let renew_before_min = section.or("renew_before_min", window(), default.renew_before_min);
    let renew_before_max = section.or("renew_before_max", window(), default.renew_before_max);
    let wait_before_expiry = section.or("wait_before_expiry", window(), default.wait_before_expiry);
    let renewal = section.or("renewal", parsed("\"keep-alive\" or \"exchange\""), default.renewal);
    let capacity = section.or("capacity", number(1..=10_000_000), default.capacity);
    let renewals_in_flight = section.or("renewals_in_flight", number(1..=1_000), default.renewals_in_flight);
    let warm = section.or("warm", switch(), default.warm);
    let warm_in_flight = section.or("warm_in_flight", number(1..=1_000), default.warm_in_flight);
    let budget = duration(Duration::from_millis(10)..=Duration::from_mins(5));
    let exchange_budget = section.or("exchange_budget", budget, default.exchange_budget);
    let leeway = duration(Duration::ZERO..=Duration::from_mins(1));
    let clock_leeway = section.or("clock_leeway", leeway, default.clock_leeway);

    let compare = |one: Checked<Duration>, other: Checked<Duration>| Ok(one?.cmp(&other?));
    let holds = compare(renew_before_min, renew_before_max).map(std::cmp::Ordering::is_le);
    section.rule("renew_before_min", holds, "must not be longer than tickets.renew_before_max");
    let holds = compare(renew_before_max, lifetime).map(std::cmp::Ordering::is_lt);
    section.rule("renew_before_max", holds, "must be shorter than tickets.lifetime");
    let holds = compare(wait_before_expiry, renew_before_min).map(std::cmp::Ordering::is_lt);
    section.rule("wait_before_expiry", holds, "must be shorter than tickets.renew_before_min");

    Ok(Settings {
        lifetime: lifetime?,
        renew_before_min: renew_before_min?,
        renew_before_max: renew_before_max?,
        wait_before_expiry: wait_before_expiry?,
        renewal: renewal?,
        capacity: capacity?,
        renewals_in_flight: renewals_in_flight?,
        warm: warm?,
        warm_in_flight: warm_in_flight?,
        exchange_budget: exchange_budget?,
        clock_leeway: clock_leeway?,
    })
}
