use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use maud::{Markup, html};
use url::form_urlencoded::Serializer;

use super::page::{Page, Tone, mark};
use super::parameters::{PAGE, Parameters};
use super::spans::{in_words, shown, when};
use super::status::{Status, Tenants, Work};
use super::{Certificate, Readiness};
use crate::credentials::{Condition, FailingTenant, LastFailure, TenantOverview, TenantsPage};
use crate::identifiers::ContextIdentifier;
use crate::superoffice::{Upstream, Upstreams};

/// So near its end a certificate should have been replaced.
const SOON: Duration = Duration::from_hours(7 * 24);

/// How this replica and its tenants do.
pub(super) fn page(status: &Status, parameters: &Parameters) -> Page {
    let content = html! {
        p {
            (status.readiness.explanation())
            @if let Some(Work { failing: (_, total @ 1..), .. }) = &status.work {
                " " (mark(Tone::Wary, &if *total == 1 { "1 tenant fails".to_owned() } else { format!("{} tenants fail", grouped(*total as u64)) }))
            }
        }
        (facts(status))
        @if let Some(work) = &status.work {
            (attention(status, work))
            div.pair {
                section { h2 { "SuperOffice " small { "circuit breakers" } } (upstreams(&work.upstreams)) }
                (certificates(&status.certificates, status.now))
            }
            (tenants(status, work, parameters))
        }
        footer {
            p.soft { "As of " (shown(status.now)) "." }
            div.ways {
                a.button.plain href="/" { "Refresh" }
                a.button.plain href="/status.json" { "The same for programs" }
            }
        }
    };
    let code = match &status.work {
        Some(Work { tenants: Tenants::NoSuchName, .. }) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    Page {
        status: code,
        title: title(status.readiness).to_owned(),
        origin: status.origin(),
        tone: tone(status),
        content,
    }
}

fn title(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Starting => "Starting",
        Readiness::Ready => "Ready",
        Readiness::Unaudited => "No audit",
        Readiness::Draining => "Draining",
    }
}

fn tone(status: &Status) -> Tone {
    let needs_attention = status.work.as_ref().is_some_and(|work| {
        work.failing.1 > 0 || matches!(work.tenants, Tenants::Unreadable) || !troubled(&work.upstreams).is_empty()
    });
    if status.readiness.is_ready() && !needs_attention { Tone::Good } else { Tone::Wary }
}

impl Status {
    /// Which replica tells this.
    pub(super) fn origin(&self) -> String {
        let host = self.replica.host.as_deref().unwrap_or("ticketd");
        format!("{host} · {}", self.replica.environment.as_str())
    }
}

fn facts(status: &Status) -> Markup {
    let fact = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
    html! {
        dl.facts {
            (fact("Up for", html! { time title={ "since " (shown(status.start)) } { (in_words(status.uptime)) } }))
            @if let Some(Work { statistics, .. }) = &status.work {
                (fact("Tickets in memory", html! { (grouped(statistics.cached)) }))
                (fact("Answered from memory", html! { (share(statistics.hits, statistics.hits + statistics.misses)) }))
                (fact("Failed renewals", html! { (grouped(statistics.failed_renewals)) }))
                (fact("Exchanges", html! { (grouped(statistics.exchanges)) }))
                (fact("Keep-alives", html! { (grouped(statistics.keep_alives)) }))
            }
            (fact("Database", html! { (status.replica.database) }))
            (fact("Version", html! { (env!("CARGO_PKG_VERSION")) @if let Some(it) = super::revision() { " " small { (short(it)) } } }))
        }
    }
}

/// The tenants whose last load failed.
fn attention(status: &Status, work: &Work) -> Markup {
    let (failing, total) = &work.failing;
    html! {
        @if !failing.is_empty() {
            section {
                h2 {
                    "Failing tenants "
                    small { @if *total > failing.len() { "the latest " (failing.len()) " of " (grouped(*total as u64)) } @else { (total) } }
                }
                ul.tenants {
                    @for FailingTenant { context_identifier, failure, expire_time } in failing {
                        li { a href=(path(*context_identifier)) {
                            b { (context_identifier) }
                            @match expire_time {
                                None => (mark(Tone::Bad, "fails")),
                                Some(time) => {
                                    @let left = time.duration_since(status.now).unsigned_abs();
                                    (mark(Tone::Wary, &format!("served for {}", in_words(left))))
                                },
                            }
                            span.more { (told(failure, status)) }
                        } }
                    }
                }
            }
        }
    }
}

/// What a load failed with, when, and how often.
pub(super) fn told(failure: &LastFailure, status: &Status) -> Markup {
    html! {
        code { ((status.reason)(&failure.error)) } " · " (when(failure.time, status.now))
        @if failure.in_a_row > 1 { ", " (failure.in_a_row) " in a row" }
    }
}

fn troubled(upstreams: &Upstreams) -> Vec<&Upstream> {
    let Upstreams { login, state, failing_hosts, .. } = upstreams;
    let all = [login, state].into_iter().chain(failing_hosts);
    all.filter(|upstream| upstream.open_for.is_some() || upstream.throttled_for.is_some()).collect()
}

fn upstreams(upstreams: &Upstreams) -> Markup {
    let Upstreams { login, state, failing_hosts, hosts } = upstreams;
    let line = |name: &str, upstream: &Upstream| html! { div { dt { (name) } dd { (doing(upstream)) } } };
    html! {
        dl.lines {
            (line("Login and exchanges", login))
            (line("States of tenants", state))
            @for host in failing_hosts { (line(&host.name, host)) }
            div {
                dt { "Hosts of tenants" }
                dd {
                    @if *hosts == 0 { (mark(Tone::Quiet, "none asked yet")) }
                    @else if failing_hosts.is_empty() { (mark(Tone::Good, &format!("{hosts}, all closed"))) }
                    @else { (mark(Tone::Bad, &format!("{} of {hosts} open", failing_hosts.len()))) }
                }
            }
        }
    }
}

fn doing(upstream: &Upstream) -> Markup {
    match (upstream.open_for, upstream.throttled_for) {
        (Some(open_for), _) => mark(Tone::Bad, &format!("open for {}", in_words(open_for))),
        (None, Some(left)) => mark(Tone::Wary, &format!("wants us to wait {}", in_words(left))),
        (None, None) => mark(Tone::Good, "closed"),
    }
}

fn certificates(certificates: &[Certificate], now: Timestamp) -> Markup {
    html! {
        section {
            h2 { "Certificates" }
            @if certificates.is_empty() {
                p.soft { "Callers do not come over TLS." }
            } @else {
                dl.lines {
                    @for Certificate { name, expire_time } in certificates {
                        div {
                            dt { (name) }
                            dd {
                                @if *expire_time <= now { (mark(Tone::Bad, "expired")) " " (when(*expire_time, now)) }
                                @else if expire_time.duration_since(now).unsigned_abs() < SOON { (mark(Tone::Wary, "expires")) " " (when(*expire_time, now)) }
                                @else { (mark(Tone::Good, "expires")) " " (when(*expire_time, now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tenants(status: &Status, work: &Work, parameters: &Parameters) -> Markup {
    let typed = parameters.typed();
    html! {
        section id="tenants" {
            h2 { "Tenants" }
            form action="/#tenants" method="get" role="search" {
                label for="prefix" { "Whose name begins with" }
                input id="prefix" type="search" name="prefix" value=(typed) placeholder="Cust123" maxlength=(ContextIdentifier::MAX_LENGTH)
                    autocomplete="off" autocapitalize="off" spellcheck="false" enterkeyhint="search";
                button { "Find" }
            }
            @match &work.tenants {
                Tenants::NoSuchName => p { "No tenant is called so: names are letters and digits, like Cust12345." },
                Tenants::Unreadable => p { (mark(Tone::Bad, "The tenants cannot be read.")) " The log has the cause." },
                Tenants::Page(TenantsPage { tenants, .. }) if tenants.is_empty() => p {
                    @if parameters.is_whole() { "No tenant is registered." } @else { "There are no others." }
                },
                Tenants::Page(page) => {
                    ul.tenants { @for tenant in &page.tenants { (row(tenant, status, work)) } }
                    div.ways {
                        @if !parameters.is_whole() { a.button.plain href="/#tenants" { "From the beginning" } }
                        @if let Some(next) = page.next { a.button href=(further(typed, next)) { "Next " (PAGE) } }
                    }
                },
            }
        }
    }
}

fn row(tenant: &TenantOverview, status: &Status, work: &Work) -> Markup {
    let (tone, name) = in_a_word(tenant);
    let now = status.now;
    html! {
        li { a href=(path(tenant.context_identifier)) {
            b { (tenant.context_identifier) }
            (mark(tone, name))
            span.more {
                @match (&tenant.failure, &tenant.ticket) {
                    (Some(failure), ticket) if !failure.is_over => {
                        (told(failure, status))
                        @if let Some(ticket) = ticket { " · ticket expires " (when(ticket.expire_time, now)) }
                    },
                    (_, Some(ticket)) => {
                        "Ticket " (in_words(now.duration_since(ticket.issue_time).unsigned_abs())) " old"
                        @match ticket.next_renewal {
                            Some(renewal) if renewal > now => { " · renewal " (when(renewal, now)) },
                            Some(_) => " · renewal under way",
                            None => { " · lapses " (when(ticket.expire_time, now)) },
                        }
                    },
                    (_, None) => @match tenant.shared.as_ref().and_then(|shared| shared.expire_time) {
                        Some(expire_time) if expire_time > now => { "Ticket in the database · expires " (when(expire_time, now)) },
                        _ => "No ticket in memory",
                    },
                }
                @if let Some(holder) = tenant.shared.as_ref().and_then(|shared| shared.lease_holder.as_deref()) {
                    " · lease held by " (replica(holder, work.process_name.as_deref()))
                }
            }
        } }
    }
}

/// How a tenant does.
pub(super) fn in_a_word(tenant: &TenantOverview) -> (Tone, &'static str) {
    match tenant.condition() {
        Condition::Served => (Tone::Good, "served"),
        Condition::Idle => (Tone::Quiet, "idle"),
        Condition::RenewalFails => (Tone::Wary, "renewal fails"),
        Condition::Fails => (Tone::Bad, "fails"),
        Condition::NotRunning => (Tone::Bad, tenant.state.as_str()),
    }
}

/// Which replica has a lease. Of the others only a number is known, which their own pages show.
pub(super) fn replica(holder: &str, ours: Option<&str>) -> Markup {
    html! {
        @if ours == Some(holder) { "this replica" } @else { "replica " code { (short(holder)) } }
    }
}

/// What tells replicas apart.
pub(super) fn short(process_name: &str) -> String {
    process_name.chars().take(8).collect()
}

pub(super) fn path(tenant: ContextIdentifier) -> String {
    format!("/tenants/{tenant}")
}

fn further(prefix: &str, after: ContextIdentifier) -> String {
    let mut query = Serializer::new(String::new());
    if !prefix.is_empty() {
        query.append_pair("prefix", prefix);
    }
    format!("/?{}#tenants", query.append_pair("after", after.as_str()).finish())
}

fn share(part: u64, whole: u64) -> String {
    // Never 100 % as long as one is missing.
    match part.saturating_mul(1_000).checked_div(whole) {
        Some(thousandths) => format!("{}.{} %", thousandths / 10, thousandths % 10),
        None => "–".to_owned(),
    }
}

/// With a thin space between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")]
        {
            assert_eq!(grouped(number), text);
        }
        for (part, whole, text) in [(0, 0, "–"), (0, 5, "0.0 %"), (1, 3, "33.3 %"), (99_999, 100_000, "99.9 %")] {
            assert_eq!(share(part, whole), text);
        }
    }

    #[test]
    fn the_way_further_keeps_what_was_asked_for() {
        let after = "Cust9".parse().unwrap();
        assert_eq!(further("", after), "/?after=Cust9#tenants");
        assert_eq!(further("Cust", after), "/?prefix=Cust&after=Cust9#tenants");
    }
}
