//! The ways in which a JWT can deserve no trust.

use serde::{Deserialize, Serialize};

/// A JWT for the right tenant that must not be trusted all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JwtFlaw {
    /// Its `exp` was an hour ago.
    Expired,
    /// Its `nbf` is an hour away.
    NotYetValid,
    /// `exp` is missing.
    WithoutExpiry,
    /// `exp` is a string.
    ExpiryAsString,
    /// `iss` is somebody else.
    WrongIssuer,
    /// `iss` is missing.
    WithoutIssuer,
    /// `aud` is another service.
    WrongAudience,
    /// `aud` is missing.
    WithoutAudience,
    /// `ticket` is missing.
    WithoutTicket,
    /// `serial` is missing.
    WithoutSerial,
    /// `webapi_url` is a host that is not SuperOffice's.
    ForeignWebapiUrl,
    /// `kid` and `x5t` name a key that nobody has published.
    WrongKid,
    /// `kid` and `x5t` are right, but another key signed it.
    SignedByAnotherKey,
    /// One bit of the signature is turned.
    BadSignature,
    /// The signature is empty, the algorithm still RS256.
    Unsigned,
    /// The algorithm is `none` and the signature empty.
    AlgNone,
    /// The algorithm is HS256 with the published public key as its secret.
    HmacWithPublicKey,
    /// Signed by another key, which the header brings along as `jwk`.
    EmbeddedKey,
    /// Signed by another key, which the header's `jku` points to.
    KeyUrl,
    /// The header has a critical extension that nobody knows.
    CriticalHeader,
    /// A fourth part after the signature.
    TrailingBytes,
    /// A claim of 1 MiB.
    Oversized,
    /// Not a JWT.
    Garbage,
}

impl JwtFlaw {
    /// Every flaw.
    pub const ALL: [Self; 23] = [
        Self::Expired,
        Self::NotYetValid,
        Self::WithoutExpiry,
        Self::ExpiryAsString,
        Self::WrongIssuer,
        Self::WithoutIssuer,
        Self::WrongAudience,
        Self::WithoutAudience,
        Self::WithoutTicket,
        Self::WithoutSerial,
        Self::ForeignWebapiUrl,
        Self::WrongKid,
        Self::SignedByAnotherKey,
        Self::BadSignature,
        Self::Unsigned,
        Self::AlgNone,
        Self::HmacWithPublicKey,
        Self::EmbeddedKey,
        Self::KeyUrl,
        Self::CriticalHeader,
        Self::TrailingBytes,
        Self::Oversized,
        Self::Garbage,
    ];
}

/// A properly signed ID token that belongs to another sign-in, or is not there. The flaws of [`JwtFlaw`] are possible
/// besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdTokenFlaw {
    /// There is no ID token.
    Missing,
    /// `nonce` is another sign-in's.
    WrongNonce,
    /// `nonce` is missing.
    WithoutNonce,
    /// `iss` is another environment's.
    OtherEnvironment,
    /// `iss` is that of system user tokens.
    SystemUserIssuer,
    /// `aud` is another application's client id.
    OtherApplication,
    /// `aud` is our application and another one.
    TwoApplications,
    /// `at_hash` is another access token's.
    WrongAccessTokenHash,
    /// `c_hash` is another code's.
    WrongCodeHash,
    /// `system_token` is missing.
    WithoutSystemToken,
}

impl IdTokenFlaw {
    /// Every flaw.
    pub const ALL: [Self; 10] = [
        Self::Missing,
        Self::WrongNonce,
        Self::WithoutNonce,
        Self::OtherEnvironment,
        Self::SystemUserIssuer,
        Self::OtherApplication,
        Self::TwoApplications,
        Self::WrongAccessTokenHash,
        Self::WrongCodeHash,
        Self::WithoutSystemToken,
    ];
}

/// A properly signed JWT that is another tenant's, in part or wholly. The other tenant is another one of the sandbox's,
/// or a made-up one if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WrongTenant {
    /// `ctx` is the other tenant; all else is right.
    OtherContext,
    /// `ctx`, `serial` and `aud` are the other tenant's.
    OtherContextSerialAndAudience,
    /// `ctx` is an array of both tenants.
    ContextArray,
    /// `ctx` is missing.
    ContextMissing,
    /// `ctx` is empty.
    ContextEmpty,
    /// `ctx` has a space at its end.
    ContextTrailingSpace,
    /// `ctx` has one more digit.
    ContextSuffix,
    /// The JWT of the other tenant's last exchange, or a fresh one of its own.
    Replayed,
    /// `system_token` is the other tenant's.
    OtherSystemToken,
    /// `serial` and `aud` are another database's. Only who knows the right serial can tell.
    OtherSerial,
}

impl WrongTenant {
    /// Every variant.
    pub const ALL: [Self; 10] = [
        Self::OtherContext,
        Self::OtherContextSerialAndAudience,
        Self::ContextArray,
        Self::ContextMissing,
        Self::ContextEmpty,
        Self::ContextTrailingSpace,
        Self::ContextSuffix,
        Self::Replayed,
        Self::OtherSystemToken,
        Self::OtherSerial,
    ];
}
