use thiserror::Error;

/// Why a token is refused. It holds no value out of the token.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtRejection {
    /// Longer than any token should be.
    #[error("the token is too long")]
    TooLarge,
    /// Not header, payload and signature: encrypted, detached, or no JWT at all.
    #[error("the token is not three parts with two dots between them")]
    NotThreeParts,
    /// A part that is not Base64url.
    #[error("a part of the token is not Base64url without padding")]
    EncodingMalformed,
    /// A header that is not a JSON object with members of the right types.
    #[error("the token's header is malformed")]
    HeaderMalformed,
    /// Another algorithm than the key's and those that are accepted at all, none included.
    #[error("the token is signed by an algorithm that is not accepted")]
    AlgorithmNotAllowed,
    /// Another type than JWT.
    #[error("the token is of another type than JWT")]
    TypeNotAllowed,
    /// A `crit` header.
    #[error("the token demands an extension that is not supported")]
    CriticalExtension,
    /// A `b64` header.
    #[error("the token has an unencoded payload")]
    UnencodedPayload,
    /// A `kid` or `x5t` that is too long.
    #[error("the name of the token's signing key is too long")]
    KeyNameTooLong,
    /// The header does not say which key, and has to.
    #[error("the token does not name its signing key")]
    KeyNotNamed,
    /// None of the issuer's keys has the name that the header gives.
    #[error("the token is signed by a key that is not one of its issuer's")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the token's signature does not verify")]
    SignatureInvalid,
    /// A payload that is not a JSON object.
    #[error("the token's claims are malformed")]
    ClaimsMalformed,
    /// A member of header or payload is there twice.
    #[error("the token has a member twice")]
    MemberRepeated,
    /// A claim is missing.
    #[error("the token has no `{0}` claim")]
    ClaimMissing(&'static str),
    /// A claim has the wrong type, more than one value, or a value that cannot be.
    #[error("the token's `{0}` claim is malformed")]
    ClaimMalformed(&'static str),
    /// `exp` is past.
    #[error("the token has expired: check this machine's clock")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet: check this machine's clock")]
    NotYetValid,
    /// `iat` is in the future.
    #[error("the token was issued in the future: check this machine's clock")]
    IssuedInFuture,
    /// `iss` is not who issues such tokens.
    #[error("the token is from another issuer")]
    IssuerMismatch,
    /// `aud` is not the token's own serial number, or not our application or service.
    #[error("the token is for another audience")]
    AudienceMismatch,
    /// `ctx` is not the tenant asked for.
    #[error("the token is for another tenant")]
    ContextIdentifierMismatch,
    /// `system_token` does not hold the token sent.
    #[error("the token is for another system user token")]
    SystemUserTokenMismatch,
    /// `serial` is not the one pinned.
    #[error(
        "the token is for another database than the tenant's: accept its serial number if it was restored or cloned"
    )]
    SerialMismatch,
    /// `nonce` is not the one of the sign-in.
    #[error("the token is for another sign-in")]
    NonceMismatch,
    /// `at_hash` is not the access token's.
    #[error("the token is for another access token")]
    AccessTokenMismatch,
    /// `c_hash` is not the authorization code's.
    #[error("the token is for another authorization code")]
    CodeMismatch,
    /// A user's or a system user's token where a webhook's is due.
    #[error("the token was issued for another purpose")]
    PurposeMismatch,
    /// `sub` is no service account, or not the one that the token's other claims name.
    #[error("the token is not for one service account")]
    ServiceAccountMismatch,
}

impl JwtRejection {
    /// Whether the token verifies but belongs to another tenant, system user or database: a security event.
    pub fn is_tenant_mismatch(&self) -> bool {
        matches!(self, Self::ContextIdentifierMismatch | Self::SystemUserTokenMismatch | Self::SerialMismatch)
    }

    /// Whether only the time spoke against the token: it may be one of the two clocks that is wrong.
    pub fn is_about_time(&self) -> bool {
        matches!(self, Self::Expired | Self::NotYetValid | Self::IssuedInFuture)
    }

    /// A short name out of a fixed set, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotThreeParts => "not_three_parts",
            Self::EncodingMalformed => "encoding_malformed",
            Self::HeaderMalformed => "header_malformed",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::TypeNotAllowed => "type_not_allowed",
            Self::CriticalExtension => "critical_extension",
            Self::UnencodedPayload => "unencoded_payload",
            Self::KeyNameTooLong => "key_name_too_long",
            Self::KeyNotNamed => "key_not_named",
            Self::UnknownKey => "unknown_key",
            Self::SignatureInvalid => "signature_invalid",
            Self::ClaimsMalformed => "claims_malformed",
            Self::MemberRepeated => "member_repeated",
            Self::ClaimMissing(_) => "claim_missing",
            Self::ClaimMalformed(_) => "claim_malformed",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::IssuerMismatch => "issuer_mismatch",
            Self::AudienceMismatch => "audience_mismatch",
            Self::ContextIdentifierMismatch => "context_identifier_mismatch",
            Self::SystemUserTokenMismatch => "system_user_token_mismatch",
            Self::SerialMismatch => "serial_mismatch",
            Self::NonceMismatch => "nonce_mismatch",
            Self::AccessTokenMismatch => "access_token_mismatch",
            Self::CodeMismatch => "code_mismatch",
            Self::PurposeMismatch => "purpose_mismatch",
            Self::ServiceAccountMismatch => "service_account_mismatch",
        }
    }
}
