use jiff::Timestamp;
use superoffice_sandbox::{Behaviour, JwtFlaw, Sandbox, WrongTenant};

use crate::partner::{CLAIM, NOW, Scene, claims, header, is_signed};

/// A flaw must be there, and must be the only one: whoever refuses the JWT refuses it for that reason.
#[tokio::test]
async fn every_flaw_is_there_and_alone() {
    let scene = Scene::new().await;
    let jwks = scene.jwks().await;
    let now = NOW.parse::<Timestamp>().unwrap().as_second();
    let right = scene.jwt().await;
    for flaw in JwtFlaw::ALL {
        scene.sandbox.set_behaviour(Behaviour::Jwt(flaw).times(1));
        let jwt = scene.jwt().await;
        if flaw == JwtFlaw::Garbage {
            assert!(!jwt.contains('.'));
            continue;
        }
        let (header, claims) = (header(&jwt), claims(&jwt));
        let claim = |name: &str| claims.get(format!("{CLAIM}{name}"));
        let signed = !matches!(
            flaw,
            JwtFlaw::WrongKid
                | JwtFlaw::SignedByAnotherKey
                | JwtFlaw::BadSignature
                | JwtFlaw::Unsigned
                | JwtFlaw::AlgNone
                | JwtFlaw::HmacWithPublicKey
                | JwtFlaw::EmbeddedKey
                | JwtFlaw::KeyUrl
                | JwtFlaw::TrailingBytes
        );
        assert_eq!(is_signed(&jwt, &jwks), signed, "{flaw:?}");
        let there = match flaw {
            JwtFlaw::Expired => claims["exp"].as_i64().unwrap() < now,
            JwtFlaw::NotYetValid => claims["nbf"].as_i64().unwrap() > now,
            JwtFlaw::WithoutExpiry => claims.get("exp").is_none(),
            JwtFlaw::ExpiryAsString => claims["exp"].as_str().unwrap().parse::<i64>().unwrap() > now,
            JwtFlaw::WrongIssuer => claims["iss"] != "SuperOffice AS",
            JwtFlaw::WithoutIssuer => claims.get("iss").is_none(),
            JwtFlaw::WrongAudience => claims["aud"] != format!("spn:{}", scene.tenant.serial),
            JwtFlaw::WithoutAudience => claims.get("aud").is_none(),
            JwtFlaw::WithoutTicket => claim("ticket").is_none(),
            JwtFlaw::WithoutSerial => claim("serial").is_none(),
            JwtFlaw::ForeignWebapiUrl => claim("webapi_url").unwrap().as_str().unwrap().contains("example.org"),
            JwtFlaw::WrongKid => header["kid"].as_str().unwrap().starts_with("0011"),
            JwtFlaw::AlgNone => header["alg"] == "none" && jwt.ends_with('.'),
            JwtFlaw::Unsigned => header["alg"] == "RS256" && jwt.ends_with('.'),
            JwtFlaw::HmacWithPublicKey => header["alg"] == "HS256",
            JwtFlaw::EmbeddedKey => header["jwk"]["kty"] == "RSA",
            JwtFlaw::KeyUrl => header["jku"].is_string(),
            JwtFlaw::CriticalHeader => header["crit"].is_array(),
            JwtFlaw::TrailingBytes => is_signed(jwt.rsplit_once('.').unwrap().0, &jwks),
            JwtFlaw::Oversized => jwt.len() > 1 << 20,
            JwtFlaw::SignedByAnotherKey | JwtFlaw::BadSignature => {
                header == crate::partner::header(&right) && claims["exp"] == now + 300
            }
            JwtFlaw::Garbage => true,
        };
        assert!(there, "{flaw:?}");
    }
    assert!(is_signed(&scene.jwt().await, &jwks), "each was limited to one request");
}

#[tokio::test]
async fn a_jwt_of_the_wrong_tenant_is_properly_signed_in_every_variant() {
    let scene = Scene::with(Sandbox::builder()).await;
    let other = scene.sandbox.add_tenant("Cust54321");
    let jwks = scene.jwks().await;
    for how in WrongTenant::ALL {
        scene.sandbox.set_behaviour(Behaviour::WrongTenant(how).for_tenant("Cust12345").times(1));
        let jwt = scene.jwt().await;
        assert!(is_signed(&jwt, &jwks), "{how:?}");
        let claims = claims(&jwt);
        let claim = |name: &str| claims.get(format!("{CLAIM}{name}")).cloned().unwrap_or_default();
        let (own_ctx, own_serial) = (claim("ctx") == "Cust12345", claim("serial") == scene.tenant.serial);
        let own_token = claim("system_token").to_string().contains(&scene.tenant.system_user_token);
        assert_eq!(claims["aud"], format!("spn:{}", claim("serial").as_str().unwrap()), "the audience fits the serial");
        let expected = match how {
            WrongTenant::OtherSystemToken => (true, true, false),
            WrongTenant::OtherSerial => (true, false, true),
            WrongTenant::OtherContextSerialAndAudience => (false, false, true),
            WrongTenant::Replayed => (false, false, false),
            _ => (false, true, true),
        };
        assert_eq!((own_ctx, own_serial, own_token), expected, "{how:?}");
        if how == WrongTenant::OtherContext {
            assert_eq!(claim("ctx"), other.context_identifier);
        }
    }
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 10);
    assert_eq!(scene.sandbox.exchanges("Cust54321"), 0);
}
