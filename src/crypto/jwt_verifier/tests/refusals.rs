//! Tokens that are refused, each with the reason that has to be given.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::*;
use crate::crypto::JwtRejection::{
    AlgorithmNotAllowed, ClaimMalformed, ClaimsMalformed, CriticalExtension, EncodingMalformed, HeaderMalformed,
    KeyNameTooLong, MemberRepeated, NotThreeParts, TooLarge, TypeNotAllowed, UnencodedPayload,
};

/// Each is signed by SuperOffice's key, so that nothing but the rule it is about refuses it.
#[test]
fn wrong_claims_are_refused_each_for_its_reason() {
    let superoffice = Signer::superoffice();
    let set = |claim: &str, value: Value| with(claims(), &name(claim), value);
    let remove = |claim: &str| without(claims(), &name(claim));
    let negatives = [
        ("expired", set("exp", json!(NOW - 60)), Expired),
        ("expired long ago", set("exp", json!(1)), Expired),
        ("expired before 1970", set("exp", json!(-1)), Expired),
        ("exp as a string", set("exp", json!((NOW + 300).to_string())), ClaimMalformed("exp")),
        ("exp as a fraction", set("exp", json!(1.8e9)), ClaimMalformed("exp")),
        ("exp as null", set("exp", Value::Null), ClaimMalformed("exp")),
        ("exp as a list", set("exp", json!([NOW + 300])), ClaimMalformed("exp")),
        ("exp out of range", set("exp", json!(u64::MAX)), ClaimMalformed("exp")),
        ("no exp", remove("exp"), ClaimMissing("exp")),
        ("not valid yet", set("nbf", json!(NOW + 61)), NotYetValid),
        ("nbf at the end of time", set("nbf", json!(i64::MAX)), NotYetValid),
        ("nbf as a string", set("nbf", json!((NOW - 60).to_string())), ClaimMalformed("nbf")),
        ("no nbf", remove("nbf"), ClaimMissing("nbf")),
        ("issued in the future", set("iat", json!(NOW + 61)), IssuedInFuture),
        ("issued in the future, as a string", set("iat", json!((NOW + 61).to_string())), IssuedInFuture),
        ("iat as words", set("iat", json!("yesterday")), ClaimMalformed("iat")),
        ("iat empty", set("iat", json!("")), ClaimMalformed("iat")),
        ("iat signed", set("iat", json!("+1")), ClaimMalformed("iat")),
        ("iat out of range", set("iat", json!("9".repeat(40))), ClaimMalformed("iat")),
        ("iat as null", set("iat", Value::Null), ClaimMalformed("iat")),
        ("another issuer", set("iss", json!("https://sod.superoffice.com")), IssuerMismatch),
        ("issuer in lower case", set("iss", json!("superoffice as")), IssuerMismatch),
        ("issuer with a space", set("iss", json!("SuperOffice AS ")), IssuerMismatch),
        ("two issuers", set("iss", json!(["SuperOffice AS", "Evil AS"])), ClaimMalformed("iss")),
        ("issuer as a number", set("iss", json!(1)), ClaimMalformed("iss")),
        ("no issuer", remove("iss"), ClaimMissing("iss")),
        ("another audience", set("aud", json!("spn:1")), AudienceMismatch),
        ("audience is an application", set("aud", json!("0123456789abcdef0123456789abcdef")), AudienceMismatch),
        ("audience without spn:", set("aud", json!(SERIAL)), AudienceMismatch),
        ("audience with more behind", set("aud", json!(format!("spn:{SERIAL}0"))), AudienceMismatch),
        ("two audiences", set("aud", json!([format!("spn:{SERIAL}"), "spn:1"])), ClaimMalformed("aud")),
        ("audience empty", set("aud", json!([])), ClaimMalformed("aud")),
        ("no audience", remove("aud"), ClaimMissing("aud")),
        ("another tenant", set("ctx", json!("Cust26760")), ContextIdentifierMismatch),
        ("the tenant's name as a beginning", set("ctx", json!("Cust267590")), ContextIdentifierMismatch),
        ("two tenants", set("ctx", json!(["Cust26759", "Cust26760"])), ClaimMalformed("ctx")),
        ("no name of a tenant", set("ctx", json!("Cust26759/../Cust1")), ClaimMalformed("ctx")),
        ("no tenant", remove("ctx"), ClaimMissing("ctx")),
        ("ctx without its namespace", with(remove("ctx"), "ctx", json!("Cust26759")), ClaimMissing("ctx")),
        ("another system user token", set("system_token", json!("Other-8k8Q7DmBgo")), SystemUserTokenMismatch),
        ("other system user tokens", set("system_token", json!(["a", "b"])), SystemUserTokenMismatch),
        ("no system user token in the list", set("system_token", json!([])), SystemUserTokenMismatch),
        ("system user token as a number", set("system_token", json!(7)), ClaimMalformed("system_token")),
        (
            "a list not of strings only",
            set("system_token", json!([SYSTEM_USER_TOKEN, 7])),
            ClaimMalformed("system_token"),
        ),
        ("another database", with(set("serial", json!("1801550194")), "aud", json!("spn:1801550194")), SerialMismatch),
        ("serial as a number", set("serial", json!(1_801_550_193)), ClaimMalformed("serial")),
        ("serial empty", with(set("serial", json!("")), "aud", json!("spn:")), ClaimMalformed("serial")),
        ("serial endless", set("serial", json!("1".repeat(65))), ClaimMalformed("serial")),
        ("no serial", remove("serial"), ClaimMissing("serial")),
        ("ticket with another prefix", set("ticket", json!("8A:Cust26759.abc")), ClaimMalformed("ticket")),
        ("ticket empty", set("ticket", json!("7T:")), ClaimMalformed("ticket")),
        ("ticket endless", set("ticket", json!(format!("7T:{}", "A".repeat(2_000)))), ClaimMalformed("ticket")),
        ("ticket with a line break", set("ticket", json!("7T:AAAA\r\nX-Evil: 1")), ClaimMalformed("ticket")),
        ("two tickets", set("ticket", json!([TICKET, "7T:other"])), ClaimMalformed("ticket")),
        ("no ticket", remove("ticket"), ClaimMissing("ticket")),
    ];
    for (what, claims, expected) in negatives {
        let jwt = superoffice.sign(&header(), &claims);
        assert_eq!(verify(&jwt, &superoffice.keys(), at(NOW)).err(), Some(expected), "{what}");
    }
}

#[test]
fn wrong_headers_are_refused_each_for_its_reason() {
    let superoffice = Signer::superoffice();
    let negatives = [
        ("alg none", with(header(), "alg", json!("none")), AlgorithmNotAllowed),
        ("alg None", with(header(), "alg", json!("None")), AlgorithmNotAllowed),
        ("alg HS256", with(header(), "alg", json!("HS256")), AlgorithmNotAllowed),
        ("alg RS512", with(header(), "alg", json!("RS512")), AlgorithmNotAllowed),
        ("alg PS256", with(header(), "alg", json!("PS256")), AlgorithmNotAllowed),
        ("alg rs256", with(header(), "alg", json!("rs256")), AlgorithmNotAllowed),
        ("alg as a list", with(header(), "alg", json!(["RS256"])), AlgorithmNotAllowed),
        ("no alg", without(header(), "alg"), AlgorithmNotAllowed),
        ("typ of an access token", with(header(), "typ", json!("at+jwt")), TypeNotAllowed),
        ("typ as null", with(header(), "typ", Value::Null), TypeNotAllowed),
        ("crit", with(header(), "crit", json!(["exp"])), CriticalExtension),
        ("crit empty", with(header(), "crit", json!([])), CriticalExtension),
        ("b64 false", with(header(), "b64", json!(false)), UnencodedPayload),
        ("kid of 10 KiB", with(header(), "kid", json!("k".repeat(10_240))), KeyNameTooLong),
        ("x5t of 10 KiB", with(header(), "x5t", json!("k".repeat(10_240))), KeyNameTooLong),
        ("kid as a number", with(header(), "kid", json!(1)), HeaderMalformed),
        ("kid as null", with(header(), "kid", Value::Null), HeaderMalformed),
        ("unknown kid", json!({"alg": "RS256", "kid": "unknown"}), UnknownKey),
        ("kid as a path", json!({"alg": "RS256", "kid": "../../../dev/null"}), UnknownKey),
        ("kid as SQL", json!({"alg": "RS256", "kid": "' OR 1=1 --"}), UnknownKey),
        ("kid empty", json!({"alg": "RS256", "kid": ""}), UnknownKey),
        ("unknown x5t", json!({"alg": "RS256", "x5t": "unknown"}), UnknownKey),
        ("the header as a list", json!([header()]), HeaderMalformed),
        ("the header as a string", json!("RS256"), HeaderMalformed),
    ];
    for (what, header, expected) in negatives {
        let jwt = superoffice.sign(&header, &claims());
        assert_eq!(verify(&jwt, &superoffice.keys(), at(NOW)).err(), Some(expected), "{what}");
        // What no key can make valid is refused before a key is looked up.
        let unverified = unverified_header(&UnverifiedJwt::new(jwt)).err();
        assert_eq!(unverified, (expected != UnknownKey).then_some(expected), "{what}");
    }
}

#[test]
fn wrong_signatures_are_refused_each_for_its_reason() {
    let (superoffice, another) = (Signer::superoffice(), Signer::another());
    let (header_text, claims_text) = (header().to_string(), claims().to_string());
    let good = superoffice.sign(&header(), &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let resigned = |signature: &[u8]| format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let changed = |header: &Value, claims: &Value| {
        format!(
            "{}.{}.{signature}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        )
    };
    let public_pem = include_str!("../../../../tests/fixtures/keys/selfmade2048.public.pem");
    let hmac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public_pem.as_bytes()), signed.as_bytes());
    let own_jwk = with(header(), "jwk", another.jwk());
    let jku = with(header(), "jku", json!("https://evil.example/jwks"));
    for (what, jwt, expected) in [
        ("another environment's key", another.sign(&header(), &claims()), SignatureInvalid),
        ("another's key in the header", another.sign(&own_jwk, &claims()), SignatureInvalid),
        ("another's key by URL", another.sign(&jku, &claims()), SignatureInvalid),
        ("another's key, none named", another.sign(&json!({"alg": "RS256"}), &claims()), SignatureInvalid),
        ("SHA-512 in truth", superoffice.sign_by(&RSA_PKCS1_SHA512, &header_text, &claims_text), SignatureInvalid),
        ("PSS in truth", superoffice.sign_by(&RSA_PSS_SHA256, &header_text, &claims_text), SignatureInvalid),
        ("HMAC with the public key", resigned(hmac.as_ref()), SignatureInvalid),
        (
            "one bit",
            resigned(&raw.iter().enumerate().map(|(i, b)| b ^ u8::from(i == 99)).collect::<Vec<_>>()),
            SignatureInvalid,
        ),
        ("one byte less", resigned(&raw[..255]), SignatureInvalid),
        ("one byte more", resigned(&[&raw[..], &[0]].concat()), SignatureInvalid),
        ("zeros", resigned(&[0; 256]), SignatureInvalid),
        (
            "another tenant under the old signature",
            changed(&header(), &with(claims(), &own("ctx"), json!("Cust1"))),
            SignatureInvalid,
        ),
        (
            "another header under the old signature",
            changed(&with(header(), "x", json!(1)), &claims()),
            SignatureInvalid,
        ),
    ] {
        assert_eq!(verify(&jwt, &superoffice.keys(), at(NOW)).err(), Some(expected), "{what}");
    }
    for environment in Environment::ALL {
        // The header names the sod key; the others do not have it, and sod's did not sign.
        let expected = if environment == Environment::Sod { SignatureInvalid } else { UnknownKey };
        let keys = VerificationKeys::pinned(environment);
        assert_eq!(verify(&good, &keys, at(NOW)).err(), Some(expected), "{environment}");
    }
    assert_eq!(verify(&good, &VerificationKeys::default(), at(NOW)).err(), Some(UnknownKey));
}

#[test]
fn wrong_forms_are_refused_each_for_its_reason() {
    let superoffice = Signer::superoffice();
    let good = superoffice.sign(&header(), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let [header_part, payload, signature] = parts.as_slice() else { panic!("three parts") };
    let (header_text, claims_text) = (header().to_string(), claims().to_string());
    let raw = |header: &str, claims: &str| superoffice.sign_by(&RSA_PKCS1_SHA256, header, claims);
    let repeated = |text: &str, member: &str| format!("{{{member},{}", &text[1..]);
    let padded = |part: &str| URL_SAFE.encode(URL_SAFE_NO_PAD.decode(part).unwrap());
    let swap_last = |part: &str| format!("{}{}", &part[..part.len() - 1], "B");
    for (what, jwt, expected) in [
        ("nothing", String::new(), NotThreeParts),
        ("one part", (*payload).to_owned(), NotThreeParts),
        ("two parts", format!("{header_part}.{payload}"), NotThreeParts),
        ("encrypted, five parts", format!("{good}.AAAA.AAAA"), NotThreeParts),
        ("four parts", format!("{good}.AAAA"), NotThreeParts),
        ("a dot behind", format!("{good}."), NotThreeParts),
        ("no signature", format!("{header_part}.{payload}."), NotThreeParts),
        ("detached", format!("{header_part}..{signature}"), NotThreeParts),
        ("no header", format!(".{payload}.{signature}"), NotThreeParts),
        ("1 MiB", "A".repeat(1 << 20), TooLarge),
        ("1 MiB, signed", raw(&header_text, &format!("{claims_text}{}", " ".repeat(1 << 20))), TooLarge),
        ("a line end behind", format!("{good}\n"), EncodingMalformed),
        ("bytes behind", format!("{good}AAAA!"), EncodingMalformed),
        ("a space before", format!(" {good}"), EncodingMalformed),
        ("signature padded", format!("{header_part}.{payload}.{}", padded(signature)), EncodingMalformed),
        ("signature in standard Base64", format!("{header_part}.{payload}.+/{}", &signature[2..]), EncodingMalformed),
        ("signature with stray bits", format!("{header_part}.{payload}.{}", swap_last(signature)), EncodingMalformed),
        ("header with stray characters", format!("{header_part}=.{payload}.{signature}"), EncodingMalformed),
        ("not ASCII", format!("{header_part}.{payload}.ä"), EncodingMalformed),
        ("SAML", STANDARD.encode("<Assertion/>"), NotThreeParts),
        ("header is no JSON", raw("RS256", &claims_text), HeaderMalformed),
        ("header with bytes behind", raw(&format!("{header_text}x"), &claims_text), HeaderMalformed),
        ("header twice", raw(&format!("{header_text}{header_text}"), &claims_text), HeaderMalformed),
        ("alg twice", raw(&repeated(&header_text, r#""alg":"none""#), &claims_text), MemberRepeated),
        ("kid twice", raw(&repeated(&header_text, r#""kid":"x""#), &claims_text), MemberRepeated),
        (
            "an unknown header member twice",
            raw(&repeated(&header_text, r#""x":1,"x":1"#), &claims_text),
            MemberRepeated,
        ),
        ("exp twice", raw(&header_text, &repeated(&claims_text, r#""exp":1"#)), MemberRepeated),
        (
            "ctx twice",
            raw(&header_text, &repeated(&claims_text, &format!("\"{}\":\"Cust1\"", own("ctx")))),
            MemberRepeated,
        ),
        (
            "ctx twice, once escaped",
            {
                let escaped = own("ctx").replace("ctx", "\\u0063tx");
                raw(&header_text, &repeated(&claims_text, &format!("\"{escaped}\":\"Cust26759\"")))
            },
            MemberRepeated,
        ),
        ("claims are no JSON", raw(&header_text, "claims"), ClaimsMalformed),
        ("claims are a list", raw(&header_text, "[]"), ClaimsMalformed),
        ("claims with bytes behind", raw(&header_text, &format!("{claims_text}{{}}")), ClaimsMalformed),
        ("claims cut short", raw(&header_text, &claims_text[..claims_text.len() - 1]), ClaimsMalformed),
        (
            "claims too deep",
            raw(&header_text, &format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500))),
            ClaimsMalformed,
        ),
        ("a number too big", raw(&header_text, &repeated(&claims_text, "\"x\":1e999")), ClaimsMalformed),
    ] {
        assert_eq!(verify(&jwt, &superoffice.keys(), at(NOW)).err(), Some(expected), "{what}");
    }
}
