//! Verifies the JWTs that SuperOffice signs: the one around a system user ticket, the ID token of a sign-in, and the
//! token of a webhook; and those that a Kubernetes cluster signs for its service accounts. They share form, signature
//! and times; each has a profile that says whom it has to be for.
//!
//! `jsonwebtoken` proves the signature. The rest is here: it judges times by the machine's clock, and its parsing lets
//! a repeated member through.

mod claims;
mod header;
mod id_token;
mod json_object;
mod rejection;
mod service_account;
mod webhook_token;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::errors::ErrorKind;

pub use header::{JwtAlgorithm, JwtHeader, unverified_header};
pub use id_token::{IdTokenClaims, IdTokenProfile, is_invisible, verify_id_token};
pub use rejection::JwtRejection;
pub use service_account::{
    ServiceAccountClaims, ServiceAccountProfile, service_account_token_header, verify_service_account_token,
};
pub use webhook_token::{WebhookClaims, WebhookProfile, verify_webhook_token};

use super::{VerificationKey, VerificationKeys};
use crate::identifiers::{ContextIdentifier, SystemUserToken, Ticket, UnverifiedJwt};
use claims::Claims;
use header::Parts;

/// Who signs system user tokens, in every environment alike: the environment shows in the key only.
const SYSTEM_USER_ISSUER: &str = "SuperOffice AS";

/// What the token has to be about.
#[derive(Clone, Copy, Debug)]
pub struct SystemUserProfile<'a> {
    /// The tenant that was asked for.
    pub context_identifier: ContextIdentifier,
    /// The system user token that was sent.
    pub system_user_token: &'a SystemUserToken,
    /// The tenant's database serial number, once it is known.
    pub pinned_serial: Option<&'a str>,
    /// How far SuperOffice's clock may be from ours.
    pub leeway: Duration,
}

/// What a verified token says.
#[derive(Clone, Debug)]
pub struct SystemUserClaims {
    /// The tenant, in SuperOffice's spelling.
    pub context_identifier: ContextIdentifier,
    /// The ticket, which lives much longer than the token around it.
    pub ticket: Ticket,
    /// The serial number of the tenant's database.
    pub serial: String,
    /// Where the tenant's REST API is, as SuperOffice says. Not checked.
    pub webapi_url: Option<String>,
    /// Where the tenant's SOAP services are, as SuperOffice says. Not checked.
    pub netserver_url: Option<String>,
}

/// Verifies a system user token: its form, its signature by one of `keys`, its times against `now`, issuer, audience,
/// and that it is for the tenant, the system user token and the database of the `profile`.
///
/// `exp`, `nbf`, `iss`, `aud`, `ctx`, `serial` and `ticket` have to be there; `iat` and `system_token` are checked when
/// they are. A claim may be a string or a list, but one that has one meaning (all but `system_token`) may have one value
/// only, repeated or not: a token for this audience *and another* is refused.
pub fn verify_system_user_jwt(
    jwt: &UnverifiedJwt,
    keys: &VerificationKeys,
    profile: &SystemUserProfile<'_>,
    now: Timestamp,
) -> Result<SystemUserClaims, JwtRejection> {
    let claims = signed_claims(&Parts::split(jwt)?, keys)?;
    check_times(&claims, profile.leeway, now)?;
    claims.require("nbf")?;
    check_addressee(&claims, profile)?;
    Ok(SystemUserClaims {
        context_identifier: claims.context_identifier()?,
        ticket: claims.ticket()?,
        serial: claims.serial()?.to_owned(),
        webapi_url: claims.webapi_url(),
        netserver_url: claims.netserver_url(),
    })
}

/// What the token says, once its signature by one of `keys` is proven. Whether it is meant for us, and now, is not.
fn signed_claims(parts: &Parts<'_>, keys: &VerificationKeys) -> Result<Claims, JwtRejection> {
    claims_signed_as(&parts.header()?, parts, keys)
}

/// The same, by what the header says. A key verifies signatures of its own algorithm and of no other.
fn claims_signed_as(header: &JwtHeader, parts: &Parts<'_>, keys: &VerificationKeys) -> Result<Claims, JwtRejection> {
    let key = keys.find(header).ok_or(JwtRejection::UnknownKey)?;
    if key.algorithm() != header.algorithm {
        return Err(JwtRejection::AlgorithmNotAllowed);
    }
    check_signature(parts, key)?;
    Claims::read(parts.payload)
}

fn check_signature(parts: &Parts<'_>, key: &VerificationKey) -> Result<(), JwtRejection> {
    let (key, algorithm) = key.decoding_key();
    let verified = jsonwebtoken::crypto::verify(parts.signature, parts.signed.as_bytes(), key, algorithm);
    match verified {
        Ok(true) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::Base64(_)) => Err(JwtRejection::EncodingMalformed),
        Ok(false) | Err(_) => Err(JwtRejection::SignatureInvalid),
    }
}

/// RFC 7519: a token is valid from `nbf` on, and no more at `exp`; the leeway moves both outwards. `exp` has to be
/// there; `nbf` and `iat` are checked when they are.
fn check_times(claims: &Claims, leeway: Duration, now: Timestamp) -> Result<(), JwtRejection> {
    let leeway = SignedDuration::try_from(leeway).unwrap_or(SignedDuration::MAX);
    let now = now.as_duration();
    let latest_start = now.saturating_add(leeway);
    if now >= claims.expiry()?.saturating_add(leeway) {
        return Err(JwtRejection::Expired);
    }
    if claims.not_before()?.is_some_and(|not_before| not_before > latest_start) {
        return Err(JwtRejection::NotYetValid);
    }
    if claims.issued_at()?.is_some_and(|issued_at| issued_at > latest_start) {
        return Err(JwtRejection::IssuedInFuture);
    }
    Ok(())
}

fn check_addressee(claims: &Claims, profile: &SystemUserProfile<'_>) -> Result<(), JwtRejection> {
    if claims.issuer()? != SYSTEM_USER_ISSUER {
        return Err(JwtRejection::IssuerMismatch);
    }
    let serial = claims.serial()?;
    // The audience is made of the token's own serial number, so this shows damage, not a token meant for another: what
    // ties the token to the tenant comes next.
    if claims.audience()?.strip_prefix("spn:") != Some(serial) {
        return Err(JwtRejection::AudienceMismatch);
    }
    if claims.context_identifier()? != profile.context_identifier {
        return Err(JwtRejection::ContextIdentifierMismatch);
    }
    if claims.system_user_tokens()?.is_some_and(|tokens| !tokens.contains(profile.system_user_token)) {
        return Err(JwtRejection::SystemUserTokenMismatch);
    }
    if profile.pinned_serial.is_some_and(|pinned| pinned != serial) {
        return Err(JwtRejection::SerialMismatch);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
