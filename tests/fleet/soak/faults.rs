use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use superoffice_sandbox::{Behaviour, Sandbox};

use crate::place::{Place, pass};

/// Where the audit is.
pub(super) const AUDIT: &str = "audit.jsonl";

/// Has one thing after the other go wrong at SuperOffice, with peace between. Answers how many did.
pub(super) async fn inject(sandbox: &Sandbox, fault: Duration, is_over: &AtomicBool) -> u64 {
    let behaviours = [
        Behaviour::Throttled("1".to_owned()),
        Behaviour::Status(500),
        Behaviour::Hang,
        Behaviour::Drop,
        Behaviour::Unavailable("1".to_owned()),
        Behaviour::TruncatedBody,
        Behaviour::Slow(Duration::from_millis(300)),
        Behaviour::Malformed,
    ];
    let mut faults = 0;
    for behaviour in behaviours.iter().cycle().take_while(|_| !is_over.load(Ordering::Relaxed)) {
        let knob = sandbox.set_behaviour(behaviour.clone());
        pass(fault).await;
        sandbox.clear_behaviour(knob);
        faults += 1;
        pass(fault).await;
        if faults % 8 == 0 {
            // Nobody is there at all.
            sandbox.go_down().await.unwrap();
            pass(fault).await;
            sandbox.come_up().await.unwrap();
            faults += 1;
        }
    }
    faults
}

/// Changes what ticketd follows, to something good, to something bad and back, and takes its audit's file away as
/// logrotate does.
pub(super) async fn reload(place: &Place, pause: Duration, is_over: &AtomicBool) {
    let secret = place.sandbox.client_secret().to_owned();
    let key = place.sandbox.partner_private_key_pem().unwrap().to_owned();
    for step in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        match step % 4 {
            0 => place.write("client-secret", &format!("{secret}\n")),
            1 => place.write("private-key.pem", "no key"),
            2 => place.write("private-key.pem", &key),
            _ => fs::rename(place.path(AUDIT), place.path("audit.1")).unwrap(),
        }
        pass(pause).await;
    }
    place.write("private-key.pem", &key);
}
