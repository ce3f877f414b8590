//! Authorization codes: 64 letters and digits, good for one exchange.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use crate::users::SandboxUser;
use crate::world::random_alphanumeric;

/// The codes that nobody has redeemed yet.
#[derive(Default)]
pub(crate) struct Codes(HashMap<String, Approval>);

/// What a user approved.
#[derive(Clone)]
pub(crate) struct Approval {
    pub(crate) context_identifier: String,
    pub(crate) user: SandboxUser,
    /// As the authorization request had it.
    pub(crate) redirect_uri: String,
    pub(crate) nonce: Option<String>,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) expires: Timestamp,
}

/// PKCE's challenge (RFC 7636).
#[derive(Clone)]
pub(crate) enum Challenge {
    /// The verifier itself, which is the default.
    Plain(String),
    /// The SHA-256 of the verifier.
    S256(String),
}

impl Challenge {
    pub(crate) fn is_met_by(&self, verifier: &str) -> bool {
        match self {
            Self::Plain(challenge) => challenge == verifier,
            Self::S256(challenge) => *challenge == URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())),
        }
    }
}

impl Codes {
    pub(crate) fn issue(&mut self, approval: Approval) -> String {
        let code = random_alphanumeric::<64>();
        self.0.insert(code.clone(), approval);
        code
    }

    pub(crate) fn find(&self, code: &str) -> Option<&Approval> {
        self.0.get(code)
    }

    /// Takes the code out, whether it turns out to be redeemable or not.
    pub(crate) fn take(&mut self, code: &str) -> Option<Approval> {
        self.0.remove(code)
    }
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codes").field("count", &self.0.len()).finish()
    }
}
