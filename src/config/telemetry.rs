use std::path::PathBuf;

use url::Url;

use super::kind::{parsed, path, switch, text};
use super::reader::{Checked, Reader, Section};
use super::{Problem, ShownPath};
use crate::telemetry::{LogFilter, LogFilterFileError, LogFormat, Settings};

const FILTER: &str = "log_filter";
const FILTER_FILE: &str = "log_filter_file";

/// What is logged, measured and traced.
pub(super) fn read(reader: &mut Reader) -> Checked<Settings> {
    let mut section = reader.section("telemetry");
    let log_filter = log_filter(&mut section);
    let log_format = section.or("log_format", parsed("\"json\" or \"text\""), LogFormat::default());
    let expected = "a collector's gRPC address, like \"http://127.0.0.1:4317\"";
    let otlp_endpoint = section.optional("otlp_endpoint", text(expected, endpoint));
    let trace_superoffice = section.or("trace_superoffice", switch(), false);
    let (log_filter, log_filter_file) = log_filter?;
    Ok(Settings {
        log_filter,
        log_filter_file,
        log_format: log_format?,
        otlp_endpoint: otlp_endpoint?,
        trace_superoffice: trace_superoffice?,
    })
}

/// The filter to begin with, and the file that it is in, if it is in one.
fn log_filter(section: &mut Section<'_>) -> Checked<(LogFilter, Option<PathBuf>)> {
    let filter = section.optional(FILTER, text("a log filter", |text| Some(text.parse::<LogFilter>())))?;
    let file = section.optional(FILTER_FILE, path("the path of a file with a log filter"))?;
    let is_one = Ok(filter.is_none() || file.is_none());
    section.rule(FILTER_FILE, is_one, "cannot be set beside telemetry.log_filter: the file's filter is the one that counts");
    let Some(file) = file else {
        let filter = filter.unwrap_or_else(|| Ok(LogFilter::default()));
        return Ok((filter.map_err(|error| section.mistake(FILTER, Problem::LogFilter(error)))?, None));
    };
    match LogFilter::read(&file) {
        Ok(filter) => Ok((filter, Some(file))),
        Err(LogFilterFileError::Unreadable(cause)) => {
            Err(section.mistake(FILTER_FILE, Problem::File { file: ShownPath::new(&file), cause }))
        }
        Err(LogFilterFileError::Filter(error)) => Err(section.mistake(FILTER_FILE, Problem::LogFilter(error))),
    }
}

fn endpoint(text: &str) -> Option<Url> {
    // Credentials in it would be logged with it.
    let url = Url::parse(text).ok()?;
    let is_plain = url.has_host() && url.username().is_empty() && url.password().is_none();
    (url.scheme() == "http" && is_plain).then_some(url)
}
