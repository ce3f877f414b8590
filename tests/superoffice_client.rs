//! The client of SuperOffice's side against the sandbox over TLS: from a signed token to a verified ticket.

#![expect(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "support/superoffice_settings.rs"]
mod superoffice_settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use superoffice_sandbox::{KeyRotation, Sandbox};
use ticketd::clock::{Clock, ManualClock, SystemClock};
use ticketd::crypto::{
    JwtRejection, PrivateKey, SystemUserClaims, SystemUserProfile, sign_system_user_token, unverified_header,
    verify_system_user_jwt,
};
use ticketd::identifiers::{RefreshToken, SystemUserToken};
use ticketd::random::SystemRandom;
use ticketd::superoffice::{Development, ExchangeError, Settings, SuperOffice, TenantState, UpstreamError};

use self::superoffice_settings::superoffice_settings;

fn client(sandbox: &Sandbox, extra_ca_file: Option<PathBuf>, clock: impl Clock) -> SuperOffice {
    let settings = superoffice_settings(sandbox.base_url(), sandbox.client_id(), sandbox.client_secret());
    let development = settings.development.map(|development| Development { extra_ca_file, ..development });
    let settings = Settings { development, ..settings };
    SuperOffice::new(settings, Arc::new(clock), Arc::new(SystemRandom)).unwrap()
}

/// One exchange with the verification of its outcome.
async fn ticket(superoffice: &SuperOffice, sandbox: &Sandbox, token: &str) -> Result<SystemUserClaims, JwtRejection> {
    let now = SystemClock.now();
    let token = SystemUserToken::new(token);
    let key = PrivateKey::read(sandbox.partner_private_key_pem().unwrap().as_bytes(), None).unwrap();
    let signed = sign_system_user_token(&key, &token, now).unwrap();
    let context_identifier = "Cust12345".parse().unwrap();
    let jwt = superoffice.exchange(context_identifier, &signed).await.unwrap();
    let keys = superoffice.verification_keys(&unverified_header(&jwt)?).await;
    let leeway = Duration::from_secs(30);
    let profile = SystemUserProfile { context_identifier, system_user_token: &token, pinned_serial: None, leeway };
    verify_system_user_jwt(&jwt, &keys, &profile, now)
}

#[tokio::test]
async fn a_ticket_comes_over_tls_and_verifies() {
    let sandbox = Sandbox::builder().tls(true).start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, sandbox.ca_pem().unwrap()).unwrap();
    let tenant = sandbox.add_tenant("Cust12345");
    // Its own time stands still but for us, so that the minute between key set lookups passes when we say so.
    let clock = ManualClock::new(SystemClock.now());
    let superoffice = client(&sandbox, Some(ca_file), clock.clone());

    let claims = ticket(&superoffice, &sandbox, &tenant.system_user_token).await.unwrap();
    assert_eq!(claims.serial, tenant.serial);
    let status = superoffice.tenant_state("Cust12345".parse().unwrap()).await.unwrap();
    assert_eq!(status.state, TenantState::Running);
    assert_eq!(status.webapi_url.as_deref(), Some(tenant.webapi_url.as_str()));
    let refresh_token = RefreshToken::new(sandbox.issue_refresh_token("Cust12345").unwrap());
    let fresh = superoffice.refresh_access_token(&refresh_token).await.unwrap();
    assert!(fresh.access_token.expose().starts_with("8A:Cust12345."));

    sandbox.rotate_keys(KeyRotation::NoOverlap);
    let unknown = ticket(&superoffice, &sandbox, &tenant.system_user_token).await.map(|_| ());
    assert_eq!(unknown, Err(JwtRejection::UnknownKey), "the key set was asked for under a minute ago");
    clock.advance(Duration::from_mins(1));
    assert!(ticket(&superoffice, &sandbox, &tenant.system_user_token).await.is_ok());
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_gets_no_request() {
    let sandbox = Sandbox::builder().tls(true).start().await.unwrap();
    let other = Sandbox::builder().tls(true).start().await.unwrap();
    let tenant = sandbox.add_tenant("Cust12345");
    let directory = tempfile::tempdir().unwrap();
    let other_ca_file = directory.path().join("ca.pem");
    std::fs::write(&other_ca_file, other.ca_pem().unwrap()).unwrap();
    let key = PrivateKey::read(sandbox.partner_private_key_pem().unwrap().as_bytes(), None).unwrap();
    let token = SystemUserToken::new(tenant.system_user_token);
    let signed = sign_system_user_token(&key, &token, SystemClock.now()).unwrap();
    for ca_file in [None, Some(other_ca_file)] {
        let superoffice = client(&sandbox, ca_file, SystemClock);
        let error = superoffice.exchange("Cust12345".parse().unwrap(), &signed).await.unwrap_err();
        println!("{error}");
        assert!(matches!(error, ExchangeError::Upstream(UpstreamError::Connect { .. })), "{error:?}");
    }
    assert_eq!(sandbox.total_exchanges(), 0);
}
