//! Builds SuperOffice's JWTs: true to form, then spoiled where a behaviour says so.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::jwt_flaw::{JwtFlaw, WrongTenant};
use crate::keys::SigningKey;
use crate::settings::Settings;
use crate::tenants::Tenant;

const CLAIM: &str = "http://schemes.superoffice.net/identity/";

/// A JWT before it is signed.
pub(crate) struct Jwt {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Jwt {
    /// The JWT around a ticket.
    pub(crate) fn new(
        tenant: &Tenant,
        tenant_url: &str,
        ticket: &str,
        application_name: &str,
        key: &SigningKey,
        settings: &Settings,
        now: Timestamp,
    ) -> Self {
        let token = &tenant.system_user_token;
        let registered = json!({
            "sub": application_name,
            "iss": "SuperOffice AS",
            "aud": format!("spn:{}", tenant.serial),
        });
        let own = [
            ("identityprovider", json!("superid")),
            ("email", json!(application_name)),
            ("upn", json!(application_name)),
            ("initials", json!("SYS")),
            ("associateid", json!("5")),
            ("is_administrator", json!("True")),
            ("company_name", json!("Sandbox Company")),
            ("company_id", json!("1")),
            ("ctx", json!(tenant.context_identifier)),
            ("serial", json!(tenant.serial)),
            ("ticket", json!(ticket)),
            ("system_token", if settings.system_token_as_array { json!([token, token]) } else { json!(token) }),
            ("netserver_url", json!(format!("{tenant_url}/Remote/Services88/"))),
        ];
        let mut jwt = Self::issue(registered, own, key, settings, now);
        if settings.webapi_url_claim {
            jwt.claim("webapi_url", json!(format!("{tenant_url}/api/")));
        }
        jwt
    }

    /// A JWT with SuperOffice's header and times, with these registered claims and these of SuperOffice's own.
    pub(crate) fn issue(
        registered: Value,
        own: impl IntoIterator<Item = (&'static str, Value)>,
        key: &SigningKey,
        settings: &Settings,
        now: Timestamp,
    ) -> Self {
        let issued = now.as_second();
        let life = i64::try_from(settings.jwt_life.as_secs()).unwrap_or(i64::MAX);
        let mut header = object(json!({ "alg": "RS256", "kid": key.kid, "x5t": key.x5t, "typ": "JWT" }));
        if !settings.jwt_with_kid {
            header.remove("kid");
        }
        let mut claims = object(registered);
        claims.extend(object(json!({
            "iat": if settings.iat_as_string { json!(issued.to_string()) } else { json!(issued) },
            "nbf": issued.saturating_sub(60),
            "exp": issued.saturating_add(life),
        })));
        let mut jwt = Self { header, claims };
        for (name, value) in own {
            jwt.claim(name, value);
        }
        jwt
    }

    /// Puts a registered claim in, or takes it out if it is null.
    pub(crate) fn registered(&mut self, name: &str, value: Value) {
        if value.is_null() {
            self.claims.remove(name);
        } else {
            self.claims.insert(name.to_owned(), value);
        }
    }

    pub(crate) fn sign(&self, key: &SigningKey) -> String {
        let input = self.signing_input();
        let signature = key.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Mixes in what belongs to another tenant. A replay is not for this to build.
    pub(crate) fn mixed_up(mut self, how: WrongTenant, own: &Tenant, other: &Tenant) -> Self {
        let (mine, theirs) = (&own.context_identifier, &other.context_identifier);
        match how {
            WrongTenant::OtherContext => self.claim("ctx", json!(theirs)),
            WrongTenant::OtherContextSerialAndAudience => {
                self.claim("ctx", json!(theirs));
                self.serial(&other.serial);
            }
            WrongTenant::ContextArray => self.claim("ctx", json!([mine, theirs])),
            WrongTenant::ContextMissing => self.without_claim("ctx"),
            WrongTenant::ContextEmpty => self.claim("ctx", json!("")),
            WrongTenant::ContextTrailingSpace => self.claim("ctx", json!(format!("{mine} "))),
            WrongTenant::ContextSuffix => self.claim("ctx", json!(format!("{mine}0"))),
            WrongTenant::OtherSystemToken => self.claim("system_token", json!(other.system_user_token)),
            WrongTenant::OtherSerial => self.serial(&other.serial),
            WrongTenant::Replayed => {}
        }
        self
    }

    /// Signs it in such a way, or with such claims, that it must not be trusted. `other` is a key of SuperOffice's that
    /// does not sign at present.
    pub(crate) fn flawed(mut self, flaw: JwtFlaw, key: &SigningKey, other: &SigningKey, now: Timestamp) -> String {
        let now = now.as_second();
        match flaw {
            JwtFlaw::Expired => {
                self.claims.insert("nbf".to_owned(), json!(now.saturating_sub(3960)));
                self.claims.insert("exp".to_owned(), json!(now.saturating_sub(3600)));
            }
            JwtFlaw::NotYetValid => {
                self.claims.insert("nbf".to_owned(), json!(now.saturating_add(3600)));
                self.claims.insert("exp".to_owned(), json!(now.saturating_add(3960)));
            }
            JwtFlaw::WithoutExpiry => drop(self.claims.remove("exp")),
            JwtFlaw::ExpiryAsString => {
                self.claims.insert("exp".to_owned(), json!(now.saturating_add(300).to_string()));
            }
            JwtFlaw::WrongIssuer => drop(self.claims.insert("iss".to_owned(), json!("Somebody Else AS"))),
            JwtFlaw::WithoutIssuer => drop(self.claims.remove("iss")),
            JwtFlaw::WrongAudience => drop(self.claims.insert("aud".to_owned(), json!("spn:another-service"))),
            JwtFlaw::WithoutAudience => drop(self.claims.remove("aud")),
            JwtFlaw::WithoutTicket => self.without_claim("ticket"),
            JwtFlaw::WithoutSerial => self.without_claim("serial"),
            JwtFlaw::ForeignWebapiUrl => {
                self.claim("webapi_url", json!("https://superoffice.com.example.org/Cust12345/api/"));
            }
            JwtFlaw::Oversized => self.claim("company_name", json!("A".repeat(1 << 20))),
            JwtFlaw::WrongKid => {
                self.header.insert("kid".to_owned(), json!("00112233445566778899AABBCCDDEEFF00112233"));
                self.header.insert("x5t".to_owned(), json!("ABEiM0RVZneImaq7zN3u_wARIjM"));
            }
            JwtFlaw::CriticalHeader => drop(self.header.insert("crit".to_owned(), json!(["urn:unknown"]))),
            JwtFlaw::EmbeddedKey => drop(self.header.insert("jwk".to_owned(), other.jwk.clone())),
            JwtFlaw::KeyUrl => drop(self.header.insert("jku".to_owned(), json!("http://127.0.0.1:9/jwks"))),
            JwtFlaw::AlgNone => drop(self.header.insert("alg".to_owned(), json!("none"))),
            JwtFlaw::HmacWithPublicKey => drop(self.header.insert("alg".to_owned(), json!("HS256"))),
            JwtFlaw::SignedByAnotherKey
            | JwtFlaw::BadSignature
            | JwtFlaw::Unsigned
            | JwtFlaw::TrailingBytes
            | JwtFlaw::Garbage => {}
        }
        let input = self.signing_input();
        match flaw {
            JwtFlaw::SignedByAnotherKey | JwtFlaw::EmbeddedKey | JwtFlaw::KeyUrl => self.sign(other),
            JwtFlaw::Unsigned | JwtFlaw::AlgNone => format!("{input}."),
            JwtFlaw::BadSignature => {
                let mut signature = key.sign(input.as_bytes());
                if let Some(byte) = signature.first_mut() {
                    *byte ^= 1;
                }
                format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
            }
            JwtFlaw::HmacWithPublicKey => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, key.public_pem.as_bytes());
                format!("{input}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&secret, input.as_bytes())))
            }
            JwtFlaw::TrailingBytes => format!("{}.AAAA", self.sign(key)),
            JwtFlaw::Garbage => "PD94bWwgdmVyc2lvbj0iMS4wIj8+".to_owned(),
            _ => self.sign(key),
        }
    }

    fn signing_input(&self) -> String {
        let part = |members: &Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(members.clone()).to_string());
        format!("{}.{}", part(&self.header), part(&self.claims))
    }

    /// Puts a claim of SuperOffice's in.
    pub(crate) fn claim(&mut self, name: &str, value: Value) {
        self.claims.insert(format!("{CLAIM}{name}"), value);
    }

    pub(crate) fn without_claim(&mut self, name: &str) {
        self.claims.remove(&format!("{CLAIM}{name}"));
    }

    fn serial(&mut self, serial: &str) {
        self.claim("serial", json!(serial));
        // Only a system user token's audience is its database.
        if self.claims.get("iss").is_some_and(|issuer| issuer == "SuperOffice AS") {
            self.claims.insert("aud".to_owned(), json!(format!("spn:{serial}")));
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
