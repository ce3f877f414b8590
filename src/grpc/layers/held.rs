use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

/// In the extensions of a stream's request: when the stream's connection closes, and the stream with it.
#[derive(Clone, Debug, Default)]
pub struct Closing(pub CancellationToken);

/// Keeps `held` until the body is sent or given up.
pub fn held_by_body(body: Body, held: impl Send + 'static) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _as_long_as_the_body = &held;
        frame
    }))
}

/// Whether the method at `path` answers for as long as its caller likes. All others answer once.
pub fn is_stream(path: &str) -> bool {
    const WATCHES: [&str; 2] =
        ["/grpc.health.v1.Health/Watch", "/superoffice.ticket.v1.TicketService/WatchSystemTickets"];
    WATCHES.contains(&path) || path.starts_with("/grpc.reflection.")
}
