use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::JwtRejection;
use super::json_object::JsonObject;
use crate::crypto::verification_keys::MAX_NAME_BYTES;
use crate::identifiers::UnverifiedJwt;

/// SuperOffice's tokens have about two KiB. A longer one is refused before any work is done on it.
const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// What SuperOffice signs by.
const SUPEROFFICES: [JwtAlgorithm; 1] = [JwtAlgorithm::Rs256];

/// What a token's header says about its signature. Nothing in it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtHeader {
    /// How the token claims to be signed.
    pub algorithm: JwtAlgorithm,
    /// The key's name in the key set.
    pub kid: Option<String>,
    /// The thumbprint of the key's certificate.
    pub x5t: Option<String>,
}

/// The signature algorithms that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256. SuperOffice does not use it, Kubernetes does.
    Es256,
}

impl JwtAlgorithm {
    /// Its name in a header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

impl fmt::Display for JwtAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Reads the header, to look the key up and for nothing else. A token that no key can make valid is refused here, so
/// that it does not cause a look-up.
pub fn unverified_header(jwt: &UnverifiedJwt) -> Result<JwtHeader, JwtRejection> {
    Parts::split(jwt)?.header()
}

/// A token's parts, still encoded.
pub(super) struct Parts<'a> {
    /// What the signature is over: header, dot and payload.
    pub(super) signed: &'a str,
    header: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn split(jwt: &'a UnverifiedJwt) -> Result<Self, JwtRejection> {
        Self::split_within(MAX_TOKEN_BYTES, jwt)
    }

    pub(super) fn split_within(max_bytes: usize, jwt: &'a UnverifiedJwt) -> Result<Self, JwtRejection> {
        let jwt = jwt.expose();
        if jwt.len() > max_bytes {
            return Err(JwtRejection::TooLarge);
        }
        let (signed, signature) = jwt.rsplit_once('.').ok_or(JwtRejection::NotThreeParts)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtRejection::NotThreeParts)?;
        if payload.contains('.') || [header, payload, signature].into_iter().any(str::is_empty) {
            return Err(JwtRejection::NotThreeParts);
        }
        Ok(Self { signed, header, payload, signature })
    }

    /// The header of a token that SuperOffice signed.
    pub(super) fn header(&self) -> Result<JwtHeader, JwtRejection> {
        self.header_for(&SUPEROFFICES)
    }

    /// The header of a token that may be signed by these algorithms.
    ///
    /// Keys and addresses of keys that the header carries itself (`jwk`, `x5c`, `jku`, `x5u`) are not looked at, like
    /// every other member that RFC 7515 lets a reader ignore: the key always comes from the issuer's own set.
    pub(super) fn header_for(&self, allowed: &[JwtAlgorithm]) -> Result<JwtHeader, JwtRejection> {
        let json = URL_SAFE_NO_PAD.decode(self.header).map_err(|_| JwtRejection::EncodingMalformed)?;
        let header = JsonObject::read(&json, JwtRejection::HeaderMalformed)?;
        let named = header.get("alg").and_then(Value::as_str);
        let algorithm = allowed.iter().copied().find(|algorithm| named == Some(algorithm.name()));
        let algorithm = algorithm.ok_or(JwtRejection::AlgorithmNotAllowed)?;
        if header.get("typ").is_some_and(|typ| typ != "JWT") {
            return Err(JwtRejection::TypeNotAllowed);
        }
        if header.get("crit").is_some() {
            return Err(JwtRejection::CriticalExtension);
        }
        if header.get("b64").is_some() {
            return Err(JwtRejection::UnencodedPayload);
        }
        let name = |member| match header.get(member) {
            None => Ok(None),
            Some(Value::String(name)) if name.len() > MAX_NAME_BYTES => Err(JwtRejection::KeyNameTooLong),
            Some(Value::String(name)) => Ok(Some(name.clone())),
            Some(_) => Err(JwtRejection::HeaderMalformed),
        };
        Ok(JwtHeader { algorithm, kid: name("kid")?, x5t: name("x5t")? })
    }
}
