use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};

use super::claims::Claims;
use super::header::Parts;
use super::{JwtRejection, SYSTEM_USER_ISSUER, check_times, signed_claims};
use crate::crypto::VerificationKeys;
use crate::identifiers::{ApplicationId, ContextIdentifier, UnverifiedJwt};

/// What the webhook has to be about.
#[derive(Clone, Copy, Debug)]
pub struct WebhookProfile<'a> {
    /// The environment's issuer.
    pub issuer: &'a str,
    /// Our application.
    pub client_id: &'a ApplicationId,
    /// The tenant that the webhook names.
    pub context_identifier: ContextIdentifier,
    /// How far SuperOffice's clock may be from ours.
    pub leeway: Duration,
}

/// What is kept of a verified webhook token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookClaims {
    /// From here on the token is refused, the leeway included: so long its replay has to be remembered.
    pub expires: Timestamp,
    /// Names the token: the hash of what is signed, which no change of its encoding changes.
    pub token_id: [u8; 32],
}

/// Verifies the token in a tenant status webhook. Its claims are not documented, so as much is demanded as is certain:
///
/// - the form, the signature by one of `keys`, and `exp`; `nbf` and `iat` when they are there;
/// - `iss` is the environment's, as in the documentation's sample, or the one of SuperOffice's other outgoing tokens;
/// - `aud` is our application, as in those (`spn:` before it) or as in an ID token, in any case;
/// - `ctx`, when it is there, is the tenant;
/// - it is no ID token and no system user token, which bear the same names but are handed to users and systems.
pub fn verify_webhook_token(
    jwt: &UnverifiedJwt,
    keys: &VerificationKeys,
    profile: &WebhookProfile<'_>,
    now: Timestamp,
) -> Result<WebhookClaims, JwtRejection> {
    let parts = Parts::split(jwt)?;
    let claims = signed_claims(&parts, keys)?;
    check_times(&claims, profile.leeway, now)?;
    check_addressee(&claims, profile)?;
    let mut token_id = [0; 32];
    for (place, byte) in token_id.iter_mut().zip(digest(&SHA256, parts.signed.as_bytes()).as_ref()) {
        *place = *byte;
    }
    Ok(WebhookClaims { expires: end(claims.expiry()?, profile.leeway), token_id })
}

fn check_addressee(claims: &Claims, profile: &WebhookProfile<'_>) -> Result<(), JwtRejection> {
    let issuer = claims.issuer()?;
    if issuer != SYSTEM_USER_ISSUER && issuer != profile.issuer {
        return Err(JwtRejection::IssuerMismatch);
    }
    let audience = claims.audience()?;
    let application = strip_prefix_in_any_case(audience, "spn:").unwrap_or(audience);
    if !application.eq_ignore_ascii_case(profile.client_id.as_str()) {
        return Err(JwtRejection::AudienceMismatch);
    }
    if claims.has_own("ctx") && claims.context_identifier()? != profile.context_identifier {
        return Err(JwtRejection::ContextIdentifierMismatch);
    }
    if ["nonce", "at_hash", "c_hash"].into_iter().any(|name| claims.has(name)) || claims.has_own("ticket") {
        return Err(JwtRejection::PurposeMismatch);
    }
    Ok(())
}

fn strip_prefix_in_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn end(expiry: SignedDuration, leeway: Duration) -> Timestamp {
    let leeway = SignedDuration::try_from(leeway).unwrap_or(SignedDuration::MAX);
    // Expired ones are refused, so what does not fit lies at the end of time.
    Timestamp::from_duration(expiry.saturating_add(leeway)).unwrap_or(Timestamp::MAX)
}
