use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use subtle::ConstantTimeEq;

use super::claims::Claims;
use super::header::Parts;
use super::{JwtRejection, check_times, signed_claims};
use crate::crypto::VerificationKeys;
use crate::identifiers::{
    AccessToken, ApplicationId, AuthorizationCode, ContextIdentifier, SystemUserToken, UnverifiedJwt,
};

/// Which sign-in the token has to be of.
#[derive(Clone, Copy, Debug)]
pub struct IdTokenProfile<'a> {
    /// The environment's issuer.
    pub issuer: &'a str,
    /// Our application.
    pub client_id: &'a ApplicationId,
    /// What went along with the authorization request. None after a refresh, whose token has no nonce of its own.
    pub nonce: Option<&'a str>,
    /// The access token that came with it: `at_hash`, when there, is checked against it.
    pub access_token: Option<&'a AccessToken>,
    /// The code that it was exchanged for: `c_hash`, when there, is checked against it.
    pub code: Option<&'a AuthorizationCode>,
    /// How far SuperOffice's clock may be from ours.
    pub leeway: Duration,
}

/// What a verified ID token says.
#[derive(Clone, Debug)]
pub struct IdTokenClaims {
    /// The tenant that the user signed in to.
    pub context_identifier: ContextIdentifier,
    /// The user's principal name, else e-mail address, else the token's subject: visible characters and blanks.
    pub user: String,
    /// The user's number in the tenant.
    pub associate_id: Option<String>,
    /// What the tenant granted our application, each value once. Empty when the application has no system user, or
    /// the tenant has not approved it.
    pub system_user_tokens: Vec<SystemUserToken>,
    /// Whether the user administers the tenant.
    pub is_administrator: bool,
    /// The serial number of the tenant's database.
    pub serial: Option<String>,
    /// Where the tenant's REST API is, as SuperOffice says. Not checked.
    pub webapi_url: Option<String>,
    /// Where the tenant's SOAP services are, as SuperOffice says. Not checked.
    pub netserver_url: Option<String>,
}

/// As long as an e-mail address can be.
const MAX_USER_BYTES: usize = 254;
const MAX_ASSOCIATE_ID_BYTES: usize = 32;

/// Verifies an ID token: its form, its signature by one of `keys`, its times against `now`, that this environment
/// issued it for this application alone, and that it belongs to the sign-in of the `profile`.
///
/// `exp`, `nbf`, `iss`, `aud`, `sub` and `ctx` have to be there, and `nonce` when the profile has one; `iat`, `azp`,
/// `at_hash`, `c_hash`, `serial` and `system_token` are checked when they are.
pub fn verify_id_token(
    jwt: &UnverifiedJwt,
    keys: &VerificationKeys,
    profile: &IdTokenProfile<'_>,
    now: Timestamp,
) -> Result<IdTokenClaims, JwtRejection> {
    let claims = signed_claims(&Parts::split(jwt)?, keys)?;
    check_times(&claims, profile.leeway, now)?;
    claims.require("nbf")?;
    check_addressee(&claims, profile)?;
    check_sign_in(&claims, profile)?;
    Ok(IdTokenClaims {
        context_identifier: claims.context_identifier()?,
        user: user(&claims)?,
        associate_id: associate_id(&claims)?,
        system_user_tokens: claims.system_user_tokens()?.unwrap_or_default(),
        is_administrator: is_administrator(&claims)?,
        serial: if claims.has_own("serial") { Some(claims.serial()?.to_owned()) } else { None },
        webapi_url: claims.webapi_url(),
        netserver_url: claims.netserver_url(),
    })
}

fn check_addressee(claims: &Claims, profile: &IdTokenProfile<'_>) -> Result<(), JwtRejection> {
    if claims.issuer()? != profile.issuer {
        return Err(JwtRejection::IssuerMismatch);
    }
    let client_id = profile.client_id.as_str();
    if claims.audience()? != client_id || claims.optional("azp")?.is_some_and(|party| party != client_id) {
        return Err(JwtRejection::AudienceMismatch);
    }
    Ok(())
}

/// OpenID Connect Core 3.1.3.7 and 3.3.2.11: the token is of this sign-in, and code and access token are its own.
fn check_sign_in(claims: &Claims, profile: &IdTokenProfile<'_>) -> Result<(), JwtRejection> {
    let same = |left: &str, right: &str| bool::from(left.as_bytes().ct_eq(right.as_bytes()));
    if let Some(expected) = profile.nonce {
        let nonce = claims.optional("nonce")?.ok_or(JwtRejection::ClaimMissing("nonce"))?;
        if !same(nonce, expected) {
            return Err(JwtRejection::NonceMismatch);
        }
    }
    let belongs = |claim, secret: Option<&str>| -> Result<bool, JwtRejection> {
        let claim = claims.optional(claim)?;
        Ok(claim.zip(secret).is_none_or(|(hash, secret)| same(hash, &half_hash(secret))))
    };
    if !belongs("at_hash", profile.access_token.map(AccessToken::expose))? {
        return Err(JwtRejection::AccessTokenMismatch);
    }
    if !belongs("c_hash", profile.code.map(AuthorizationCode::expose))? {
        return Err(JwtRejection::CodeMismatch);
    }
    Ok(())
}

/// The left half of the SHA-256, as `at_hash` and `c_hash` have it.
fn half_hash(secret: &str) -> String {
    let hash = digest(&SHA256, secret.as_bytes());
    let (half, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    URL_SAFE_NO_PAD.encode(half)
}

/// The name under which the user's grant is kept and shown, so it has to be harmless to show.
fn user(claims: &Claims) -> Result<String, JwtRejection> {
    let subject = claims.optional("sub")?.ok_or(JwtRejection::ClaimMissing("sub"))?;
    let named = [("upn", claims.optional_own("upn")?), ("email", claims.optional_own("email")?)];
    let named = named.into_iter().find_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)));
    let (name, user) = named.unwrap_or(("sub", subject));
    let harmless = user.trim() == user && !user.chars().any(is_invisible);
    if harmless && (1..=MAX_USER_BYTES).contains(&user.len()) {
        Ok(user.to_owned())
    } else {
        Err(JwtRejection::ClaimMalformed(name))
    }
}

/// Control characters, and those that make a text read as something else.
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn associate_id(claims: &Claims) -> Result<Option<String>, JwtRejection> {
    let Some(id) = claims.optional_own("associateid")? else { return Ok(None) };
    let well_formed = (1..=MAX_ASSOCIATE_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if well_formed { Ok(Some(id.to_owned())) } else { Err(JwtRejection::ClaimMalformed("associateid")) }
}

/// .NET's spelling of a truth value. Whatever is not "True" is not.
fn is_administrator(claims: &Claims) -> Result<bool, JwtRejection> {
    Ok(claims.optional_own("is_administrator")?.is_some_and(|value| value.eq_ignore_ascii_case("true")))
}
