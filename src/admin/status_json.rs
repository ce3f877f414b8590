use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::spans::exact;
use super::status::{Status, Tenants, Work};
use super::status_page::short;
use crate::credentials::{LastFailure, Statistics, TenantOverview, TicketOverview};
use crate::store::TenantSource;
use crate::superoffice::{Upstream, Upstreams};

/// What the page has, for programs. Names are only ever added.
pub(super) fn answer(status: &Status) -> Response {
    let code = match &status.work {
        Some(Work { tenants: Tenants::NoSuchName, .. }) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    let mut response = Response::new(Body::from(format!("{:#}\n", document(status))));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn document(status: &Status) -> Value {
    let certificates = status.certificates.iter();
    let certificates: Vec<_> =
        certificates.map(|it| json!({ "name": it.name, "expire_time": exact(it.expire_time) })).collect();
    json!({
        "time": exact(status.now),
        "replica": {
            "host": status.replica.host,
            "name_in_leases": status.work.as_ref().and_then(|work| work.process_name.as_deref()).map(short),
            "environment": status.replica.environment.as_str(),
            "database": status.replica.database,
            "version": env!("CARGO_PKG_VERSION"),
            "revision": super::revision(),
            "start_time": exact(status.start),
            "uptime_seconds": status.uptime.as_secs(),
            "readiness": status.readiness.name(),
            "is_ready": status.readiness.is_ready(),
        },
        "certificates": certificates,
        "statistics": status.work.as_ref().map(|work| statistics(&work.statistics)),
        "upstreams": status.work.as_ref().map(|work| upstreams(&work.upstreams)),
        "failing_tenants": status.work.as_ref().map(|work| failing(work, status)),
        "tenants": status.work.as_ref().map(|work| tenants(work, status)),
    })
}

fn statistics(statistics: &Statistics) -> Value {
    let Statistics { hits, misses, refusals, exchanges, keep_alives, failed_renewals, displaced, cached } = statistics;
    json!({
        "tickets": cached,
        "hits": hits,
        "misses": misses,
        "refusals": refusals,
        "exchanges": exchanges,
        "keep_alives": keep_alives,
        "failed_renewals": failed_renewals,
        "displaced": displaced,
    })
}

fn upstreams(upstreams: &Upstreams) -> Value {
    let Upstreams { login, state, failing_hosts, hosts } = upstreams;
    let hosts_failing: Vec<_> = failing_hosts.iter().map(upstream).collect();
    json!({ "login": upstream(login), "state": upstream(state), "hosts": hosts, "failing_hosts": hosts_failing })
}

fn upstream(upstream: &Upstream) -> Value {
    let Upstream { name, open_for, throttled_for } = upstream;
    let seconds = |span: &Option<Duration>| span.map(|span| span.as_secs());
    json!({
        "name": name,
        "is_circuit_open": open_for.is_some(),
        "open_seconds": seconds(open_for),
        "wait_seconds": seconds(throttled_for),
    })
}

fn failing(work: &Work, status: &Status) -> Value {
    let (latest, total) = &work.failing;
    let latest: Vec<_> = latest
        .iter()
        .map(|it| {
            json!({
                "context_identifier": it.context_identifier.as_str(),
                "last_failure": failure(&it.failure, status),
                "served_until": it.expire_time.map(exact),
            })
        })
        .collect();
    json!({ "total": total, "latest": latest })
}

fn failure(failure: &LastFailure, status: &Status) -> Value {
    json!({
        "reason": (status.reason)(&failure.error),
        "time": exact(failure.time),
        "in_a_row": failure.in_a_row,
        "is_over": failure.is_over,
    })
}

fn tenants(work: &Work, status: &Status) -> Value {
    match &work.tenants {
        Tenants::Page(page) => json!({
            "items": page.tenants.iter().map(|it| tenant(it, work, status)).collect::<Vec<_>>(),
            "next": page.next.map(|next| next.to_string()),
        }),
        Tenants::NoSuchName => json!({ "error": "CONTEXT_IDENTIFIER_INVALID" }),
        Tenants::Unreadable => json!({ "error": "STORE_UNAVAILABLE" }),
    }
}

fn tenant(tenant: &TenantOverview, work: &Work, status: &Status) -> Value {
    let time = |time: Option<Timestamp>| time.map(exact);
    let shared = tenant.shared.as_ref().map(|shared| {
        json!({
            "expire_time": time(shared.expire_time),
            "lease_holder": shared.lease_holder.as_deref().map(short),
            "is_lease_ours": shared.lease_holder.is_some() && shared.lease_holder == work.process_name,
        })
    });
    json!({
        "context_identifier": tenant.context_identifier.as_str(),
        "condition": tenant.condition().as_str(),
        "state": tenant.state.as_str(),
        "webapi_url": tenant.webapi_url,
        "source": match tenant.source {
            TenantSource::Database => "database",
            TenantSource::Directory => "directory",
        },
        "create_time": time(tenant.create_time),
        "update_time": time(tenant.update_time),
        "ticket": tenant.ticket.as_ref().map(ticket),
        "last_failure": tenant.failure.as_ref().map(|it| failure(it, status)),
        "shared": shared,
    })
}

fn ticket(ticket: &TicketOverview) -> Value {
    let TicketOverview { fingerprint, issue_time, proven_time, expire_time, next_renewal } = ticket;
    json!({
        "fingerprint": fingerprint.to_string(),
        "issue_time": exact(*issue_time),
        "proven_time": exact(*proven_time),
        "expire_time": exact(*expire_time),
        "next_renewal_time": next_renewal.map(exact),
    })
}
