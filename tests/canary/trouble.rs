//! Everything that SuperOffice can do wrong, with secrets in whatever it says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt as _, stream};
use superoffice_sandbox::{Behaviour, CannedAnswer, Endpoint, JwtFlaw, Refusal, TenantState, WrongTenant};

use crate::calls::Caller;
use crate::needles::encodings;
use crate::rig::{Process, Rig, within};

/// How many tenants are in trouble at once.
const AT_ONCE: usize = 16;

/// A tenant for each trouble, put into the mounted directory before ticketd starts: refusals are remembered by tenant.
pub(crate) fn prepare(rig: &Rig) {
    for number in 0..TENANTS {
        rig.mounted_tenant(&tenant(number));
    }
    rig.mounted_tenant(RENEWED);
}

const TENANTS: usize = 250;
const RENEWED: &str = "Renewed1";

fn tenant(number: usize) -> String {
    format!("Trouble{number}")
}

/// A ticket in use whose keep-alives and renewals are refused with a secret in the refusal.
pub(crate) async fn of_a_renewal(rig: &Rig, process: &Process) {
    let caller = Caller::new(rig, &process.grpc);
    let first = caller.ticket(RENEWED, None).await.unwrap();
    caller.ticket(RENEWED, None).await.unwrap();
    let text = format!("no {} for {}", rig.canaries.client_secret, first.ticket);
    let stale = CannedAnswer { status: 401, body: text.clone() };
    rig.sandbox.set_behaviour(Behaviour::Answer(stale).at(Endpoint::WebApi).for_tenant(RENEWED));
    rig.sandbox.set_behaviour(refused(text).for_tenant(RENEWED));
    process.logged("the renewal failed").await;
    // It is logged a moment before it is noted with the ticket.
    let warning = within(async {
        loop {
            let kept = caller.ticket(RENEWED, None).await.unwrap();
            assert_eq!(kept.ticket, first.ticket);
            if let Some(warning) = kept.refresh_warning {
                return warning;
            }
        }
    });
    assert_eq!(warning.await.reason, "EXCHANGE_REFUSED");
}

/// Every trouble with an exchange, each with a tenant of its own.
pub(crate) async fn of_exchanges(rig: &Rig, process: &Process) {
    let caller = Caller::new(rig, &process.grpc);
    // Those last that make ticketd stop asking: what comes after a few of them is not sent.
    let (outages, mut troubles): (Vec<_>, Vec<_>) = troubles(rig).into_iter().partition(|it| is_outage(&it("x")));
    troubles.extend(outages);
    let count = troubles.len();
    assert!(count <= TENANTS, "{count} troubles need as many tenants");
    for (number, trouble) in troubles.into_iter().enumerate() {
        let own_token = rig.sandbox.add_tenant(&tenant(number)).system_user_token;
        rig.sandbox.set_behaviour(trouble(&own_token).at(Endpoint::Exchange).for_tenant(&tenant(number)));
    }
    let refused = stream::iter(0..count)
        .map(|number| {
            let caller = caller.clone();
            async move { caller.ticket(&tenant(number), None).await.is_err() }
        })
        .buffer_unordered(AT_ONCE)
        .filter(|refused| std::future::ready(*refused))
        .count()
        .await;
    println!("{refused} of {count} exchanges in trouble were refused");
    // A serial that is pinned at the first exchange is any; and where a tenant's API is said to be is not trusted.
    assert!(count - refused <= 3, "{refused} of {count}");
    rig.sandbox.clear_behaviours();
}

fn is_outage(behaviour: &Behaviour) -> bool {
    match behaviour {
        Behaviour::Status(status) | Behaviour::Answer(CannedAnswer { status, .. }) => *status >= 500,
        Behaviour::Drop
        | Behaviour::Hang
        | Behaviour::Malformed
        | Behaviour::TruncatedBody
        | Behaviour::HugeHeaders
        | Behaviour::HugeBody(_)
        | Behaviour::Unavailable(_)
        | Behaviour::Redirect(_) => true,
        _ => false,
    }
}

/// What SuperOffice can repeat: keys and passphrase never leave the machine.
fn known_to_superoffice(rig: &Rig) -> Vec<(&'static str, String)> {
    let own = ["passphrase", "PEM", "XML"];
    rig.secrets().into_iter().filter(|(name, _)| !own.contains(name)).collect()
}

type Trouble = Box<dyn Fn(&str) -> Behaviour>;

/// Each is given the tenant's own system user token, which SuperOffice may repeat.
fn troubles(rig: &Rig) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = Vec::new();
    let mut add = |behaviour: Behaviour| troubles.push(Box::new(move |_| behaviour.clone()));
    for flaw in JwtFlaw::ALL {
        add(Behaviour::Jwt(flaw));
    }
    for how in WrongTenant::ALL {
        add(Behaviour::WrongTenant(how));
    }
    for status in [400, 401, 403, 404, 405, 409, 410, 418, 421, 422, 500, 502, 504] {
        add(Behaviour::Status(status));
    }
    add(Behaviour::Drop);
    add(Behaviour::Hang);
    add(Behaviour::Malformed);
    add(Behaviour::TruncatedBody);
    add(Behaviour::HugeHeaders);
    add(Behaviour::HugeBody(1 << 20));
    for (_, secret) in known_to_superoffice(rig) {
        let url = percent_encoded(&secret);
        add(Behaviour::Unavailable(secret.clone()));
        add(Behaviour::Redirect(format!("http://127.0.0.1:1/{url}?token={url}#{url}")));
        for code in ["", "(1)", "(2)", "(3)", "(4)", "(5)", "(6)", "(7)"] {
            add(refused(format!("Authorization error: Refused {code}: {secret}")));
        }
        let json = serde_json::json!({ "IsSuccessful": secret, "Token": [secret], "Message": secret }).to_string();
        let jwt = serde_json::json!({ "IsSuccessful": true, "Token": secret }).to_string();
        let header = serde_json::json!({ "alg": "RS256", "typ": "JWT", "kid": secret, "x5t": secret }).to_string();
        let token = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header));
        let kid = serde_json::json!({ "IsSuccessful": true, "Token": token }).to_string();
        let html = format!("<!DOCTYPE html><title>{secret}</title>");
        for (status, body) in [(200, json), (200, jwt), (200, kid), (500, html)] {
            add(Behaviour::Answer(CannedAnswer { status, body }));
        }
        add(Behaviour::Answer(CannedAnswer { status: 403, body: secret }));
    }
    troubles.extend(echoes(rig));
    troubles
}

/// Refusals that repeat what the request said, in every encoding.
fn echoes(rig: &Rig) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = Vec::new();
    let client_secret = rig.canaries.client_secret.clone();
    for encoding in encodings(b"\xc3\xb8/\"").into_iter().map(|(name, _)| name) {
        for shift in 0..3 {
            let client_secret = client_secret.clone();
            troubles.push(Box::new(move |own_token| {
                let written = |secret: &str| {
                    let shifted = format!("{}{secret}", &"xx"[..shift]);
                    let encoded = encodings(shifted.as_bytes()).into_iter().find(|(name, _)| *name == encoding);
                    encoded.map_or(shifted, |(_, encoded)| String::from_utf8(encoded).unwrap())
                };
                refused(format!("no {}, {}.", written(own_token), written(&client_secret)))
            }));
        }
    }
    troubles
}

/// The endpoints beside the exchange.
pub(crate) async fn of_other_endpoints(rig: &Rig, process: &Process) {
    let caller = Caller::new(rig, &process.grpc);
    for (number, (_, secret)) in known_to_superoffice(rig).into_iter().enumerate() {
        let refresh_token = rig.sandbox.issue_refresh_token("Cust1").unwrap();
        for (status, body) in [
            (400, serde_json::json!({ "error": secret, "error_description": refresh_token })),
            (400, serde_json::json!({ "error": "invalid_client", "error_description": secret })),
            (401, serde_json::json!(secret)),
            (200, serde_json::json!({ "access_token": secret, "expires_in": secret })),
            (200, serde_json::json!({ "access_token": [secret] })),
        ] {
            let answer = CannedAnswer { status, body: body.to_string() };
            let knob = rig.sandbox.set_behaviour(Behaviour::Answer(answer).at(Endpoint::Tokens));
            let refresh_token = rig.sandbox.issue_refresh_token("Cust1").unwrap();
            caller.access_token("Cust1", &refresh_token).await.unwrap_err();
            rig.sandbox.clear_behaviour(knob);
        }
        let state = serde_json::json!({
            "ContextIdentifier": secret, "State": secret, "Api": format!("https://{secret}/"), "ValidUntil": secret,
        });
        let name = format!("State{number}");
        caller.put(&name, &rig.tenant(&name).system_user_token).await.unwrap();
        for (endpoint, body) in [
            (Endpoint::TenantState, state.to_string()),
            (Endpoint::Jwks, format!("{{\"keys\":[{{\"kty\":{secret:?}}}], {secret}")),
        ] {
            rig.sandbox.set_behaviour(Behaviour::Answer(CannedAnswer { status: 200, body }).at(endpoint).times(1));
        }
        // The key is known, or its set cannot be read: either will do.
        drop(caller.ticket(&name, None).await);
    }
    rig.sandbox.clear_behaviours();
    for (name, state) in [("State0", TenantState::Suspended), ("State1", TenantState::OfflineMaintenance)] {
        rig.sandbox.set_tenant_state(name, state).unwrap();
        caller.ticket(name, None).await.ok();
    }
}

/// SuperOffice asks to wait, and is gone: for everybody, so these come last.
pub(crate) async fn of_everybody(rig: &Rig, process: &Process) {
    let caller = Caller::new(rig, &process.grpc);
    rig.sandbox.set_behaviour(Behaviour::Throttled("1".to_owned()));
    caller.put("Wait", &rig.tenant("Wait").system_user_token).await.unwrap();
    caller.ticket("Wait", None).await.unwrap_err();
    rig.sandbox.clear_behaviours();
    rig.sandbox.go_down().await.unwrap();
    caller.put("Gone", &rig.tenant("Gone").system_user_token).await.unwrap();
    caller.ticket("Gone", None).await.unwrap_err();
}

fn refused(message: String) -> Behaviour {
    Behaviour::Refused(Refusal::Message(message))
}

fn percent_encoded(secret: &str) -> String {
    let encoded = encodings(secret.as_bytes()).into_iter().find(|(name, _)| *name == "percent");
    encoded.map_or(secret.to_owned(), |(_, encoded)| String::from_utf8(encoded).unwrap())
}
