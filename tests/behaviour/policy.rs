//! Callers under a policy: what each may do, and what those who may not learn from it.

use std::time::{Duration, Instant};

use superoffice_sandbox::Endpoint::{Exchange, Tokens};
use ticketd::authorization::Method;
use ticketd::grpc::proto::{
    CreateAuthorizationUrlRequest, ExchangeAuthorizationCodeRequest, ExchangeAuthorizationCodeResponse,
    ListGrantsRequest, ListTenantsRequest,
};
use tonic::{Code, Status};

use crate::browser::{administrator, to_any_tenant, to_tenant};
use crate::mesh::{Member, Mesh};
use crate::world::{TENANT, reason, retry_delay, within};

/// The sandbox knows it, and it is registered.
const OTHER: &str = "Cust777";
/// The sandbox knows it, and it is not registered.
const NEWCOMER: &str = "Cust54321";

const POLICY: &str = r#"
apiVersion: policy/v1
callers:
  - name: admin
    id: spiffe://corp/ops/admin
    rpcs: [PutTenant, GetTenant, ListTenants, DeleteTenant, ListGrants, RevokeGrant]
    tenants: ["*"]
  - name: sync
    id: spiffe://corp/crm/sync
    rpcs: [GetSystemTicket, InvalidateSystemTicket, RefreshAccessToken, CreateAuthorizationUrl, ExchangeAuthorizationCode]
    tenants: [Cust12345, Cust999]
    appToken: true
  - name: portal
    id: spiffe://corp/portal/*
    rpcs: [GetSystemTicket, CreateAuthorizationUrl, ExchangeAuthorizationCode]
    tenants: ["*"]
  - name: slow
    id: spiffe://corp/slow
    rpcs: [GetSystemTicket]
    tenants: ["*"]
    limits: {rps: 5, burst: 10}
"#;

fn not_authorized() -> (Code, String) {
    (Code::PermissionDenied, "CALLER_NOT_AUTHORIZED".to_owned())
}

async fn mesh() -> (Mesh, Member) {
    let mesh = Mesh::under(POLICY).await;
    let admin = mesh.member("ops/admin");
    for tenant in [TENANT, OTHER] {
        mesh.register(&admin, tenant).await;
    }
    (mesh, admin)
}

/// Everything that a caller can see of a refusal.
fn seen(status: &Status) -> String {
    let mut headers = status.metadata().clone();
    headers.remove("date");
    format!("{:?} {:?} {:?} {headers:?}", status.code(), status.message(), status.details())
}

#[tokio::test]
async fn whoever_may_not_know_of_a_tenant_gets_the_same_answer_for_each_and_nothing_is_looked_up() {
    let (mesh, _admin) = mesh().await;
    let (stranger, sync) = (mesh.member("nobody"), mesh.member("crm/sync"));
    mesh.member("portal/web").ticket(OTHER).await.unwrap();
    let exchanges = mesh.world.sandbox.requests(Exchange);
    let (mut answers, mut outcomes) = (Vec::new(), Vec::new());
    for method in Method::ALL {
        for tenant in [TENANT, OTHER, NEWCOMER, "Cust404"] {
            let refused = stranger.call(method, tenant).await.expect_err(method.name());
            // A refusal within an answer has no headers.
            if method == Method::BatchGetSystemTickets { &mut outcomes } else { &mut answers }.push(refused);
        }
    }
    for tenant in [OTHER, NEWCOMER, "Cust404"] {
        for method in [Method::GetSystemTicket, Method::RefreshAccessToken, Method::InvalidateSystemTicket] {
            answers.push(sync.call(method, tenant).await.expect_err(method.name()));
        }
    }
    assert!(answers.iter().all(|status| reason(status) == not_authorized()));
    assert!(answers.iter().all(|status| seen(status) == seen(&answers[0])), "{answers:#?}");
    assert!(outcomes.iter().all(|status| reason(status) == not_authorized()));
    assert!(outcomes.iter().all(|status| status.details() == answers[0].details()), "{outcomes:#?}");
    assert_eq!(mesh.world.sandbox.requests(Exchange), exchanges);
    println!("{} refusals, registered or not, are the same {} bytes", answers.len(), answers[0].details().len());
}

#[tokio::test]
async fn a_refusal_takes_as_long_for_a_tenant_that_there_is() {
    let (mesh, _admin) = mesh().await;
    mesh.member("portal/web").ticket(OTHER).await.unwrap();
    let (sync, rounds) = (mesh.member("crm/sync"), 500);
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 0..rounds {
        // Whatever slows the machine down for a while slows both.
        for at in [round % 2, 1 - round % 2] {
            #[expect(clippy::disallowed_methods, reason = "how long it takes is what is measured")]
            let start = Instant::now();
            sync.ticket([OTHER, "Cust404"][at]).await.unwrap_err();
            times[at].push(start.elapsed());
        }
    }
    let [there, absent] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    let difference = there.abs_diff(absent).as_secs_f64() / absent.as_secs_f64() * 100.0;
    println!(
        "refused for a cached tenant in {there:?}, for one that there is not in {absent:?} (medians): {difference:.1} % apart"
    );
    assert!(difference < 20.0, "{there:?} {absent:?}");
}

#[tokio::test]
async fn an_entitled_caller_learns_that_its_tenant_is_not_registered() {
    let (mesh, admin) = mesh().await;
    let sync = mesh.member("crm/sync");
    let not_found = (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned());
    assert_eq!(reason(&sync.ticket("Cust999").await.unwrap_err()), not_found);
    assert_eq!(reason(&admin.call(Method::GetTenant, "Cust999").await.unwrap_err()), not_found);
    sync.ticket("cUST12345").await.expect("case is ignored");
    // To administer is not to use.
    assert_eq!(reason(&admin.ticket(TENANT).await.unwrap_err()), not_authorized());
    assert_eq!(reason(&mesh.member("portal").ticket(TENANT).await.unwrap_err()), not_authorized());
    let tenants = within(admin.tenants().list_tenants(ListTenantsRequest::default())).await.unwrap().into_inner();
    assert_eq!(tenants.tenants.len(), 2);
}

#[tokio::test]
async fn the_client_secret_goes_to_whom_the_policy_grants_it_and_to_nobody_else() {
    let (mesh, _admin) = mesh().await;
    let ticket = mesh.member("crm/sync").ticket(TENANT).await.unwrap();
    let header = |name: &str| ticket.request_headers[name].as_str();
    assert_eq!(header("Authorization"), format!("SOTicket {}", ticket.ticket));
    assert_eq!(header("SO-AppToken"), mesh.world.sandbox.client_secret());
    assert_eq!(ticket.request_headers.len(), 2);
    let other = mesh.member("portal/web").ticket(TENANT).await.unwrap();
    assert_eq!((other.ticket, other.request_headers.len()), (ticket.ticket, 0));
}

/// Begins a sign-in as this caller, and lets `user` approve it.
async fn approved(
    mesh: &Mesh,
    member: &Member,
    request: CreateAuthorizationUrlRequest,
    user: &str,
) -> ExchangeAuthorizationCodeRequest {
    let begun = within(member.authorization().create_authorization_url(request)).await.unwrap().into_inner();
    let redirect = mesh.world.sandbox.approve(&begun.authorization_url, user).unwrap();
    let redirect = url::Url::parse(&redirect).unwrap();
    let (_, code) = redirect.query_pairs().find(|(name, _)| name == "code").unwrap();
    ExchangeAuthorizationCodeRequest { state: begun.state, code: code.into_owned() }
}

async fn finish(
    member: &Member,
    answer: &ExchangeAuthorizationCodeRequest,
) -> Result<ExchangeAuthorizationCodeResponse, Status> {
    Ok(within(member.authorization().exchange_authorization_code(answer.clone())).await?.into_inner())
}

#[tokio::test]
async fn a_sign_in_to_a_tenant_that_its_caller_may_not_use_leaves_nothing_behind() {
    let (mesh, admin) = mesh().await;
    mesh.world.sandbox.add_tenant(NEWCOMER);
    let (sync, portal) = (mesh.member("crm/sync"), mesh.member("portal/web"));
    let to_newcomer = CreateAuthorizationUrlRequest { context_identifier: NEWCOMER.to_owned(), ..to_any_tenant() };
    let refused = within(sync.authorization().create_authorization_url(to_newcomer)).await.unwrap_err();
    assert_eq!(reason(&refused), not_authorized());

    // The user chooses, and chooses another tenant.
    let answer = approved(&mesh, &sync, to_any_tenant(), &administrator(NEWCOMER)).await;
    let exchanged = finish(&sync, &answer).await.unwrap_err();
    assert_eq!(seen(&exchanged), seen(&refused), "it does not even show that the user approved");
    let not_found = (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned());
    assert_eq!(reason(&admin.call(Method::GetTenant, NEWCOMER).await.unwrap_err()), not_found);
    let request = ListGrantsRequest { context_identifier: NEWCOMER.to_owned(), ..Default::default() };
    let grants = within(admin.tenants().list_grants(request)).await.unwrap().into_inner().grants;
    assert_eq!(grants, []);

    let answer = approved(&mesh, &sync, to_any_tenant(), &administrator(TENANT)).await;
    assert_eq!(finish(&sync, &answer).await.unwrap().context_identifier, TENANT);
    let answer = approved(&mesh, &portal, to_any_tenant(), &administrator(NEWCOMER)).await;
    assert_eq!(finish(&portal, &answer).await.unwrap().context_identifier, NEWCOMER);
}

#[tokio::test]
async fn a_sign_in_is_ended_by_the_caller_that_began_it() {
    let (mesh, _admin) = mesh().await;
    let (sync, web, app) = (mesh.member("crm/sync"), mesh.member("portal/web"), mesh.member("portal/app"));
    let answer = approved(&mesh, &web, to_tenant(), &administrator(TENANT)).await;
    let requests = mesh.world.sandbox.requests(Tokens);
    for other in [&sync, &app] {
        let refused = finish(other, &answer).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::FailedPrecondition, "SIGN_IN_OTHER_OWNER".to_owned()));
    }
    let refused = finish(&mesh.member("nobody"), &answer).await.unwrap_err();
    assert_eq!(reason(&refused), not_authorized());
    assert_eq!(mesh.world.sandbox.requests(Tokens), requests, "the code was not sent");
    // It waited, and the same caller ends it on whichever connection.
    finish(&mesh.member("portal/web"), &answer).await.unwrap();
    let again = finish(&web, &answer).await.unwrap_err();
    assert_eq!(reason(&again).1, "SIGN_IN_UNKNOWN");
}

#[tokio::test]
async fn a_caller_is_held_to_its_rate_and_the_others_are_not() {
    let (mesh, _admin) = mesh().await;
    let (slow, portal) = (mesh.member("slow"), mesh.member("portal/web"));
    slow.ticket(TENANT).await.unwrap();
    mesh.clock.advance(Duration::from_secs(10));
    for call in 0..10 {
        slow.ticket(TENANT).await.unwrap_or_else(|status| panic!("{call}: {status}"));
    }
    for method in [Method::GetSystemTicket, Method::GetTenant] {
        let refused = slow.call(method, TENANT).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::ResourceExhausted, "CALLER_RATE_LIMITED".to_owned()), "whatever it asks");
        assert_eq!(retry_delay(&refused), Some(Duration::from_millis(200)));
    }
    portal.ticket(TENANT).await.expect("another caller has its own");
    // One connection or many: the caller counts.
    assert_eq!(reason(&mesh.member("slow").ticket(TENANT).await.unwrap_err()).1, "CALLER_RATE_LIMITED");
    mesh.clock.advance(Duration::from_millis(200));
    slow.ticket(TENANT).await.expect("it came when it was told to");

    let (mut admitted, calls) = (0, 500);
    for _ in 0..calls {
        mesh.clock.advance(Duration::from_millis(20));
        admitted += u32::from(slow.ticket(TENANT).await.is_ok());
    }
    println!("{calls} calls in 10 s of a caller with 5 a second: {admitted} admitted");
    assert_eq!(admitted, 50);
}
