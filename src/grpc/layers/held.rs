use http_body_util::BodyExt;
use tonic::body::Body;

/// Keeps `held` until the body is sent or given up.
pub fn held_by_body(body: Body, held: impl Send + 'static) -> Body {
    Body::new(body.map_frame(move |frame| {
        let _as_long_as_the_body = &held;
        frame
    }))
}

/// Whether the method at `path` answers for as long as its caller likes. All others answer once.
pub fn is_stream(path: &str) -> bool {
    path == "/grpc.health.v1.Health/Watch" || path.starts_with("/grpc.reflection.")
}
