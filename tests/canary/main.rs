//! Canary secrets through whole runs of the real binary at TRACE: none may come out, in any encoding or in pieces.
//!
//! Exempt is what hands a secret out on purpose: the ticket and its request headers, the access token and the rotated
//! refresh token in an answer, an authorization URL with its state, what `ticket get --show-ticket`,
//! `ticket watch --show-ticket`, `keys convert` and `keys new-sealing-key` print.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the figures are printed")]

mod admin_port;
#[path = "../support/api_server.rs"]
mod api_server;
mod callers_tokens;
mod calls;
mod canaries;
mod channels;
mod collector;
mod commands;
#[path = "../support/configuration.rs"]
mod configuration;
mod garbage;
mod in_memory;
#[path = "../support/issuer.rs"]
mod issuer;
mod needles;
mod rig;
mod sign_ins;
#[path = "../support/store_settings.rs"]
mod store_settings;
#[path = "../support/superoffice_settings.rs"]
mod superoffice_settings;
mod trouble;

use channels::{OF_A_SERVER, OF_COMMANDS};
use rig::{Rig, Variant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaks_in_json_over_plain_http() {
    run(Variant { log_format: "json", tls: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaks_in_text_over_tls() {
    run(Variant { log_format: "text", tls: true }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaks_from_misused_commands() {
    let rig = Rig::new(Variant { log_format: "json", tls: false }).await;
    let process = rig.start().await;
    calls::as_they_should(&rig, &process).await;
    sign_ins::as_they_should(&rig, &process).await;
    commands::as_they_should(&rig, &process).await;
    commands::by_mistake(&rig, &process).await;
    commands::with_bad_configurations(&rig).await;
    process.stop(&rig.channels).await;
    rig.channels.search("commands", &OF_COMMANDS, &rig.needles());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaks_of_callers_tokens() {
    let rig = Rig::new(Variant { log_format: "json", tls: false }).await;
    let tokens = callers_tokens::used_well_and_badly(&rig).await;
    let mut needles = rig.needles();
    for (number, secret) in tokens.iter().enumerate() {
        needles.add(&format!("token {number}"), secret);
    }
    rig.channels.search("callers' tokens", &[("log", 10_000), ("gRPC errors", 5_000), ("spans", 5_000)], &needles);
}

async fn run(variant: Variant) {
    let rig = Rig::new(variant).await;
    trouble::prepare(&rig);
    let process = rig.start().await;
    calls::as_they_should(&rig, &process).await;
    sign_ins::as_they_should(&rig, &process).await;
    let misuse = async {
        sign_ins::with_secrets_in_wrong_fields(&rig, &process).await;
        calls::with_secrets_in_wrong_fields(&rig, &process).await;
        garbage::to_the_ports(&rig, &process).await;
        garbage::in_calls(&rig, &process).await;
        admin_port::with_secrets_in_wrong_places(&rig, &process).await;
    };
    tokio::join!(misuse, trouble::of_a_renewal(&rig, &process));
    trouble::of_exchanges(&rig, &process).await;
    trouble::of_other_endpoints(&rig, &process).await;
    trouble::of_everybody(&rig, &process).await;
    admin_port::looked_at(&rig, &process).await;
    // The write-ahead log while it is open, the database itself once it is closed.
    rig.note_database();
    process.stop(&rig.channels).await;
    rig.note_database();
    let needles = rig.needles();
    assert!(needles.secrets() > 300 && needles.pieces() > 500_000, "too little to look for");
    rig.channels.search(variant.log_format, &OF_A_SERVER, &needles);
}
