//! An OpenTelemetry collector that keeps all it gets: spans, metrics, logs, and the bytes on the wire.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, async_trait};

use crate::channels::Channels;

struct Collector(Channels);

#[async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.note("spans", format!("{:?}", request.metadata()));
        self.0.note("spans", request.into_inner().encode_to_vec());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.note("metrics", format!("{:?}", request.metadata()));
        self.0.note("metrics", request.into_inner().encode_to_vec());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.0.note("logs", format!("{:?}", request.metadata()));
        self.0.note("logs", request.into_inner().encode_to_vec());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// Starts one and answers its endpoint.
pub(crate) async fn start(channels: &Channels) -> String {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = collector.local_addr().unwrap();
    let service = TraceServiceServer::new(Collector(channels.clone()));
    let metrics = MetricsServiceServer::new(Collector(channels.clone()));
    let logs = LogsServiceServer::new(Collector(channels.clone()));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .add_service(metrics)
            .add_service(logs)
            .serve_with_incoming(TcpListenerStream::new(collector)),
    );
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", front.local_addr().unwrap());
    tokio::spawn(record(front, behind, channels.clone()));
    endpoint
}

/// Passes every connection on, and keeps what its client sends.
async fn record(front: TcpListener, behind: SocketAddr, channels: Channels) {
    while let Ok((client, _)) = front.accept().await {
        let channels = channels.clone();
        tokio::spawn(async move {
            let server = TcpStream::connect(behind).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                channels.note("bytes to the collector", &buffer[..length]);
                to_server.write_all(&buffer[..length]).await.unwrap();
            }
        });
    }
}
