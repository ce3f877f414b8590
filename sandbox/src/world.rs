//! Everything the sandbox knows. Behaviour lives elsewhere; this is what it reads and changes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::clock::SandboxClock;
use crate::codes::Codes;
use crate::keys::KeyRing;
use crate::knobs::Knobs;
use crate::names::Names;
use crate::partner_key::PartnerKey;
use crate::seen_secrets::Memory;
use crate::settings::Settings;
use crate::tenants::{Tenant, Tenants};
use crate::traffic::Traffic;

/// The state that all listeners share.
pub(crate) struct World {
    pub(crate) clock: SandboxClock,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) application_name: String,
    /// Scheme, address and port of the login host, without a slash at the end; or scheme and name, if it has one.
    pub(crate) base_url: String,
    /// The same of the tenant hosts, by their number.
    pub(crate) host_urls: Vec<String>,
    /// Where the login host listens.
    pub(crate) login_address: SocketAddr,
    pub(crate) names: Names,
    pub(crate) settings: Mutex<Settings>,
    pub(crate) partner_key: Mutex<PartnerKey>,
    pub(crate) keys: Mutex<KeyRing>,
    pub(crate) tenants: Mutex<Tenants>,
    /// Where sign-ins may redirect to.
    pub(crate) redirect_uris: Mutex<Vec<String>>,
    pub(crate) codes: Mutex<Codes>,
    pub(crate) knobs: Knobs,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) seen_secrets: Memory,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All the rest is secrets, or holds some.
        f.debug_struct("World").field("base_url", &self.base_url).field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    /// Who issues ID tokens.
    pub(crate) fn issuer(&self) -> String {
        lock(&self.settings).issuer.clone().unwrap_or_else(|| self.base_url.clone())
    }

    /// Where a tenant lives, without a slash at the end.
    pub(crate) fn tenant_url(&self, tenant: &Tenant) -> String {
        // A move checks the number, so the login host never stands in.
        let host = self.host_urls.get(tenant.host).unwrap_or(&self.base_url);
        format!("{host}/{}", tenant.context_identifier)
    }
}

/// A simulator that panicked in one request goes on with the next.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random bytes from the operating system; zeros if it has none, which uniqueness in a simulator survives.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tracing::warn!("the operating system gave no random bytes");
    }
    bytes
}

/// Letters and digits, as in refresh tokens.
pub(crate) fn random_alphanumeric<const N: usize>() -> String {
    alphanumeric(&random_bytes::<N>())
}

/// One letter or digit a byte.
pub(crate) fn alphanumeric(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
