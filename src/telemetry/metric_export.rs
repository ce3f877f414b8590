use std::time::Duration;

use opentelemetry_otlp::{MetricExporter, WithExportConfig};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use url::Url;

use super::InitError;
use super::trace_export::{EXPORT_TIMEOUT, resource};

/// So often everything is sent.
const INTERVAL: Duration = Duration::from_secs(30);

/// Sends what the instruments show from a thread of its own.
pub(super) fn provider(endpoint: &Url) -> Result<SdkMeterProvider, InitError> {
    let exporter = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.as_str())
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|source| InitError::Exporter { endpoint: endpoint.clone(), source })?;
    let reader = PeriodicReader::builder(exporter).with_interval(INTERVAL).build();
    Ok(SdkMeterProvider::builder().with_reader(reader).with_resource(resource()).build())
}
