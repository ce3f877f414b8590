use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use ticketd::telemetry::LogFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::world::{TENANT, World};

#[tokio::test]
async fn a_log_of_warnings_says_which_call_and_which_tenant_they_are_about() {
    let world = World::builder().renewing_by_exchange().start().await;
    world.ticket(TENANT).await.unwrap();
    world.sandbox.set_tenant_serial(TENANT, "999999999").unwrap();
    let world = world.restart().await;

    let log = Log::default();
    let (writer, filter) = (log.clone(), "warn".parse::<LogFilter>().unwrap());
    let lines = fmt::layer().json().with_writer(move || writer.clone()).with_filter(filter.filter());
    let subscribed = tracing::subscriber::set_default(Registry::default().with(lines));
    world.ticket(TENANT).await.unwrap_err();
    drop(subscribed);

    let lines = log.lines();
    let line = |message: &str| lines.iter().find(|line| line["fields"]["message"] == message).expect("such a line");
    let security = line("SuperOffice's token is not for the tenant asked for");
    assert_eq!(security["fields"]["security"], true);
    assert_eq!(security["fields"]["tenant"], TENANT);
    assert_eq!(security["span"]["name"], "load");
    assert_eq!(security["span"]["tenant"], TENANT);
    let failed = line("call failed");
    assert_eq!(failed["span"]["rpc.method"], "superoffice.ticket.v1.TicketService/GetSystemTicket");
    assert_eq!(failed["span"]["superoffice.context_identifier"], TENANT);
}

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap();
        bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
