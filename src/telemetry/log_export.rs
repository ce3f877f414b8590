use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, WithExportConfig};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use super::InitError;
use super::log_filter::is_ours;
use super::trace_export::{EXPORT_TIMEOUT, resource};

/// Sends log events in batches from a thread of its own; what a collector is too slow for is dropped.
pub(super) fn provider(endpoint: &Url) -> Result<SdkLoggerProvider, InitError> {
    let exporter = LogExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.as_str())
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|source| InitError::Exporter { endpoint: endpoint.clone(), source })?;
    Ok(SdkLoggerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build())
}

/// Makes records of our own events that `filter` lets through, each with its span's trace. No library's goes to the
/// collector: it may hold anything, and those of the libraries that send would never end.
pub(super) fn layer<S>(
    provider: &SdkLoggerProvider,
    filter: impl Filter<S> + Send + Sync + 'static,
) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
{
    OpenTelemetryTracingBridge::new(provider).with_filter(filter.and(filter_fn(is_ours)))
}
