use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::claims::Claims;
use super::header::Parts;
use super::{JwtAlgorithm, JwtHeader, JwtRejection, check_times, claims_signed_as};
use crate::crypto::VerificationKeys;
use crate::identifiers::{ServiceAccount, UnverifiedJwt};

/// Projected tokens have one to two KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// A pod's `uid` is a UUID.
const MAX_POD_UID_BYTES: usize = 64;
/// What clusters sign service accounts' tokens by, as their keys are RSA's or P-256's.
const ALGORITHMS: [JwtAlgorithm; 2] = [JwtAlgorithm::Rs256, JwtAlgorithm::Es256];
const SUBJECT_PREFIX: &str = "system:serviceaccount:";

/// Whom the token has to be from, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct ServiceAccountProfile<'a> {
    /// The cluster's issuer.
    pub issuer: &'a str,
    /// Us.
    pub audience: &'a str,
    /// How far the cluster's clock may be from ours.
    pub leeway: Duration,
}

/// What a verified token of a service account says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountClaims {
    /// Whom the token is for.
    pub account: ServiceAccount,
    /// The pod that it was made for, unless it was made for none.
    pub pod_uid: Option<Arc<str>>,
    /// From here on the token is refused, the leeway included.
    pub expires: Timestamp,
}

/// Reads the header, to look the key up and for nothing else. A token that no key can make valid is refused here, so
/// that it does not cause a look-up. The key is always named: a cluster has several while it changes them.
pub fn service_account_token_header(jwt: &UnverifiedJwt) -> Result<JwtHeader, JwtRejection> {
    header(&Parts::split_within(MAX_TOKEN_BYTES, jwt)?)
}

/// Verifies a token that Kubernetes made for a service account and an audience: its form, its signature by one of
/// `keys`, its times against `now`, issuer and audience, and that all its claims name the same account.
///
/// `iss`, `aud`, `sub`, `exp`, `nbf`, `iat` and `kubernetes.io` have to be there, as every such token has them. The old
/// tokens of Secrets have no `exp` and no `aud`, and are refused for that. `aud` may name others beside us: Kubernetes
/// makes such tokens, and who wants its tokens good for us alone asks for one audience.
pub fn verify_service_account_token(
    jwt: &UnverifiedJwt,
    keys: &VerificationKeys,
    profile: &ServiceAccountProfile<'_>,
    now: Timestamp,
) -> Result<ServiceAccountClaims, JwtRejection> {
    let parts = Parts::split_within(MAX_TOKEN_BYTES, jwt)?;
    let claims = claims_signed_as(&header(&parts)?, &parts, keys)?;
    for time in ["exp", "nbf", "iat"] {
        claims.time(time)?.ok_or(JwtRejection::ClaimMissing(time))?;
    }
    check_times(&claims, profile.leeway, now)?;
    if claims.issuer()? != profile.issuer {
        return Err(JwtRejection::IssuerMismatch);
    }
    if !claims.audiences()?.contains(&profile.audience) {
        return Err(JwtRejection::AudienceMismatch);
    }
    let leeway = SignedDuration::try_from(profile.leeway).unwrap_or(SignedDuration::MAX);
    // Expired ones are refused, so what does not fit lies at the end of time.
    let expires = Timestamp::from_duration(claims.expiry()?.saturating_add(leeway)).unwrap_or(Timestamp::MAX);
    Ok(ServiceAccountClaims { account: account(&claims)?, pod_uid: pod_uid(&claims)?, expires })
}

fn header(parts: &Parts<'_>) -> Result<JwtHeader, JwtRejection> {
    let header = parts.header_for(&ALGORITHMS)?;
    if header.kid.is_none() {
        return Err(JwtRejection::KeyNotNamed);
    }
    // A certificate's thumbprint names no key of a cluster's.
    Ok(JwtHeader { x5t: None, ..header })
}

/// The account that `sub` names, if the claims of Kubernetes' own name the same.
fn account(claims: &Claims) -> Result<ServiceAccount, JwtRejection> {
    let subject = claims.optional("sub")?.ok_or(JwtRejection::ClaimMissing("sub"))?;
    let own = claims.raw("kubernetes.io")?;
    let namespace = own.get("namespace").and_then(Value::as_str);
    let name = own.get("serviceaccount").and_then(|account| account.get("name")).and_then(Value::as_str);
    let (Some(namespace), Some(name)) = (namespace, name) else {
        return Err(JwtRejection::ClaimMalformed("kubernetes.io"));
    };
    if subject.strip_prefix(SUBJECT_PREFIX).and_then(|rest| rest.split_once(':')) != Some((namespace, name)) {
        return Err(JwtRejection::ServiceAccountMismatch);
    }
    format!("{namespace}/{name}").parse().map_err(|_| JwtRejection::ServiceAccountMismatch)
}

/// Goes into logs and audit events, so it has to be harmless there.
fn pod_uid(claims: &Claims) -> Result<Option<Arc<str>>, JwtRejection> {
    let Some(pod) = claims.raw("kubernetes.io")?.get("pod") else { return Ok(None) };
    let is_uid = |uid: &&str| {
        (1..=MAX_POD_UID_BYTES).contains(&uid.len())
            && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let uid = pod.get("uid").and_then(Value::as_str).filter(is_uid);
    uid.map(|uid| Some(uid.into())).ok_or(JwtRejection::ClaimMalformed("kubernetes.io"))
}
