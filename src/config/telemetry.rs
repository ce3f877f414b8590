use url::Url;

use super::Problem;
use super::kind::{parsed, text};
use super::reader::{Checked, Reader};
use crate::telemetry::{LogFilter, Settings};

/// What is logged and traced.
pub(super) fn read(reader: &mut Reader) -> Checked<Settings> {
    let mut section = reader.section("telemetry");
    let log_filter = section
        .or("log_filter", text("a log filter", |text| Some(text.parse::<LogFilter>())), Ok(LogFilter::default()))
        .and_then(|filter| filter.map_err(|error| section.mistake("log_filter", Problem::LogFilter(error))));
    let log_format = section.or("log_format", parsed("\"json\" or \"text\""), crate::telemetry::LogFormat::default());
    let expected = "a collector's gRPC address, like \"http://127.0.0.1:4317\"";
    let otlp_endpoint = section.optional("otlp_endpoint", text(expected, endpoint));
    Ok(Settings { log_filter: log_filter?, log_format: log_format?, otlp_endpoint: otlp_endpoint? })
}

fn endpoint(text: &str) -> Option<Url> {
    // Credentials in it would be logged with it.
    let url = Url::parse(text).ok()?;
    let is_plain = url.has_host() && url.username().is_empty() && url.password().is_none();
    (url.scheme() == "http" && is_plain).then_some(url)
}
