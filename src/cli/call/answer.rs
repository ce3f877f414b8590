use super::caller::Caller;
use super::{EXIT_NO_CREDENTIAL, EXIT_REFUSED_REQUEST, EXIT_SERVER_ERROR};
use crate::cli::console::Console;
use crate::cli::failure::Failure;
use crate::identifiers::ContextIdentifier;
use crate::superoffice::WebApiAnswer;
use crate::telemetry::one_line;

/// Calls one tenant and passes on what its API answers.
pub(super) async fn of_one(
    caller: &Caller,
    tenant: ContextIdentifier,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let answer = caller.call(tenant).await.map_err(|trouble| trouble.failure)?;
    // When stderr is gone, nobody is left to tell.
    drop(writeln!(console.errors, "{}", status_line(tenant, &answer)));
    console.output.write_all(&answer.body)?;
    console.output.flush()?;
    match answer.status {
        200..300 => Ok(()),
        401 | 403 => Err(Failure::Coded(EXIT_NO_CREDENTIAL, "the API refuses a new credential as well".to_owned())),
        500.. => Err(Failure::Coded(EXIT_SERVER_ERROR, "the API failed".to_owned())),
        _ => Err(Failure::Coded(EXIT_REFUSED_REQUEST, "the API did not do what it was asked for".to_owned())),
    }
}

fn status_line(tenant: ContextIdentifier, answer: &WebApiAnswer) -> String {
    let content_type = answer.content_type.as_deref().map(|name| format!("{}, ", one_line(name))).unwrap_or_default();
    format!("{tenant}: {} ({content_type}{} bytes)", answer.status, answer.body.len())
}
