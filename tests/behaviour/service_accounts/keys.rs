//! The keys by which tokens are verified, as they come, change and go.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::generate_simple_self_signed;
use serde_json::json;
use ticketd::identifiers::UnverifiedJwt;
use ticketd::identity::{BearerError, KeySource, ServiceAccounts};
use ticketd::random::SeededRandom;
use tonic::Code;

use super::{ACCOUNT, Guarded, unavailable, unknown};
use crate::api_server::Mood;
use crate::issuer::{self, Key};
use crate::world::{eventually, reason, retry_delay, within};

#[tokio::test]
async fn keys_change_with_and_without_overlap() {
    let guarded = Guarded::start(false).await;
    guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap();
    guarded.world.clock.advance(Duration::from_mins(1));
    let old = guarded.token(ACCOUNT);
    guarded.api.change_key(Key::p256("third"), true);
    for token in [guarded.token(ACCOUNT), old] {
        guarded.ticket(&token).await.expect("both keys are published");
    }
    assert_eq!(guarded.api.key_requests(), 2, "the unknown key was looked for");

    let mut failed = 0;
    guarded.api.change_key(Key::p256("fourth"), false);
    for _second in 0..60 {
        if let Err(refused) = guarded.ticket(&guarded.token(ACCOUNT)).await {
            assert_eq!(reason(&refused), unknown());
            failed += 1;
        }
        guarded.world.clock.advance(Duration::from_secs(1));
    }
    guarded.ticket(&guarded.token(ACCOUNT)).await.expect("a minute later the new key is known");
    println!("keys changed with overlap: 0 calls failed; twice within a minute, without: {failed} s of them");
    assert_eq!(guarded.api.key_requests(), 3);

    // The old one is forgotten with that.
    let withdrawn = Key::rsa("second").sign(&issuer::claims(ACCOUNT, guarded.now()));
    assert_eq!(reason(&guarded.ticket(&withdrawn).await.unwrap_err()), unknown());
}

#[tokio::test]
async fn withdrawn_keys_are_forgotten_though_nobody_asks() {
    let guarded = Guarded::start(false).await;
    let withdrawn = |number: u32| {
        let mut claims = issuer::claims(ACCOUNT, guarded.now());
        claims["jti"] = json!(number);
        Key::rsa("second").sign(&claims)
    };
    guarded.ticket(&withdrawn(0)).await.unwrap();
    guarded.api.change_key(Key::p256("third"), false);
    guarded.world.clock.advance(Duration::from_mins(5));
    eventually("the keys are read again", || guarded.api.key_requests() == 2).await;
    // What was asked for still has to arrive. A token is believed once it was verified, so each is another.
    let refused = within(async {
        for number in 1.. {
            if let Err(refused) = guarded.ticket(&withdrawn(number)).await {
                return refused;
            }
        }
        unreachable!("numbers do not end")
    });
    assert_eq!(reason(&refused.await), unknown());
    guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap();
}

#[tokio::test]
async fn while_the_api_server_is_away_known_keys_go_on() {
    for mood in [Mood::Down, Mood::Says(503), Mood::Says(403)] {
        let guarded = Guarded::start(false).await;
        let known = guarded.token(ACCOUNT);
        guarded.ticket(&known).await.unwrap();
        guarded.api.set_mood(mood);
        for minute in 1..=30 {
            guarded.world.clock.advance(Duration::from_mins(1));
            guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap_or_else(|error| panic!("{minute}: {error}"));
        }
        let refused = guarded.ticket(&known).await.unwrap_err();
        assert_eq!(reason(&refused), unknown(), "it has expired meanwhile");

        guarded.api.change_key(Key::p256("third"), true);
        let refused = guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap_err();
        assert_eq!(reason(&refused), unavailable(), "{mood:?}: nobody can say whether this key is the cluster's");
        let wait = retry_delay(&refused).unwrap();
        assert!(wait <= Duration::from_mins(1), "{wait:?}");
        guarded.api.set_mood(Mood::Well);
        guarded.world.clock.advance(Duration::from_mins(1));
        guarded.ticket(&guarded.token(ACCOUNT)).await.expect("the new key is published");
    }
    println!("30 minutes without the API server, three ways: 0 calls with tokens of known keys failed");
}

#[tokio::test]
async fn an_api_server_that_hangs_holds_up_unknown_keys_for_five_seconds_and_no_others() {
    let guarded = Guarded::start(false).await;
    let known = guarded.token(ACCOUNT);
    guarded.world.clock.advance(Duration::from_mins(1));
    guarded.api.set_mood(Mood::Hanging);
    guarded.api.change_key(Key::p256("third"), true);
    let unknown_key = guarded.token(ACCOUNT);
    let (refused, ()) = tokio::join!(guarded.ticket(&unknown_key), async {
        eventually("the keys are asked for", || guarded.api.key_requests() == 2).await;
        guarded.ticket(&known).await.expect("a known key waits for nothing");
        guarded.world.clock.advance(Duration::from_secs(5));
    });
    assert_eq!(reason(&refused.unwrap_err()), unavailable());
    // Until the next attempt nobody waits.
    for _ in 0..10 {
        assert_eq!(reason(&guarded.ticket(&unknown_key).await.unwrap_err()), unavailable());
    }
    assert_eq!(guarded.api.key_requests(), 2);
}

#[tokio::test]
async fn a_start_without_the_api_server_waits_for_it() {
    let guarded = Guarded::bare(false, Mood::Down).await;
    let token = guarded.token(ACCOUNT);
    let refused = guarded.ticket(&token).await.unwrap_err();
    assert_eq!(reason(&refused), unavailable());
    assert!(retry_delay(&refused).unwrap() <= Duration::from_secs(5));
    guarded.api.set_mood(Mood::Well);
    guarded.world.clock.advance(Duration::from_secs(5));
    let refused = guarded.ticket(&token).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned()), "the caller is known now");
}

#[tokio::test]
async fn random_key_names_cause_one_request_a_minute() {
    let guarded = Guarded::start(false).await;
    let accounts = ServiceAccounts::new(
        guarded.api.settings(false),
        Arc::new(guarded.world.clock.clone()),
        Arc::new(SeededRandom::new(7)),
    );
    let (accounts, before) = (accounts.unwrap(), guarded.api.key_requests());
    let by_an_unknown_key = |name: &str| {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": name}).to_string());
        format!("{header}.e30.AAAA")
    };
    for minute in 1..=3 {
        for number in 0..10_000 {
            let token = UnverifiedJwt::new(by_an_unknown_key(&format!("{minute}-{number}")));
            assert!(matches!(accounts.identify(token).await, Err(BearerError::Rejected(_))));
        }
        assert_eq!(guarded.api.key_requests() - before, minute);
        guarded.world.clock.advance(Duration::from_mins(1));
    }
    for number in 0..300 {
        let refused = guarded.ticket(&by_an_unknown_key(&format!("wire-{number}"))).await.unwrap_err();
        assert_eq!(reason(&refused), unknown());
    }
    let requests = guarded.api.key_requests() - before;
    println!("10,000 random key names a minute for three minutes, and 300 over the wire: {requests} requests");
    assert_eq!(requests, 4);
}

#[tokio::test]
async fn tickets_own_token_and_the_clusters_authorities_are_read_anew() {
    let guarded = Guarded::start(false).await;
    guarded.api.change_own_token("another-own-token");
    guarded.api.change_key(Key::p256("third"), true);
    guarded.world.clock.advance(Duration::from_mins(1));
    guarded.ticket(&guarded.token(ACCOUNT)).await.expect("ticketd's new token was sent");

    let ca = std::fs::read(guarded.api.path("ca.crt")).unwrap();
    let stranger = generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    for bad in [stranger.as_str(), "", "no certificate"] {
        std::fs::write(guarded.api.path("ca.crt"), bad).unwrap();
        guarded.api.change_key(Key::p256(&format!("after {bad:.20}")), true);
        guarded.world.clock.advance(Duration::from_mins(1));
        let requests = guarded.api.key_requests();
        let refused = guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap_err();
        assert_eq!(reason(&refused), unavailable(), "{bad}");
        assert_eq!(guarded.api.key_requests(), requests, "nothing was said to a server that proved nothing");
    }
    std::fs::write(guarded.api.path("ca.crt"), ca).unwrap();
    guarded.world.clock.advance(Duration::from_mins(1));
    guarded.ticket(&guarded.token(ACCOUNT)).await.unwrap();
}

#[tokio::test]
async fn keys_from_a_file_follow_it() {
    let guarded = Guarded::start(false).await;
    let file = guarded.api.path("jwks.json");
    let (old, new) = (Key::p256("old"), Key::p256("new"));
    std::fs::write(&file, issuer::jwks([&old])).unwrap();
    let settings = ticketd::identity::Settings { keys: KeySource::File(file.clone()), ..guarded.api.settings(false) };
    let clock = guarded.world.clock.clone();
    let accounts = ServiceAccounts::new(settings, Arc::new(clock.clone()), Arc::new(SeededRandom::new(7))).unwrap();
    let identify = |key: &Key| {
        let token = UnverifiedJwt::new(key.sign(&issuer::claims(ACCOUNT, guarded.now())));
        let accounts = accounts.clone();
        async move { accounts.identify(token).await }
    };
    assert_eq!(identify(&old).await.unwrap().account.as_str(), ACCOUNT);
    std::fs::write(&file, issuer::jwks([&new])).unwrap();
    clock.advance(Duration::from_mins(1));
    identify(&new).await.unwrap();
    std::fs::write(&file, "{").unwrap();
    clock.advance(Duration::from_mins(1));
    assert!(matches!(identify(&old).await, Err(BearerError::Unavailable { .. })));
    identify(&new).await.expect("the last good keys stay");
}
