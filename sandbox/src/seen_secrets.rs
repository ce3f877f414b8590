//! The secrets that went over the wire, for tests that search a client's output for them.

use std::fmt;
use std::sync::Mutex;

use crate::world::lock;

/// Every secret that was handed out or received since the start, oldest first. Kept only when
/// [`crate::Builder::remember_secrets`] asked for it: a long run has many.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SeenSecrets {
    /// `SignedSystemToken` of each exchange, as it came in: good and refused ones.
    pub signed_system_tokens: Vec<String>,
    /// Each JWT handed out, true and spoiled ones: of exchanges, of sign-ins and of webhooks.
    pub jwts: Vec<String>,
    /// Each ticket inside them, and each that a behaviour made for another tenant.
    pub tickets: Vec<String>,
    /// Each access token handed out.
    pub access_tokens: Vec<String>,
    /// Each refresh token handed out.
    pub refresh_tokens: Vec<String>,
    /// Each authorization code handed out.
    pub codes: Vec<String>,
    /// Each code verifier that came in with a code.
    pub code_verifiers: Vec<String>,
}

impl fmt::Debug for SeenSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signed_system_tokens, jwts, tickets, access_tokens, refresh_tokens, codes, code_verifiers } = self;
        f.debug_struct("SeenSecrets")
            .field("signed_system_tokens", &signed_system_tokens.len())
            .field("jwts", &jwts.len())
            .field("tickets", &tickets.len())
            .field("access_tokens", &access_tokens.len())
            .field("refresh_tokens", &refresh_tokens.len())
            .field("codes", &codes.len())
            .field("code_verifiers", &code_verifiers.len())
            .finish()
    }
}

/// Remembers, or does not.
#[derive(Default)]
pub(crate) struct Memory(Option<Mutex<SeenSecrets>>);

impl Memory {
    pub(crate) fn new(remembers: bool) -> Self {
        Self(remembers.then(Mutex::default))
    }

    pub(crate) fn note(&self, list: impl FnOnce(&mut SeenSecrets) -> &mut Vec<String>, secret: &str) {
        if let Some(seen) = &self.0 {
            list(&mut lock(seen)).push(secret.to_owned());
        }
    }

    pub(crate) fn all(&self) -> SeenSecrets {
        self.0.as_ref().map(|seen| lock(seen).clone()).unwrap_or_default()
    }
}
