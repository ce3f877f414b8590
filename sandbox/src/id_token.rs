//! Builds ID tokens: true to form, then spoiled where a behaviour says so.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::delivery::Forgery;
use crate::jwt::Jwt;
use crate::jwt_flaw::{IdTokenFlaw, WrongTenant};
use crate::keys::SigningKey;
use crate::settings::Settings;
use crate::tenants::Tenant;
use crate::users::SandboxUser;
use crate::world::{World, lock};

/// Who signed in, and what goes out beside the token.
#[derive(Clone, Copy)]
pub(crate) struct SignIn<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) user: &'a SandboxUser,
    /// Of the authorization request. A refresh has none.
    pub(crate) nonce: Option<&'a str>,
    pub(crate) access_token: &'a str,
    /// Absent in a refresh.
    pub(crate) code: Option<&'a str>,
}

/// The ID token, unless a behaviour leaves it out.
pub(crate) fn issue(world: &World, sign_in: &SignIn<'_>, forgery: &Forgery, settings: &Settings) -> Option<String> {
    let now = world.clock.now();
    let (key, other_key) = {
        let keys = lock(&world.keys);
        (keys.current(), keys.other())
    };
    let mut jwt = unsigned(world, sign_in, &key, settings);
    let other = lock(&world.tenants).other_than(&sign_in.tenant.context_identifier);
    let id_token = match forgery {
        Forgery::IdToken(IdTokenFlaw::Missing) => return None,
        Forgery::IdToken(flaw) => {
            spoil(&mut jwt, *flaw, world);
            jwt.sign(&key)
        }
        Forgery::Jwt(flaw) => jwt.flawed(*flaw, &key, &other_key, now),
        Forgery::WrongTenant(WrongTenant::Replayed) => {
            unsigned(world, &SignIn { tenant: &other, ..*sign_in }, &key, settings).sign(&key)
        }
        Forgery::WrongTenant(how) => jwt.mixed_up(*how, sign_in.tenant, &other).sign(&key),
        Forgery::None | Forgery::Refused(_) | Forgery::OAuthError(_) => jwt.sign(&key),
    };
    world.seen_secrets.note(|seen| &mut seen.jwts, &id_token);
    Some(id_token)
}

fn unsigned(world: &World, sign_in: &SignIn<'_>, key: &SigningKey, settings: &Settings) -> Jwt {
    let SignIn { tenant, user, .. } = sign_in;
    let tenant_url = world.tenant_url(tenant);
    let registered = json!({ "sub": user.upn, "iss": world.issuer(), "aud": world.client_id });
    let own = [
        ("identityprovider", json!("central-superid")),
        ("email", json!(user.upn)),
        ("upn", json!(user.upn)),
        ("associateid", json!(user.associate_id.to_string())),
        // .NET writes its truth values so.
        ("is_administrator", json!(if user.is_administrator { "True" } else { "False" })),
        ("company_name", json!("Sandbox Company")),
        ("ctx", json!(tenant.context_identifier)),
        ("serial", json!(tenant.serial)),
        ("netserver_url", json!(format!("{tenant_url}/Remote/Services88/"))),
    ];
    let mut jwt = Jwt::issue(registered, own, key, settings, world.clock.now());
    jwt.registered("nonce", json!(sign_in.nonce));
    jwt.registered("at_hash", json!(half_hash(sign_in.access_token)));
    jwt.registered("c_hash", json!(sign_in.code.map(half_hash)));
    if settings.id_token_system_token && tenant.system_token_claim {
        jwt.claim("system_token", json!(tenant.system_user_token));
    }
    if settings.id_token_webapi_url {
        jwt.claim("webapi_url", json!(format!("{tenant_url}/api/")));
    }
    jwt
}

fn spoil(jwt: &mut Jwt, flaw: IdTokenFlaw, world: &World) {
    const OTHER_APPLICATION: &str = "ffffffffffffffffffffffffffffffff";
    match flaw {
        IdTokenFlaw::Missing => {}
        IdTokenFlaw::WrongNonce => jwt.registered("nonce", json!("of-another-sign-in")),
        IdTokenFlaw::WithoutNonce => jwt.registered("nonce", Value::Null),
        IdTokenFlaw::OtherEnvironment => jwt.registered("iss", json!("https://another.superoffice.com")),
        IdTokenFlaw::SystemUserIssuer => jwt.registered("iss", json!("SuperOffice AS")),
        IdTokenFlaw::OtherApplication => jwt.registered("aud", json!(OTHER_APPLICATION)),
        IdTokenFlaw::TwoApplications => jwt.registered("aud", json!([world.client_id, OTHER_APPLICATION])),
        IdTokenFlaw::WrongAccessTokenHash => jwt.registered("at_hash", json!(half_hash("another"))),
        IdTokenFlaw::WrongCodeHash => jwt.registered("c_hash", json!(half_hash("another"))),
        IdTokenFlaw::WithoutSystemToken => jwt.without_claim("system_token"),
    }
}

/// The left half of the SHA-256, as `at_hash` and `c_hash` have it.
fn half_hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, secret.as_bytes()).as_ref()[..16])
}
