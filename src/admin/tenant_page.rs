use axum::http::StatusCode;
use jiff::Timestamp;
use maud::{Markup, html};

use super::page::{Page, Tone, mark};
use super::spans::{shown, when};
use super::status::{Status, Tenant};
use super::status_page::{in_a_word, replica, told};
use crate::credentials::{TenantOverview, TicketOverview};
use crate::identifiers::ContextIdentifier;
use crate::store::TenantSource;

/// What this replica knows of one tenant.
pub(super) fn page(
    status: &Status,
    name: Option<ContextIdentifier>,
    tenant: &Tenant,
    process_name: Option<&str>,
) -> Page {
    let title = |otherwise: &str| name.map_or_else(|| otherwise.to_owned(), |name| name.to_string());
    let (code, title, tone, content) = match tenant {
        Tenant::Found(tenant) => {
            let (tone, _) = in_a_word(tenant);
            let name = tenant.context_identifier.to_string();
            (StatusCode::OK, name, tone, found(status, tenant, process_name))
        }
        Tenant::NotRegistered => {
            let said = html! { p { "It is not registered here." } };
            (StatusCode::NOT_FOUND, title("No such tenant"), Tone::Quiet, said)
        }
        Tenant::Unreadable => {
            let said = html! { p { "What is kept of it cannot be read. The log has the cause." } };
            (StatusCode::SERVICE_UNAVAILABLE, title("No such tenant"), Tone::Bad, said)
        }
        Tenant::Starting => {
            let said = html! { p { (status.readiness.explanation()) } };
            (StatusCode::SERVICE_UNAVAILABLE, title("No such tenant"), Tone::Wary, said)
        }
    };
    let content = html! {
        (content)
        footer {
            p.soft { "As of " (shown(status.now)) ", as this replica knows it." }
            div.ways { a.button.plain href="/#tenants" { "All tenants" } }
        }
    };
    Page { status: code, title, origin: status.origin(), tone, content }
}

fn found(status: &Status, tenant: &TenantOverview, process_name: Option<&str>) -> Markup {
    let (tone, word) = in_a_word(tenant);
    let now = status.now;
    html! {
        p {
            (mark(tone, word))
            @if let Some(failure) = tenant.failure.as_ref().filter(|failure| !failure.is_over) { " " (told(failure, status)) }
        }
        div.pair {
            section { h2 { "Ticket" } (ticket(tenant.ticket.as_ref(), now)) }
            section { h2 { "Tenant" } (about(tenant, now)) }
            section {
                h2 { "Last failure" }
                @match &tenant.failure {
                    None => p.soft { "None in the last day, as far as this replica knows." },
                    Some(failure) => {
                        p { (told(failure, status)) }
                        p.soft {
                            @if failure.is_over { "It is over: a ticket came since. " }
                            "The log has the cause, docs/operations.md what to do."
                        }
                    },
                }
            }
            @if let Some(shared) = &tenant.shared {
                section {
                    h2 { "Among replicas" }
                    dl.lines {
                        (line("Ticket in the database", &html! {
                            @match shared.expire_time {
                                Some(time) if time <= now => { "expired " (when(time, now)) },
                                Some(time) => { "expires " (when(time, now)) },
                                None => "none",
                            }
                        }))
                        (line("Lease", &html! {
                            @if let Some(holder) = shared.lease_holder.as_deref() { "held by " (replica(holder, process_name)) }
                            @else { "free" }
                        }))
                    }
                }
            }
        }
    }
}

fn ticket(ticket: Option<&TicketOverview>, now: Timestamp) -> Markup {
    let Some(TicketOverview { fingerprint, issue_time, proven_time, expire_time, next_renewal }) = ticket else {
        return html! { p.soft { "None in this replica's memory: nobody asked for one lately, or none is to be had." } };
    };
    html! {
        dl.lines {
            (line("Issued", &when(*issue_time, now)))
            (line("Last proved good", &when(*proven_time, now)))
            (line("Next renewal", &html! {
                @match next_renewal {
                    Some(time) if *time > now => (when(*time, now)),
                    Some(_) => "under way",
                    None => "none, unless somebody asks for it",
                }
            }))
            (line("Expires", &when(*expire_time, now)))
            (line("Fingerprint", &html! { code { (fingerprint) } }))
        }
    }
}

fn about(tenant: &TenantOverview, now: Timestamp) -> Markup {
    let time = |time: Option<Timestamp>| html! { @if let Some(time) = time { (when(time, now)) } @else { "unknown" } };
    html! {
        dl.lines {
            (line("State at SuperOffice", &html! { (tenant.state.as_str()) }))
            (line("Its API", &html! { @if let Some(url) = &tenant.webapi_url { code { (url) } } @else { "unknown" } }))
            (line("System user token", &html! {
                @match tenant.source {
                    TenantSource::Database => "in the database",
                    TenantSource::Directory => "in the mounted directory",
                }
            }))
            @if tenant.source == TenantSource::Database {
                (line("Registered", &time(tenant.create_time)))
                (line("Token replaced", &time(tenant.update_time)))
            }
        }
    }
}

fn line(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}
