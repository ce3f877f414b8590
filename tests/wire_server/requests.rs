//! Requests, as they should be and as they should not.

use ticketd::grpc::proto::{
    DeleteTenantRequest, GetSystemTicketRequest, GetTenantRequest, InvalidateSystemTicketRequest, ListTenantsRequest,
    PutTenantRequest, RefreshAccessTokenRequest, tenant,
};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{Rig, grpc, not_registered, put, refused, services, within};

#[tokio::test]
async fn reflection_answers_only_when_switched_on() {
    let rig = Rig::start().await;
    assert_eq!(services(grpc(&rig)).await.unwrap_err().code(), Code::Unimplemented);

    let rig = Rig::start_with(|settings| settings.reflection = true).await;
    let services = services(grpc(&rig)).await.unwrap();
    for service in
        ["grpc.health.v1.Health", "superoffice.ticket.v1.TenantService", "superoffice.ticket.v1.TicketService"]
    {
        assert!(services.iter().any(|name| name == service), "{service} in {services:?}");
    }
}

#[tokio::test]
async fn requests_that_cannot_be_meant_are_refused_with_the_field_at_fault() {
    let rig = Rig::start().await;
    let mut tickets = rig.tickets();
    let context_identifier = || "Cust12345".to_owned();

    let hostile = GetSystemTicketRequest { context_identifier: "Cust1/../x".to_owned(), min_validity: None };
    refused(tickets.get_system_ticket(hostile).await, "CONTEXT_IDENTIFIER_INVALID", "context_identifier");

    let min_validity = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let request = GetSystemTicketRequest { context_identifier: context_identifier(), min_validity };
    refused(tickets.get_system_ticket(request).await, "MIN_VALIDITY_INVALID", "min_validity");

    let fingerprint = "not a fingerprint".to_owned();
    let request =
        InvalidateSystemTicketRequest { context_identifier: context_identifier(), fingerprint, ..Default::default() };
    refused(tickets.invalidate_system_ticket(request).await, "FINGERPRINT_INVALID", "fingerprint");

    let refresh_token = String::new();
    let request = RefreshAccessTokenRequest {
        context_identifier: context_identifier(),
        refresh_token,
        ..RefreshAccessTokenRequest::default()
    };
    refused(tickets.refresh_access_token(request).await, "REFRESH_TOKEN_INVALID", "refresh_token");

    let mut tenants = rig.tenants();
    let system_user_token = "a.b".to_owned();
    let request =
        PutTenantRequest { context_identifier: context_identifier(), system_user_token, accept_serial: false };
    refused(tenants.put_tenant(request).await, "SYSTEM_USER_TOKEN_INVALID", "system_user_token");

    let request = ListTenantsRequest { page_size: -1, page_token: String::new() };
    refused(tenants.list_tenants(request).await, "PAGE_SIZE_INVALID", "page_size");
    let request = ListTenantsRequest { page_size: 0, page_token: "Cust1".to_owned() };
    refused(tenants.list_tenants(request).await, "PAGE_TOKEN_INVALID", "page_token");
}

#[tokio::test]
async fn a_tenant_that_is_not_registered_is_not_found() {
    let rig = Rig::start().await;
    let context_identifier = || "Cust404".to_owned();
    let request = GetSystemTicketRequest { context_identifier: context_identifier(), min_validity: None };
    not_registered(rig.tickets().get_system_ticket(request).await);
    not_registered(rig.tenants().get_tenant(GetTenantRequest { context_identifier: context_identifier() }).await);
    not_registered(rig.tenants().delete_tenant(DeleteTenantRequest { context_identifier: context_identifier() }).await);
}

#[tokio::test]
async fn tenants_are_put_got_listed_by_pages_and_deleted() {
    let rig = Rig::start().await;
    let mut tenants = rig.tenants();
    for number in 1..=5 {
        let put = put(&mut tenants, &format!("Cust{number}")).await;
        assert_eq!(put.context_identifier, format!("Cust{number}"));
        assert_eq!(put.source(), tenant::Source::Database);
        assert!(put.create_time.is_some() && put.update_time.is_some());
    }
    let got = tenants.get_tenant(GetTenantRequest { context_identifier: "CUST3".to_owned() }).await.unwrap();
    assert_eq!(got.into_inner().tenant.unwrap().context_identifier, "Cust3");

    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = tenants.list_tenants(ListTenantsRequest { page_size: 2, page_token }).await.unwrap().into_inner();
        assert!(page.tenants.len() <= 2);
        names.extend(page.tenants.into_iter().map(|tenant| tenant.context_identifier));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["Cust1", "Cust2", "Cust3", "Cust4", "Cust5"]);

    let delete = || DeleteTenantRequest { context_identifier: "Cust3".to_owned() };
    tenants.delete_tenant(delete()).await.unwrap();
    not_registered(tenants.delete_tenant(delete()).await);
}

#[tokio::test]
async fn messages_over_64_kib_and_compressed_ones_are_refused() {
    let rig = Rig::start().await;
    let request = |length| GetSystemTicketRequest { context_identifier: "C".repeat(length), min_validity: None };
    let status = rig.tickets().get_system_ticket(request(65 * 1024)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_TOO_LARGE");
    // Under the limit it is read, and found wrong for what it says.
    let status = rig.tickets().get_system_ticket(request(60 * 1024)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");

    let mut compressed = tonic::Request::new(request(5));
    compressed.metadata_mut().insert("grpc-encoding", "canary".parse().unwrap());
    let status = rig.tickets().get_system_ticket(compressed).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "NOT_SUPPORTED");
    assert_eq!(status.metadata().get("grpc-accept-encoding").unwrap(), "identity");
    assert!(!format!("{status:?}").contains("canary"), "{status:?}");
}

#[tokio::test]
async fn what_is_no_message_is_the_callers_fault_and_says_so() {
    let rig = Rig::start().await;
    let socket = TcpStream::connect(grpc(&rig)).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    for message in [&b""[..], b"\0\0\0\0\x02\xff\xff", b"\x05\0\0\0\0", b"\0\0\0\0\x05a"] {
        let request = http::Request::post("http://ticketd/superoffice.ticket.v1.TicketService/GetSystemTicket")
            .header("content-type", "application/grpc");
        let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(message.into(), true).unwrap();
        let status = Status::from_header_map(within(answer).await.unwrap().headers()).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{message:?}: {status}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_MALFORMED");
    }
}
