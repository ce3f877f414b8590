//! The API: the generated traits, implemented by parsing, asking the policy, delegating and converting.
//!
//! Errors get their code in `status` and nowhere else. The layers around the services count, bound and time every call.

mod authorization_service;
mod convert;
pub mod layers;
mod permits;
pub mod proto;
mod status;
mod tenant_service;
mod ticket_service;
mod ticket_stream;
mod watch_places;

use std::convert::Infallible;

use tonic::body::Body;
use tonic::service::Routes;
use tower::util::BoxCloneSyncService;

pub use authorization_service::AuthorizationService;
pub use permits::Permits;
pub use status::{DOMAIN, WATCH_ENDED, ticket_reason};
pub use tenant_service::TenantService;
pub use ticket_service::TicketService;

use proto::authorization_service_server::AuthorizationServiceServer;
use proto::tenant_service_server::TenantServiceServer;
use proto::ticket_service_server::TicketServiceServer;

/// Answers calls: what the layers wrap, and what a connection serves.
pub type Calls = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Infallible>;

/// The largest message that is read. The longest request has three short texts.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The encoded descriptors of every service that may be served, for reflection and for the methods' names.
pub const FILE_DESCRIPTOR_SETS: [&[u8]; 4] = [
    proto::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// The API's services, with their message limit. They accept no compression, so nothing small becomes large.
pub fn routes(tickets: TicketService, authorization: AuthorizationService, tenants: TenantService) -> Routes {
    Routes::new(TicketServiceServer::new(tickets).max_decoding_message_size(MAX_MESSAGE))
        .add_service(AuthorizationServiceServer::new(authorization).max_decoding_message_size(MAX_MESSAGE))
        .add_service(TenantServiceServer::new(tenants).max_decoding_message_size(MAX_MESSAGE))
}
