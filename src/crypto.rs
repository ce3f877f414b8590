//! Keys, signatures, tokens and fingerprints: pure functions without I/O, and `now` is an argument.
//!
//! Two libraries do the arithmetic. `aws-lc-rs` signs with keys of 2048 bits and more, verifies, and is the source of
//! randomness; `rsa` reads and checks private keys, and signs with the smaller ones that aws-lc-rs refuses
//! (docs/decisions/0001-signing-with-rsa.md).

mod audit_key;
mod fingerprint;
mod jwt_verifier;
mod private_key;
mod sealing;
mod sign_in;
mod system_token_signer;
mod verification_keys;

pub use audit_key::{AuditKey, AuditKeyError, AuditKeyId, AuditName, KeptAuditName};
pub use fingerprint::{Fingerprint, FingerprintError, Fingerprinter, KeyedHasher, RandomnessError, issued_for};
pub use jwt_verifier::{
    IdTokenClaims, IdTokenProfile, JwtAlgorithm, JwtHeader, JwtRejection, ServiceAccountClaims, ServiceAccountProfile,
    SystemUserClaims, SystemUserProfile, WebhookClaims, WebhookProfile, is_invisible, service_account_token_header,
    unverified_header, verify_id_token, verify_service_account_token, verify_system_user_jwt, verify_webhook_token,
};
pub use private_key::{KeyFormat, PrivateKey, PrivateKeyError, SigningError};
pub use sealing::{
    KeyRing, OpenError, Place, SealError, SealingKey, SealingKeyError, SealingKeyId, record_prefix, sealed_with,
};
pub use sign_in::{SecretHash, code_challenge, random_code_verifier, random_token};
pub use system_token_signer::sign_system_user_token;
pub use verification_keys::{KeySetError, VerificationKey, VerificationKeys};

/// Signing keys under this size work but are weaker than today's practice asks for, and slower here.
pub const RECOMMENDED_BITS: usize = 2048;
