use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::EXIT_UNAVAILABLE;
use super::caller::{Caller, Trouble};
use crate::cli::connection::refused;
use crate::cli::console::Console;
use crate::cli::failure::Failure;
use crate::grpc::proto::ListTenantsRequest;
use crate::grpc::proto::tenant_service_client::TenantServiceClient;
use crate::identifiers::ContextIdentifier;
use crate::superoffice::WebApiAnswer;

/// How many tenants are listed at a time.
const PAGE: i32 = 100;

/// How many tenants ended how.
#[derive(Default)]
struct Tally {
    done: usize,
    failed: usize,
    skipped: usize,
}

/// Calls every registered tenant, some at once, and prints each one's outcome as it comes. None holds up another.
pub(super) async fn call(
    caller: &Caller,
    channel: Channel,
    concurrency: usize,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let tenants = tenants(caller, channel).await?;
    let bar = progress_bar(tenants.len(), console);
    let call = |tenant: ContextIdentifier| async move { (tenant, caller.call(tenant).await) };
    let mut outcomes = stream::iter(tenants).map(call).buffer_unordered(concurrency);
    let mut tally = Tally::default();
    while let Some((tenant, outcome)) = outcomes.next().await {
        let line = tally.count(tenant, outcome);
        bar.suspend(|| writeln!(console.output, "{line}"))?;
        bar.set_message(format!("{} failed", tally.failed));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let Tally { done, failed, skipped } = tally;
    // When stderr is gone, nobody is left to tell.
    drop(writeln!(
        console.errors,
        "{} tenants: {done} done, {failed} failed, {skipped} skipped because they do not run",
        done + failed + skipped
    ));
    if failed == 0 { Ok(()) } else { Err(Failure::failed(&format_args!("{failed} tenants failed"))) }
}

impl Tally {
    /// Counts a tenant's outcome, and answers its line.
    fn count(&mut self, tenant: ContextIdentifier, outcome: Result<WebApiAnswer, Trouble>) -> Value {
        match outcome {
            Ok(answer) => {
                let counter = if matches!(answer.status, 200..300) { &mut self.done } else { &mut self.failed };
                *counter += 1;
                let (name, body) = readable(answer.body);
                json!({ "context_identifier": tenant.as_str(), "status": answer.status, name: body })
            }
            Err(Trouble { failure, is_not_running: true }) => {
                self.skipped += 1;
                json!({ "context_identifier": tenant.as_str(), "skipped": failure.to_string() })
            }
            Err(Trouble { failure, is_not_running: false }) => {
                self.failed += 1;
                json!({ "context_identifier": tenant.as_str(), "error": failure.to_string() })
            }
        }
    }
}

/// A body as a member of the line: JSON as JSON, other text as a string, anything else in Base64.
fn readable(body: Vec<u8>) -> (&'static str, Value) {
    if let Ok(value) = serde_json::from_slice(&body) {
        return ("body", value);
    }
    match String::from_utf8(body) {
        Ok(text) => ("body", Value::String(text)),
        Err(error) => ("body_base64", Value::String(STANDARD.encode(error.as_bytes()))),
    }
}

/// Every registered tenant, in ticketd's order.
async fn tenants(caller: &Caller, channel: Channel) -> Result<Vec<ContextIdentifier>, Failure> {
    let mut client = TenantServiceClient::new(channel);
    let mut tenants = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListTenantsRequest { page_size: PAGE, page_token };
        let page = client.list_tenants(caller.timed(request)).await;
        let page = page.map_err(|status| refused(&status).with_code(EXIT_UNAVAILABLE))?.into_inner();
        for tenant in page.tenants {
            let tenant = tenant.context_identifier.parse();
            tenants.push(tenant.map_err(|_| Failure::failed(&"ticketd lists what is no tenant"))?);
        }
        if page.next_page_token.is_empty() {
            return Ok(tenants);
        }
        page_token = page.next_page_token;
    }
}

/// On a terminal only: in a log it would be noise.
fn progress_bar(tenants: usize, console: &Console<'_>) -> ProgressBar {
    let target = if console.errors_is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} tenants, {elapsed}, {msg}");
    let bar = ProgressBar::with_draw_target(Some(tenants as u64), target).with_message("0 failed");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_fits_on_a_line_of_json() {
        for (body, name, expected) in [
            (&b"{\n\"a\": 1 }"[..], "body", json!({ "a": 1 })),
            (b"7", "body", json!(7)),
            (b"", "body", json!("")),
            (b"<html>\n\x00", "body", json!("<html>\n\u{0}")),
            (b"\xff\xd8", "body_base64", json!("/9g=")),
        ] {
            assert_eq!(readable(body.to_vec()), (name, expected));
        }
    }
}
