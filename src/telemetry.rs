//! Logs to stderr, traces, metrics and logs to a collector, and metrics as Prometheus reads them. This module imports
//! nothing of ours but what is measured.

mod exposition;
mod json_fields;
mod log_export;
mod log_filter;
mod metric_export;
mod one_line;
mod panics;
mod trace_export;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

pub use exposition::Exposition;
pub use log_filter::{LogFilter, LogFilterError, LogFilterFileError};
pub use one_line::one_line;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing::{Subscriber, warn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Filter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};
use url::Url;

use self::json_fields::JsonFields;
use self::metric_export::MetricExport;
use self::one_line::OneLineWriter;
use crate::trace_context;

/// How long the last traces, metrics and logs may hold up the end of the process.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// What is logged, traced and measured, how, and where to.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What is logged, at first: what the file says, if there is one.
    pub log_filter: LogFilter,
    /// A file with a log filter that is followed.
    pub log_filter_file: Option<PathBuf>,
    /// How it is written.
    pub log_format: LogFormat,
    /// Where traces, metrics and logs go, as OTLP over gRPC. No traces are made when it is absent.
    pub otlp_endpoint: Option<Url>,
    /// Whether requests to SuperOffice name the trace that they are for.
    pub trace_superoffice: bool,
}

/// How a log event is written: always one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object.
    #[default]
    Json,
    /// For people.
    Text,
}

/// The text names no log format.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a log format is json or text")]
pub struct UnknownLogFormat;

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(UnknownLogFormat),
        }
    }
}

/// Why there is no telemetry.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitError {
    /// The exporter does not take the endpoint.
    #[error("traces and logs cannot be sent to the OTLP endpoint {endpoint}")]
    Exporter {
        /// Where to.
        endpoint: Url,
        /// What the exporter says.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Metrics cannot be sent there.
    #[error("metrics cannot be sent to the OTLP endpoint {endpoint}")]
    Endpoint {
        /// Where to.
        endpoint: Url,
        /// What the client says.
        source: tonic::transport::Error,
    },
    /// Something else in this process logs already.
    #[error("logging is set up already: it can be done once in a process")]
    AlreadySetUp,
}

/// Sets up logging, of panics too, and tracing and metrics when they are wanted, for the whole process. Call it within
/// the runtime, since the exporters connect there, and before anything is built that measures.
pub fn init(settings: &Settings) -> Result<Guard, InitError> {
    let (subscriber, mut guard, filters) = subscriber(settings, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::AlreadySetUp)?;
    // Nothing else was set up in this process: it is empty.
    let (Ok(()) | Err(_)) = FILTERS.set(filters);
    trace_context::tell_upstream(settings.trace_superoffice);
    guard.metrics = settings.otlp_endpoint.as_ref().map(MetricExport::start).transpose()?;
    panics::log_panics();
    Ok(guard)
}

/// What is logged from now on.
pub fn set_log_filter(filter: &LogFilter) {
    for set in FILTERS.get().into_iter().flatten() {
        set(filter);
    }
}

type SetFilter = Box<dyn Fn(&LogFilter) + Send + Sync>;

/// Where the process's filters are set anew.
static FILTERS: OnceLock<Vec<SetFilter>> = OnceLock::new();

/// Holds what is to be flushed at the end.
#[derive(Debug)]
#[must_use = "the last traces, metrics and logs are lost unless it is shut down"]
pub struct Guard {
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    metrics: Option<MetricExport>,
}

impl Guard {
    /// Sends the last traces, metrics and logs, for at most three seconds.
    pub async fn shutdown(self) {
        let traces = self.traces.map(|provider| move || provider.shutdown_with_timeout(FLUSH_LIMIT));
        let logs = self.logs.map(|provider| move || provider.shutdown_with_timeout(FLUSH_LIMIT));
        let metrics = async {
            let Some(metrics) = self.metrics else { return };
            if tokio::time::timeout(FLUSH_LIMIT, metrics.shutdown()).await.is_err() {
                warn!("the last metrics are lost: the collector does not answer");
            }
        };
        tokio::join!(flush("traces", traces), flush("logs", logs), metrics);
    }
}

async fn flush(what: &'static str, shutdown: Option<impl FnOnce() -> OTelSdkResult + Send + 'static>) {
    let Some(shutdown) = shutdown else { return };
    // The SDK blocks the thread while its exporter needs the runtime: on a worker thread the two would wait for
    // each other.
    let flush = tokio::task::spawn_blocking(shutdown);
    match tokio::time::timeout(FLUSH_LIMIT, flush).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => warn!(%error, "the last {what} are lost"),
        Ok(Err(error)) => warn!(%error, "the last {what} are lost"),
        Err(_) => warn!("the last {what} are lost: the collector does not answer"),
    }
}

fn subscriber<W>(settings: &Settings, writer: W) -> Result<(impl Subscriber + use<W>, Guard, Vec<SetFilter>), InitError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let endpoint = settings.otlp_endpoint.as_ref();
    let traces = endpoint.map(trace_export::provider).transpose()?;
    let logs = endpoint.map(log_export::provider).transpose()?;
    let lines = fmt::layer()
        .with_writer(OneLineWriter::new(writer))
        .with_ansi(false)
        // It would report a closed stderr by printing to stderr, which panics.
        .log_internal_errors(false);
    let (filter, set) = reloadable(&settings.log_filter);
    let lines: BoxedLayer = match settings.log_format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            lines.fmt_fields(JsonFields).with_filter(filter).boxed()
        }
        LogFormat::Text => lines.with_filter(filter).boxed(),
    };
    let (mut layers, mut filters) = (vec![lines], vec![set]);
    // Traces first: a record of a log is to name its span.
    if let Some(traces) = &traces {
        layers.push(trace_export::layer(traces).boxed());
    }
    if let Some(logs) = &logs {
        let (filter, set) = reloadable(&settings.log_filter);
        layers.push(log_export::layer(logs, filter).boxed());
        filters.push(set);
    }
    Ok((Registry::default().with(layers), Guard { traces, logs, metrics: None }, filters))
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The filter, and how another takes its place.
fn reloadable(filter: &LogFilter) -> (impl Filter<Registry> + Send + Sync + 'static, SetFilter) {
    let (filter, handle) = reload::Layer::new(filter.filter::<Registry>());
    // It fails only once the subscriber is gone.
    (filter, Box::new(move |new| drop(handle.reload(new.filter()))))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::{debug, info, info_span, trace};

    use super::*;

    fn settings(log_filter: &str, log_format: LogFormat) -> Settings {
        Settings { log_filter: log_filter.parse().unwrap(), log_format, ..Settings::default() }
    }

    /// What `log` writes.
    fn written(settings: &Settings, log: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&written);
        let (subscriber, _guard, _filters) = subscriber(settings, move || Shared(Arc::clone(&writer))).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = written.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "a\r\nb\u{1b}[31mc\u{202e}d\0e\u{85}f\u{2028}g\u{7f}\"}\\h";

    #[test]
    fn a_json_event_is_one_line_whatever_its_fields_hold() {
        let written = written(&settings("info", LogFormat::Json), || {
            let _span = info_span!("call", tenant = HOSTILE).entered();
            info!(display = %HOSTILE, debug = ?HOSTILE, "{HOSTILE}");
        });
        assert_eq!(written.lines().count(), 1, "{written:?}");
        assert!(!written.trim_end_matches('\n').chars().any(char::is_control), "{written:?}");
        assert!(!written.contains(['\u{202e}', '\u{2028}']), "{written:?}");
        let event: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(event["message"], HOSTILE);
        assert_eq!(event["display"], HOSTILE);
        assert_eq!(event["spans"][0]["tenant"], HOSTILE);
    }

    #[test]
    fn what_a_span_records_later_is_told_with_the_rest() {
        let empty = tracing::field::Empty;
        let written = written(&settings("info", LogFormat::Json), || {
            let full = info_span!("full", first = 1, second = empty, third = empty);
            full.record("second", HOSTILE).record("third", 3).record("third", 4).record("fourth", 5);
            let bare = info_span!(parent: &full, "bare", only = empty, never = empty);
            bare.record("only", true);
            bare.in_scope(|| info!("message"));
        });
        let event: Value = serde_json::from_str(&written).unwrap();
        let told = serde_json::json!([
            { "name": "full", "first": 1, "second": HOSTILE, "third": 4 },
            { "name": "bare", "only": true },
        ]);
        assert_eq!(event["spans"], told, "{written}");
    }

    #[test]
    fn a_text_event_is_one_line_whatever_its_fields_hold() {
        let written = written(&settings("info", LogFormat::Text), || {
            info!(display = %HOSTILE, "{HOSTILE}");
        });
        assert!(written.ends_with('\n'), "{written:?}");
        assert!(!written.trim_end_matches('\n').chars().any(char::is_control), "{written:?}");
    }

    #[test]
    fn a_panic_is_one_line_that_says_where_and_not_what() {
        let written = written(&settings("warn", LogFormat::Json), || {
            let hook = std::panic::take_hook();
            panics::log_panics();
            let panicked = std::panic::catch_unwind(|| panic!("canary\nof two lines"));
            std::panic::set_hook(hook);
            panicked.unwrap_err();
        });
        assert_eq!(written.lines().count(), 1, "{written:?}");
        let event: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(event["level"], "ERROR");
        assert!(event["location"].as_str().unwrap().starts_with("src/telemetry.rs:"), "{event}");
        assert!(!written.contains("canary"), "{written:?}");
    }

    #[test]
    fn no_filter_lets_foreign_detail_through() {
        for filter in ["trace", "h2=trace,sqlx=trace,hyper=debug,ticketd=trace,ticketdx=trace", "[request]=trace"] {
            let written = written(&settings(filter, LogFormat::Json), || {
                let _span = info_span!("request").entered();
                trace!(target: "h2::codec::framed_write", "canary-frame");
                trace!(target: "hyper_util::client", "canary-header");
                debug!(target: "sqlx::query", "canary-statement");
                debug!(target: "ticketdx", "canary-namesake");
                trace!(target: "ticketd::credentials", "ours-trace");
                info!(target: "sqlx::query", "foreign-info");
            });
            assert!(!written.contains("canary"), "{filter}: {written}");
            assert!(written.contains("ours-trace"), "{filter}: {written}");
        }
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        let written = written(&settings("warn,ticketd::store=debug", LogFormat::Json), || {
            info!(target: "ticketd::server", "not-wanted");
            debug!(target: "ticketd::store", "wanted");
        });
        assert!(written.contains("\"wanted\"") && !written.contains("not-wanted"), "{written}");
    }
}
