//! Tenants and what was issued for them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::contacts::{Caller, Contacts};
use crate::users::{self, SandboxUser};
use crate::world::{alphanumeric, base64, hex, random_alphanumeric, random_bytes};

/// A tenant as a partner knows it after onboarding.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SandboxTenant {
    /// The tenant's name, such as `Cust12345`.
    pub context_identifier: String,
    /// What the partner signs. The same for the same application name and tenant at every start.
    pub system_user_token: String,
    /// The database's serial number.
    pub serial: String,
    /// Where its Web API is, with a slash at the end.
    pub webapi_url: String,
    /// Who can sign in. A new tenant has an administrator, `admin@cust12345.example.com`, and another user,
    /// `user@cust12345.example.com`.
    pub users: Vec<SandboxUser>,
}

impl fmt::Debug for SandboxTenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SandboxTenant").field(&self.context_identifier).finish()
    }
}

/// The states that SuperOffice's state API knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "SuperOffice documents the names and nothing more")]
pub enum TenantState {
    Unknown,
    Provisioning,
    Running,
    Deleted,
    Suspended,
    OnlineMaintenance,
    OfflineMaintenance,
    ProvisioningFailed,
    Deleting,
    DeleteFailed,
    MigrationPending,
}

impl TenantState {
    /// Whether the tenant's API answers.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::OnlineMaintenance)
    }
}

/// A tenant's database.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) context_identifier: String,
    pub(crate) system_user_token: String,
    pub(crate) serial: String,
    pub(crate) state: TenantState,
    pub(crate) host: usize,
    /// Rows in its credentials table: one an exchange.
    pub(crate) exchanges: u64,
    /// The JWT of its last exchange, to be replayed.
    pub(crate) last_jwt: Option<String>,
    pub(crate) users: Vec<SandboxUser>,
    /// Whether its users' ID tokens carry the system user token, if the application has that claim at all.
    pub(crate) system_token_claim: bool,
    pub(crate) contacts: Contacts,
}

#[derive(Default)]
pub(crate) struct Tenants {
    /// By the ContextIdentifier in lower case.
    by_name: BTreeMap<String, Tenant>,
    /// The system user's.
    tickets: HashMap<String, Issued>,
    access_tokens: HashMap<String, AccessToken>,
    refresh_tokens: HashMap<String, SignedIn>,
}

/// Whose a refresh token is.
#[derive(Clone)]
struct SignedIn {
    tenant: String,
    user: SandboxUser,
}

/// What a user's access token opens, and in whose name.
struct AccessToken {
    issued: Issued,
    user: SandboxUser,
}

struct Issued {
    tenant: String,
    expires: Timestamp,
}

impl Tenants {
    /// Adds a tenant, or gives an existing one another token.
    pub(crate) fn add(
        &mut self,
        context_identifier: &str,
        application_name: &str,
        system_user_token: Option<&str>,
    ) -> Tenant {
        let digest = Sha256::digest(format!("{application_name}\n{}", key(context_identifier)));
        let made = || format!("{application_name}-{}", alphanumeric(&digest[..10]));
        let token = system_user_token.map_or_else(made, str::to_owned);
        let tenant = self.by_name.entry(key(context_identifier)).or_insert_with(|| Tenant {
            context_identifier: context_identifier.to_owned(),
            system_user_token: token.clone(),
            serial: serial(&digest),
            state: TenantState::Running,
            host: 0,
            exchanges: 0,
            last_jwt: None,
            users: users::of_a_new_tenant(context_identifier),
            system_token_claim: true,
            contacts: Contacts::default(),
        });
        if system_user_token.is_some() {
            tenant.system_user_token = token;
        }
        tenant.clone()
    }

    pub(crate) fn find(&self, context_identifier: &str) -> Option<&Tenant> {
        self.by_name.get(&key(context_identifier))
    }

    pub(crate) fn find_mut(&mut self, context_identifier: &str) -> Option<&mut Tenant> {
        self.by_name.get_mut(&key(context_identifier))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Tenant> {
        self.by_name.values()
    }

    /// Another tenant's database, for answers that mix tenants up; a made-up one if there is only one tenant.
    pub(crate) fn other_than(&self, context_identifier: &str) -> Tenant {
        let other =
            self.by_name.values().find(|tenant| !tenant.context_identifier.eq_ignore_ascii_case(context_identifier));
        other.cloned().unwrap_or_else(|| Self::default().add("Cust99999", "Other Application", None))
    }

    /// Makes a ticket without writing a row.
    pub(crate) fn make_ticket(&mut self, context_identifier: &str, life: Duration, now: Timestamp) -> String {
        // `<GUID>;<integer>;<ContextIdentifier>` in UTF-16.
        let number = i32::from_be_bytes(random_bytes()) & i32::MAX;
        let text = format!("{};{number};{context_identifier}", hex(&random_bytes::<16>()));
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let ticket = format!("7T:{}", base64(&utf16));
        self.tickets.insert(ticket.clone(), Issued::until(context_identifier, life, now));
        ticket
    }

    /// Whether the ticket is this tenant's and still lives; a use gives it its whole life anew.
    pub(crate) fn use_ticket(
        &mut self,
        ticket: &str,
        context_identifier: &str,
        life: Duration,
        now: Timestamp,
    ) -> bool {
        let Some(issued) = self.tickets.get_mut(ticket) else { return false };
        if issued.expires <= now {
            // An expired ticket cannot be renewed, so it need not be remembered.
            self.tickets.remove(ticket);
            return false;
        }
        let own = issued.tenant == key(context_identifier);
        if own {
            issued.expires = later(now, life);
        }
        own
    }

    pub(crate) fn revoke_ticket(&mut self, ticket: &str) -> bool {
        self.tickets.remove(ticket).is_some()
    }

    pub(crate) fn revoke_tickets(&mut self, context_identifier: &str) -> usize {
        let before = self.tickets.len();
        self.tickets.retain(|_, issued| issued.tenant != key(context_identifier));
        before - self.tickets.len()
    }

    pub(crate) fn issue_refresh_token(&mut self, context_identifier: &str, user: SandboxUser) -> String {
        let token = random_alphanumeric::<64>();
        self.refresh_tokens.insert(token.clone(), SignedIn { tenant: key(context_identifier), user });
        token
    }

    pub(crate) fn find_refresh_token(&self, token: &str) -> Option<(&Tenant, &SandboxUser)> {
        let SignedIn { tenant, user } = self.refresh_tokens.get(token)?;
        Some((self.by_name.get(tenant)?, user))
    }

    pub(crate) fn revoke_refresh_token(&mut self, token: &str) -> bool {
        self.refresh_tokens.remove(token).is_some()
    }

    pub(crate) fn issue_access_token(
        &mut self,
        context_identifier: &str,
        user: SandboxUser,
        life: Duration,
        now: Timestamp,
    ) -> String {
        let token = format!("8A:{context_identifier}.{}", base64(&random_bytes::<48>()));
        let issued = Issued::until(context_identifier, life, now);
        self.access_tokens.insert(token.clone(), AccessToken { issued, user });
        token
    }

    pub(crate) fn revoke_access_token(&mut self, token: &str) -> bool {
        self.access_tokens.remove(token).is_some()
    }

    /// In whose name the access token opens this tenant, if it does.
    pub(crate) fn user_of(&self, access_token: &str, context_identifier: &str, now: Timestamp) -> Option<Caller> {
        let AccessToken { issued, user } = self.access_tokens.get(access_token)?;
        let opens = issued.tenant == key(context_identifier) && now < issued.expires;
        opens.then(|| Caller::User(user.clone()))
    }
}

impl Issued {
    fn until(context_identifier: &str, life: Duration, now: Timestamp) -> Self {
        Self { tenant: key(context_identifier), expires: later(now, life) }
    }
}

fn key(context_identifier: &str) -> String {
    context_identifier.to_ascii_lowercase()
}

fn later(now: Timestamp, life: Duration) -> Timestamp {
    now.saturating_add(life).unwrap_or(Timestamp::MAX)
}

/// Ten digits, as in the serials seen.
fn serial(digest: &[u8]) -> String {
    let number = digest.iter().rev().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    format!("1{:09}", number % 1_000_000_000)
}
