//! `ticketd ticket watch`, beside a server that goes and comes back.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};

use crate::place::{Place, TENANT, within};

/// A command that runs until it is told to end.
struct Watching {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
}

impl Watching {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut process = place.ticketd([&["ticket", "watch"], arguments].concat()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let errors = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, output, errors }
    }

    async fn line(&mut self) -> String {
        within(self.output.next_line()).await.unwrap().expect("it goes on")
    }

    async fn error(&mut self) -> String {
        within(self.errors.next_line()).await.unwrap().expect("it says why")
    }

    async fn interrupt(mut self) -> ExitStatus {
        let id = Pid::from_raw(self.process.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(id, Signal::INT).unwrap();
        within(self.process.wait()).await.unwrap()
    }
}

#[tokio::test]
async fn watched_tickets_are_told_of_through_a_restart_until_ctrl_c() {
    let place = Place::new().await;
    place.put_tenant().await;
    let server = place.serve().await;
    let url = server.url();
    let mut watching = Watching::start(&place, &[TENANT, "Cust404", "--json", "--address", &url]);
    let mut shown = Watching::start(&place, &[TENANT, "--show-ticket", "--address", &url]);
    let (one, other) = (watching.line().await, watching.line().await);
    assert!(!format!("{one}{other}").contains("7T:"), "{one} {other}");
    let mut told = [one, other].map(|line| serde_json::from_str::<Value>(&line).unwrap());
    told.sort_by_key(|line| line["context_identifier"].to_string());
    assert_eq!((&told[0]["context_identifier"], &told[0]["tenant_state"]), (&TENANT.into(), &"running".into()));
    assert_eq!(
        (&told[1]["context_identifier"], &told[1]["reason"]),
        (&"Cust404".into(), &"TENANT_NOT_REGISTERED".into())
    );
    assert!(shown.line().await.starts_with(&format!("{TENANT} 7T:")));

    place.configure("server.address", &format!("\"{}\"", server.address));
    server.kill().await;
    let lost = watching.error().await;
    assert!(lost.starts_with("ticketd: ") && lost.ends_with(": watching again"), "{lost}");
    let _server = place.serve().await;
    let again = [watching.line().await, watching.line().await];
    assert!(again.iter().any(|line| line.contains("\"tenant_state\":\"running\"")), "{again:?}");
    assert!(shown.line().await.starts_with(&format!("{TENANT} 7T:")));
    assert_eq!(watching.interrupt().await.signal(), Some(Signal::INT.as_raw()));
    assert_eq!(shown.interrupt().await.signal(), Some(Signal::INT.as_raw()));
}

#[tokio::test]
async fn a_watch_that_cannot_be_is_refused_at_once() {
    let place = Place::new().await;
    let server = place.serve().await;
    let many: Vec<_> = (0..101).map(|number| format!("Cust{number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let url = server.url();
    let refused = place.run(&[&["ticket", "watch", "--address", &url], &many[..]].concat()).await;
    assert_eq!((refused.code, refused.output.as_str()), (Some(1), ""));
    assert!(refused.errors.starts_with("ticketd: InvalidArgument CONTEXT_IDENTIFIERS_INVALID: "), "{}", refused.errors);
    let nobody = place.run(&["ticket", "watch", TENANT, "--address", "http://127.0.0.1:1"]).await;
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.errors.starts_with("ticketd: cannot connect to http://127.0.0.1:1/: "), "{}", nobody.errors);
}
