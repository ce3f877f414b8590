mod signer;
mod signing_keys;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{error, info, warn};

use self::signer::{Signer, SigningKeys};
pub use self::signing_keys::CurrentSigningKeys;
use super::error::{PERMANENT, STORE_PAUSE, UpstreamTrouble};
use super::fleet::Fleet;
use super::keep_alive::KeepAlive;
use super::standings::Standings;
use super::{Settings, SystemTicket, TicketError};
use crate::audit::{Audit, Event};
use crate::clock::Clock;
use crate::crypto::{
    Fingerprinter, JwtRejection, KeptAuditName, SystemUserClaims, SystemUserProfile, issued_for, unverified_header,
    verify_system_user_jwt,
};
use crate::identifiers::{ContextIdentifier, UnverifiedJwt};
use crate::metrics;
use crate::random::Random;
use crate::store::{Observations, SharedTickets, StoreError, Tenant, Tenants};
use crate::superoffice::retry::{RetryBucket, Retryable, with_retries};
use crate::superoffice::{AuthorizeErrorCode, ExchangeError, SuperOffice, TenantStatus, UpstreamError};

/// How often one exchange is tried in its budget.
const ATTEMPTS: u32 = 3;
/// How long an exchange waits for its turn. With its budget that is about as long as a call may take.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How long the store may take in a load, which asks it a few times. It has limits of its own.
const LONGEST_IN_THE_STORE: Duration = Duration::from_secs(20);

/// One exchange from end to end: the tenant's system user token becomes a verified ticket.
#[derive(Debug)]
pub struct Exchange {
    settings: Settings,
    superoffice: Arc<SuperOffice>,
    tenants: Arc<dyn Tenants>,
    standings: Standings,
    signer: Signer,
    fingerprinter: Fingerprinter,
    audit: Audit,
    retries: RetryBucket,
    places: Semaphore,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Exchange {
    /// `signing_keys` are tried in their order; others may take their place at any time.
    pub fn new(
        settings: Settings,
        superoffice: Arc<SuperOffice>,
        tenants: Arc<dyn Tenants>,
        signing_keys: CurrentSigningKeys,
        fingerprinter: Fingerprinter,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let places = superoffice.max_requests_in_flight().clamp(1, Semaphore::MAX_PERMITS);
        let standings = Standings::new(Arc::clone(&superoffice), Arc::clone(&tenants), Arc::clone(&clock));
        Self {
            settings,
            superoffice,
            tenants,
            standings,
            signer: Signer::new(signing_keys),
            fingerprinter,
            audit: Audit::off(),
            retries: RetryBucket::default(),
            places: Semaphore::new(places),
            clock,
            random,
        }
    }

    /// Writes down what an attacker may be behind.
    #[must_use]
    pub fn audited_by(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// The tenant, if it is registered.
    pub(super) async fn registered(&self, asked_for: ContextIdentifier) -> Result<Tenant, TicketError> {
        self.tenants.find(asked_for).await?.ok_or(TicketError::NotRegistered)
    }

    /// Exchanges the tenant's system user token, with retries in a budget. The ticket is verified and fit to be kept.
    pub(super) async fn run(&self, tenant: &Tenant) -> Result<SystemTicket, TicketError> {
        let _place = self.place().await?;
        let status = self.standings.usable_to_keep(tenant.context_identifier).await?;
        let budget = self.settings.exchange_budget;
        let attempt = || self.attempt(tenant);
        let (sent, jwt) = with_retries(&*self.clock, &*self.random, budget, ATTEMPTS, &self.retries, attempt).await?;
        let claims = self.verify(tenant, &jwt).await?;
        let webapi_url = self.webapi_url(tenant, &status, &claims);
        self.keep(tenant, &claims.serial, webapi_url.as_deref()).await?;
        Ok(self.ticket(tenant, claims, sent, webapi_url))
    }

    /// Fails while no exchange would be sent, whatever the tenant: nobody is to wait for a place or a state in vain.
    pub(super) fn check_circuit(&self) -> Result<(), TicketError> {
        self.superoffice.check_circuit().map_err(|error| UpstreamTrouble::from(error).into())
    }

    /// Longer than a load takes with all its steps, each at its own limit: two uses of the ticket and an exchange, with a
    /// lookup of the tenant's state before each, the key set's request, the store, and the turns among this process's
    /// exchanges and among the processes that share tickets.
    pub(super) fn longest_load(&self) -> Duration {
        let requests = (self.superoffice.request_timeout() + self.superoffice.state_timeout()) * 3;
        requests + LONGEST_WAIT * 2 + self.settings.exchange_budget + LONGEST_IN_THE_STORE
    }

    /// Whether exchanges wait for their turn.
    pub(super) fn is_crowded(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// How the tenants stand that are exchanged for.
    pub(super) fn standings(&self) -> Standings {
        self.standings.clone()
    }

    /// What keeps alive the tickets that were exchanged for.
    pub(super) fn keep_alive(&self) -> KeepAlive {
        KeepAlive::new(Arc::clone(&self.superoffice), self.standings(), Arc::clone(&self.clock))
    }

    /// What is done together with the other processes that share tickets, if any do.
    pub(super) fn fleet(&self, shared: Option<Arc<dyn SharedTickets>>) -> Fleet {
        Fleet {
            shared,
            tenants: Arc::clone(&self.tenants),
            superoffice: Arc::clone(&self.superoffice),
            settings: self.settings.clone(),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
        }
    }

    /// A place among the exchanges under way, as many as there may be requests. Waiting for it is no part of the
    /// exchange's own time: in a crowd of cold tenants each would use that up by waiting for the others.
    async fn place(&self) -> Result<SemaphorePermit<'_>, TicketError> {
        tokio::select! {
            biased;
            place = self.places.acquire() => place.map_err(|_| busy()),
            () = self.clock.sleep(LONGEST_WAIT) => Err(busy()),
        }
    }

    /// Signs and sends once for each key, until one is taken. Each attempt signs anew: the signature tells the minute.
    async fn attempt(&self, tenant: &Tenant) -> Result<(Timestamp, UnverifiedJwt), AttemptError> {
        let mut refusal = AttemptError::NoSigningKey;
        let keys = self.signer.keys();
        for key in self.signer.in_order(&keys) {
            match self.attempt_with(tenant, &keys, key).await {
                Ok(sent) => {
                    self.signer.prefer(key);
                    return Ok(sent);
                }
                Err(error) if error.code() == Some(AuthorizeErrorCode::InvalidSignature) => {
                    warn!(key, "SuperOffice refused the signature of this signing key");
                    refusal = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal)
    }

    /// Sends what is signed by our clock and, if SuperOffice refuses its time, once by SuperOffice's own.
    async fn attempt_with(
        &self,
        tenant: &Tenant,
        keys: &SigningKeys,
        key: usize,
    ) -> Result<(Timestamp, UnverifiedJwt), AttemptError> {
        let refusal = match self.send(tenant, keys, key, SignedDuration::ZERO).await {
            Err(error) if error.code() == Some(AuthorizeErrorCode::InvalidTimestamp) => error,
            outcome => return outcome,
        };
        let Some(skew) = self.superoffice.clock_offset() else { return Err(refusal) };
        warn!(seconds = skew.as_secs(), "SuperOffice refused our time: trying once with its own");
        self.send(tenant, keys, key, skew).await
    }

    async fn send(
        &self,
        tenant: &Tenant,
        keys: &SigningKeys,
        key: usize,
        skew: SignedDuration,
    ) -> Result<(Timestamp, UnverifiedJwt), AttemptError> {
        let time = self.clock.now();
        let by_their_clock = time.saturating_add(skew).unwrap_or(time);
        let signed = self.signer.sign(keys, key, tenant.system_user_token.clone(), by_their_clock).await?;
        let jwt = self.superoffice.exchange(tenant.context_identifier, &signed).await?;
        Ok((time, jwt))
    }

    /// Checks the JWT by our clock, or by SuperOffice's where the two are farther apart than the leeway: `Date` came by
    /// the same TLS connections as the keys, and a ticket that is thrown away has written its row all the same.
    async fn verify(&self, tenant: &Tenant, jwt: &UnverifiedJwt) -> Result<SystemUserClaims, TicketError> {
        let profile = SystemUserProfile {
            context_identifier: tenant.context_identifier,
            system_user_token: &tenant.system_user_token,
            pinned_serial: tenant.serial.as_deref(),
            leeway: self.settings.clock_leeway,
        };
        let rejected = |rejection| self.rejected(tenant.context_identifier, rejection);
        let header = unverified_header(jwt).map_err(rejected)?;
        let keys = self.superoffice.verification_keys(&header).await;
        let now = self.clock.now();
        let mut outcome = verify_system_user_jwt(jwt, &keys, &profile, now);
        let skew = self.superoffice.clock_offset().unwrap_or_default();
        if outcome.as_ref().is_err_and(JwtRejection::is_about_time) && skew.unsigned_abs() > profile.leeway {
            warn!(seconds = skew.as_secs(), "SuperOffice's clock is not ours: its token is checked by its own");
            outcome = verify_system_user_jwt(jwt, &keys, &profile, now.saturating_add(skew).unwrap_or(now));
        }
        outcome.map_err(rejected)
    }

    /// The state API's URL, or else the last known one, or else the verified claim.
    fn webapi_url(&self, tenant: &Tenant, status: &TenantStatus, claims: &SystemUserClaims) -> Option<Arc<str>> {
        let checked = |url: &String| self.superoffice.checked_tenant_url(url).map(Arc::from);
        let known = status.webapi_url.clone().or_else(|| tenant.webapi_url.as_ref().and_then(checked));
        known.or_else(|| claims.webapi_url.as_ref().and_then(checked))
    }

    /// Pins the database serial at the first exchange, and keeps the address for when SuperOffice does not tell it.
    /// Replicas may race: the first one pins, the others compare. If it cannot be kept the next exchange tells it again:
    /// this one's row is written, and refusing its ticket would write another.
    async fn keep(&self, tenant: &Tenant, serial: &str, webapi_url: Option<&str>) -> Result<(), TicketError> {
        // Not again what is pinned: an operator may have it forgotten this moment, for another to be pinned.
        let first = tenant.serial.is_none().then(|| serial.to_owned());
        let told = Observations { serial: first, webapi_url: webapi_url.map(ToOwned::to_owned) };
        let kept = match self.tenants.observe(tenant, &told).await {
            Ok(kept) => kept,
            Err(StoreError::NotRegistered { .. }) => return Err(TicketError::NotRegistered),
            Err(error) => {
                warn!(%error, "the tenant's database serial and API address cannot be kept");
                return Ok(());
            }
        };
        if kept.serial.is_some_and(|kept| kept != serial) {
            return Err(self.rejected(tenant.context_identifier, JwtRejection::SerialMismatch));
        }
        if tenant.serial.is_none() {
            info!(serial, "pinned the tenant's database serial");
        }
        Ok(())
    }

    /// A token for somebody else is told of by itself: its exchange may have been nobody's call.
    fn rejected(&self, tenant: ContextIdentifier, rejection: JwtRejection) -> TicketError {
        metrics::JWT_REJECTED.count(&[rejection.reason()]);
        if !rejection.is_tenant_mismatch() {
            return TicketError::TokenInvalid(rejection);
        }
        let reason = rejection.reason();
        error!(%tenant, reason, security = true, "SuperOffice's token is not for the tenant asked for");
        self.audit.note(&Event::of_security(tenant, reason));
        TicketError::TenantMismatch(rejection)
    }

    fn ticket(
        &self,
        tenant: &Tenant,
        claims: SystemUserClaims,
        sent: Timestamp,
        webapi_url: Option<Arc<str>>,
    ) -> SystemTicket {
        let (expire_time, refresh_time) = self.settings.times_of(sent, &*self.random);
        let fingerprint = self.fingerprinter.fingerprint(&claims.ticket);
        SystemTicket {
            context_identifier: tenant.context_identifier,
            fingerprint,
            issued_for: issued_for(&claims.ticket, fingerprint, &tenant.system_user_token),
            ticket: claims.ticket,
            issue_time: sent,
            expire_time,
            refresh_time,
            webapi_url,
            netserver_url: claims
                .netserver_url
                .and_then(|url| self.superoffice.checked_tenant_url(&url))
                .map(Into::into),
            audit_name: KeptAuditName::default(),
        }
    }
}

fn busy() -> TicketError {
    UpstreamTrouble::from(UpstreamError::Busy).into()
}

/// Why one attempt at an exchange failed.
#[derive(Debug)]
enum AttemptError {
    Exchange(ExchangeError),
    Signing(String),
    NoSigningKey,
}

impl AttemptError {
    fn code(&self) -> Option<AuthorizeErrorCode> {
        match self {
            Self::Exchange(ExchangeError::Refused { code, .. }) => *code,
            Self::Exchange(ExchangeError::Upstream(_)) | Self::Signing(_) | Self::NoSigningKey => None,
        }
    }
}

impl From<ExchangeError> for AttemptError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(error)
    }
}

impl Retryable for AttemptError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Exchange(error) if error.is_transient())
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Exchange(error) => error.retry_after(),
            Self::Signing(_) | Self::NoSigningKey => None,
        }
    }

    fn is_time_out(&self) -> bool {
        matches!(self, Self::Exchange(error) if error.is_time_out())
    }

    fn timed_out() -> Self {
        Self::Exchange(ExchangeError::timed_out())
    }
}

impl From<AttemptError> for TicketError {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Exchange(error) => error.into(),
            AttemptError::Signing(cause) => Self::Internal(format!("signing failed: {cause}")),
            AttemptError::NoSigningKey => Self::Internal("no signing key is configured".into()),
        }
    }
}

impl From<ExchangeError> for TicketError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused { code: Some(code), message, .. } => match code {
                AuthorizeErrorCode::InvalidTimestamp => Self::ClockSkew { retry_after: PERMANENT },
                AuthorizeErrorCode::InvalidSignature => Self::SigningKeyRejected,
                AuthorizeErrorCode::InvalidRedirectUrl => Self::Refused { message },
                AuthorizeErrorCode::Revoked
                | AuthorizeErrorCode::Expired
                | AuthorizeErrorCode::Denied
                | AuthorizeErrorCode::NeedsReapproval => Self::Authorization(code),
            },
            ExchangeError::Refused { code: None, message, .. } => Self::Refused { message },
            ExchangeError::Upstream(error) => UpstreamTrouble::from(error).into(),
        }
    }
}

/// A token that does not hold for `tenant`. One that is another tenant's is told to whoever watches over security.
impl From<StoreError> for TicketError {
    fn from(error: StoreError) -> Self {
        match error {
            // It was removed while its exchange was under way.
            StoreError::NotRegistered { .. } => Self::NotRegistered,
            StoreError::TenantFile { .. } | StoreError::BadRecord { .. } => Self::TenantUnusable(error.to_string()),
            other => Self::StoreUnavailable { cause: other.to_string(), retry_after: STORE_PAUSE },
        }
    }
}
