//! What one signature and one verification cost, with the sandbox's keys and one of its tokens.

use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ticketd::clock::{Clock, SystemClock};
use ticketd::crypto::{
    PrivateKey, SystemUserProfile, VerificationKeys, sign_system_user_token, unverified_header, verify_system_user_jwt,
};
use ticketd::identifiers::{
    ApplicationId, ClientSecret, ContextIdentifier, Environment, SystemUserToken, UnverifiedJwt,
};
use ticketd::random::SystemRandom;
use ticketd::superoffice::{ClientAuthentication, Development, ExchangeTransport, Settings, SuperOffice};

use crate::setup::Setup;

const TIMES: u32 = 30;

pub(crate) struct Reference {
    key: PrivateKey,
    tenant: ContextIdentifier,
    token: SystemUserToken,
    jwt: UnverifiedJwt,
    keys: VerificationKeys,
    now: Timestamp,
}

impl Reference {
    /// Makes one exchange for the first tenant.
    pub(crate) async fn new(setup: &Setup) -> Self {
        let sandbox = &setup.sandbox;
        let key = PrivateKey::read(sandbox.partner_private_key_pem().unwrap().as_bytes(), None).unwrap();
        let name = &setup.tenants[0];
        let token = fs::read_to_string(setup.directory.path().join("tenants").join(&**name)).unwrap();
        let (tenant, token) = (name.parse().unwrap(), SystemUserToken::new(token));
        let settings = Settings {
            environment: Environment::Sod,
            client_id: ApplicationId::new(sandbox.client_id()),
            client_secret: ClientSecret::new(sandbox.client_secret()).into(),
            client_authentication: ClientAuthentication::Post,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            state_timeout: Duration::from_secs(2),
            max_requests_in_flight: 4,
            exchange: ExchangeTransport::Rest,
            redirect_uris: Vec::new(),
            development: Some(Development { base_url: sandbox.base_url().parse().unwrap(), extra_ca_file: None }),
        };
        let superoffice = SuperOffice::new(settings, Arc::new(SystemClock), Arc::new(SystemRandom)).unwrap();
        let now = SystemClock.now();
        let signed = sign_system_user_token(&key, &token, now).unwrap();
        let jwt = superoffice.exchange(tenant, &signed).await.unwrap();
        let keys = superoffice.verification_keys(&unverified_header(&jwt).unwrap()).await;
        Self { key, tenant, token, jwt, keys, now }
    }

    /// Processor time of a signature, and of a verification with all its checks.
    pub(crate) fn measure(&self) -> (Duration, Duration) {
        let sign = || drop(black_box(sign_system_user_token(&self.key, &self.token, self.now).unwrap()));
        let profile = SystemUserProfile {
            context_identifier: self.tenant,
            system_user_token: &self.token,
            pinned_serial: None,
            leeway: Duration::from_mins(1),
        };
        let verify = || drop(black_box(verify_system_user_jwt(&self.jwt, &self.keys, &profile, self.now).unwrap()));
        (each(sign), each(verify))
    }
}

fn each(work: impl Fn()) -> Duration {
    let before = processor_time();
    (0..TIMES).for_each(|_| work());
    processor_time().saturating_sub(before) / TIMES
}

/// Of this thread, whose account is exact only when it has just given up its processor.
fn processor_time() -> Duration {
    std::thread::sleep(Duration::from_micros(1));
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split_whitespace().next().unwrap().parse().unwrap())
}
