//! The contenders that answer the same each time, in a process of their own: `serve KIND ADDRESS DIRECTORY`. The directory
//! has the answer in a file, and the certificates.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::pin::pin;

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use ticketd::grpc::proto::ticket_service_server::{TicketService, TicketServiceServer};
use ticketd::grpc::proto::{
    GetSystemTicketRequest, GetSystemTicketResponse, InvalidateSystemTicketRequest, InvalidateSystemTicketResponse,
    RefreshAccessTokenRequest, RefreshAccessTokenResponse,
};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Status, async_trait};

use crate::tls;

/// Where the answer is: a message, without the frame around it.
pub(crate) const ANSWER: &str = "answer";

struct FixedReply(GetSystemTicketResponse);

#[async_trait]
impl TicketService for FixedReply {
    async fn get_system_ticket(
        &self,
        _request: tonic::Request<GetSystemTicketRequest>,
    ) -> Result<tonic::Response<GetSystemTicketResponse>, Status> {
        Ok(tonic::Response::new(self.0.clone()))
    }

    async fn invalidate_system_ticket(
        &self,
        _request: tonic::Request<InvalidateSystemTicketRequest>,
    ) -> Result<tonic::Response<InvalidateSystemTicketResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn refresh_access_token(
        &self,
        _request: tonic::Request<RefreshAccessTokenRequest>,
    ) -> Result<tonic::Response<RefreshAccessTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Serves until it is killed.
pub(crate) fn serve(kind: &str, address: &str, directory: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let directory = Path::new(directory);
    let answer = fs::read(directory.join(ANSWER)).unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.unwrap();
        let service = || TicketServiceServer::new(FixedReply(GetSystemTicketResponse::decode(&*answer).unwrap()));
        let tonic = || Server::builder().add_service(service());
        match kind {
            "hyper" => hyper(listener, &answer).await,
            "tonic" => tonic().serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))).await.unwrap(),
            _ => tonic().serve_with_incoming(pin!(tls::accept(listener, directory))).await.unwrap(),
        }
    });
}

/// HTTP/2 and nothing else: the request is read and forgotten, the answer lies ready in its frame.
async fn hyper(listener: TcpListener, answer: &[u8]) {
    let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
    let framed = Bytes::from([&[0][..], &length, answer].concat());
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let framed = framed.clone();
        let reply = service_fn(move |request: Request<Incoming>| {
            let framed = framed.clone();
            async move {
                let _ = request.into_body().collect().await;
                let trailers = HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    HeaderValue::from_static("0"),
                )]);
                let parts = [Ok::<_, Infallible>(Frame::data(framed)), Ok(Frame::trailers(trailers))];
                let mut response = Response::new(StreamBody::new(tokio_stream::iter(parts)));
                response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), reply));
    }
}
