use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Mutex;

use jiff::Timestamp;
use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::Value;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::clock::ManualClock;
use crate::credentials::TicketError;
use crate::grpc::FILE_DESCRIPTOR_SETS;

const CANARY: &str = "canary-3f9a61c2";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap();
        bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

fn spanned<S>(handler: S) -> CallSpan<S> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    CallSpan::new(handler, Arc::clone(&clock), Arc::new(LogPace::new(clock)))
}

/// What is logged of a call to `path` that `answer` answers.
async fn logged(path: &str, answer: impl Fn() -> Option<Status> + Clone + Send + 'static) -> Vec<Value> {
    logged_of(1, path, answer).await
}

/// What is logged of so many calls at the same moment.
async fn logged_of(
    calls: usize,
    path: &str,
    answer: impl Fn() -> Option<Status> + Clone + Send + 'static,
) -> Vec<Value> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _subscribed = tracing::subscriber::set_default(subscriber);
    let handler = service_fn(move |request: Request<Body>| {
        let (answer, parts) = (answer(), request.extensions().get::<PartLog>().cloned());
        async move {
            record_caller(&CallerId::ServiceAccount("crm/sync".parse().unwrap()));
            record_tenant("Cust12345".parse().unwrap());
            let Some(status) = answer else { return std::future::pending().await };
            let status = parts.map_or_else(
                || status.clone(),
                |log| {
                    log.refused("Cust1".parse().unwrap(), &status);
                    Status::new(Code::Ok, "")
                },
            );
            Ok::<_, Infallible>(status.into_http())
        }
    });
    let service = spanned(handler);
    for _ in 0..calls {
        let request = Request::post(path).header("traceparent", TRACEPARENT).header("tracestate", CANARY);
        let mut call = service.clone().oneshot(request.body(Body::empty()).unwrap());
        let _answered = futures_util::poll!(&mut call);
        drop(call);
    }
    log.lines()
}

#[tokio::test]
async fn a_failed_call_is_logged_once_with_its_cause_method_and_tenant() {
    let path = "/superoffice.ticket.v1.TicketService/GetSystemTicket";
    let lines = logged(path, || Some(TicketError::Internal(CANARY.to_owned()).into())).await;
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["fields"]["code"], "INTERNAL");
    assert_eq!(line["fields"]["cause"], format!("an internal fault: {CANARY}"));
    assert_eq!(line["span"]["rpc.method"], "superoffice.ticket.v1.TicketService/GetSystemTicket");
    assert_eq!(line["span"]["rpc.response.status_code"], "INTERNAL");
    assert_eq!(line["span"]["error.type"], "INTERNAL");
    assert_eq!(line["span"]["superoffice.context_identifier"], "Cust12345");
    assert_eq!(line["span"]["ticketd.caller"], "serviceaccount:crm/sync");
    assert_eq!(line["span"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn what_there_is_not_of_one_of_several_tenants_is_logged_as_a_call_that_fails_once_a_second() {
    let path = "/superoffice.ticket.v1.TicketService/BatchGetSystemTickets";
    let lines = logged_of(10, path, || Some(TicketError::Internal(CANARY.to_owned()).into())).await;
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&line["level"], &line["fields"]["reason"]), (&"ERROR".into(), &"INTERNAL".into()));
    assert_eq!((&line["fields"]["tenant"], &line["fields"]["unlogged"]), (&"Cust1".into(), &0.into()));
    assert_eq!(line["fields"]["cause"], format!("an internal fault: {CANARY}"));
    assert_eq!(line["span"]["ticketd.caller"], "serviceaccount:crm/sync");
    assert!(line["span"]["otel.status_code"].is_null(), "the call did not fail: {line}");
}

#[tokio::test]
async fn a_handler_that_panics_is_answered_and_logged_as_a_fault() {
    let handler = service_fn(|_request: Request<Body>| async move {
        assert!(CANARY.is_empty(), "{CANARY}");
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let service = spanned(handler);
    let answer = service.oneshot(Request::post("/x").body(Body::empty()).unwrap()).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(status.get_details_error_info().unwrap().reason, "INTERNAL");
    assert!(!format!("{answer:?}").contains(CANARY), "{answer:?}");
}

#[tokio::test]
async fn an_overload_does_not_flood_the_log() {
    let lines = logged_of(1_000, "/grpc.health.v1.Health/Check", || Some(status::overloaded())).await;
    let [line] = lines.as_slice() else { panic!("{} lines", lines.len()) };
    assert_eq!((&line["level"], &line["fields"]["reason"]), (&"WARN".into(), &"OVERLOADED".into()));
}

#[tokio::test]
async fn a_path_that_is_no_method_of_ours_is_not_repeated() {
    let lines = logged(&format!("/{CANARY}/x"), || Some(Status::unimplemented(""))).await;
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(line["span"]["rpc.method"], OTHER);
    assert!(!line.to_string().contains("canary"), "{line}");
}

#[tokio::test]
async fn a_call_that_is_given_up_counts_as_cancelled_and_a_good_one_is_not_logged() {
    let lines = logged("/grpc.health.v1.Health/Check", || None).await;
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(line["span"]["rpc.response.status_code"], "CANCELLED");
    assert_eq!(logged("/grpc.health.v1.Health/Check", || Some(Status::new(Code::Ok, ""))).await, [] as [Value; 0]);
}

/// Every method that may be served.
fn methods() -> HashSet<String> {
    let sets = FILE_DESCRIPTOR_SETS.iter().filter_map(|set| FileDescriptorSet::decode(*set).ok());
    let mut methods = HashSet::new();
    for file in sets.flat_map(|set| set.file) {
        for service in &file.service {
            for method in &service.method {
                methods.insert(format!("{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    methods
}

#[test]
fn methods_of_every_service_are_known() {
    let methods = methods();
    for known in [
        "superoffice.ticket.v1.TicketService/GetSystemTicket",
        "superoffice.ticket.v1.TenantService/ListTenants",
        "grpc.health.v1.Health/Check",
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        assert!(methods.contains(known), "{known} in {methods:?}");
    }
    assert_eq!(methods.len(), 5 + 2 + 6 + 2 + 2, "{methods:?}");
    let named: HashSet<_> =
        METHODS.iter().filter(|method| **method != OTHER).map(|method| (*method).to_owned()).collect();
    assert_eq!(methods, named, "metrics know each of them, and no other");
}
