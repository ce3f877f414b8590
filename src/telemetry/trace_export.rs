use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use super::InitError;
use super::log_filter::is_ours;

pub(super) const NAME: &str = env!("CARGO_PKG_NAME");
/// How long one batch may take to send.
pub(super) const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends spans in batches from a thread of its own; what a collector is too slow for is dropped.
pub(super) fn provider(endpoint: &Url) -> Result<SdkTracerProvider, InitError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.as_str())
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|source| InitError::Exporter { endpoint: endpoint.clone(), source })?;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build())
}

/// Who sends.
pub(super) fn resource() -> Resource {
    Resource::builder()
        .with_service_name(NAME)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Makes traces of our own spans; no library's span or event, which may hold anything, goes to the collector.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(NAME))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|metadata| is_ours(metadata) && *metadata.level() <= Level::INFO))
}

#[cfg(test)]
mod tests {
    use std::io;

    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::TcpListenerStream;
    use tracing::{debug_span, info_span};

    use super::super::{Settings, subscriber};
    use super::*;

    struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

    #[async_trait::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            request: tonic::Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            self.0.send(request.into_inner()).unwrap();
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        }
    }

    async fn listener() -> (TcpListener, Settings) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let settings = Settings {
            log_filter: "off".parse().unwrap(),
            otlp_endpoint: Some(endpoint),
            ..Settings::default()
        };
        (listener, settings)
    }

    #[tokio::test]
    async fn a_collector_receives_our_spans_and_no_others() {
        let (listener, settings) = listener().await;
        let (sender, mut received) = mpsc::unbounded_channel();
        let collector = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Collector(sender)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let collector = tokio::spawn(collector);

        let (subscriber, guard, _) = subscriber(&settings, io::sink).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let _call = info_span!("GetSystemTicket", tenant = "Cust12345").entered();
            let _frame = info_span!(target: "h2::proto", "canary").entered();
            let _detail = debug_span!("canary").entered();
            info_span!("exchange").in_scope(|| {});
        });
        guard.shutdown().await;

        let request = received.recv().await.unwrap();
        let resource_spans = request.resource_spans.first().unwrap();
        let resource = format!("{:?}", resource_spans.resource);
        assert!(resource.contains("service.name") && resource.contains("\"ticketd\""), "{resource}");
        assert!(resource.contains("service.version"), "{resource}");
        let spans = &resource_spans.scope_spans.first().unwrap().spans;
        let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["exchange", "GetSystemTicket"]);
        assert_eq!(spans[0].parent_span_id, spans[1].span_id);
        assert!(format!("{:?}", spans[1].attributes).contains("Cust12345"));
        collector.abort();
    }

    #[tokio::test]
    async fn a_collector_that_never_answers_holds_up_the_end_for_three_seconds_at_most() {
        let (_silent, settings) = listener().await;
        let (subscriber, guard, _) = subscriber(&settings, io::sink).unwrap();
        tracing::subscriber::with_default(subscriber, || info_span!("exchange").in_scope(|| {}));
        tokio::time::timeout(Duration::from_millis(3_500), guard.shutdown()).await.unwrap();
    }
}
