//! Tokens of Kubernetes service accounts, each refused one with the reason that has to be given.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use aws_lc_rs::signature::{EcdsaSigningAlgorithm, RSA_PKCS1_SHA384, RSA_PSS_SHA256};

use super::*;
use crate::crypto::JwtRejection::{
    AlgorithmNotAllowed, ClaimMalformed, ClaimsMalformed, CriticalExtension, EncodingMalformed, HeaderMalformed,
    KeyNameTooLong, KeyNotNamed, MemberRepeated, NotThreeParts, ServiceAccountMismatch, TooLarge, TypeNotAllowed,
    UnencodedPayload,
};
use crate::crypto::KeySetError;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const AUDIENCE: &str = "ticketd";
const RSA_KID: &str = "DHVdlzBjRvcUdqPT1hJNnLzM4eS3mFTq1Ik3nlk1nGw";
const EC_KID: &str = "zOT3xXtVZQJ9JrOzJYwvR9kX1oVvVj7hZ3m4FhZ1p2k";
const POD_UID: &str = "b6b1b5a2-6f0b-4a3e-9f3d-2d8d1b1f3c11";

/// The cluster's second key.
struct EcSigner(EcdsaKeyPair);

impl EcSigner {
    fn cluster() -> Self {
        Self::read(&ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    fn read(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        let pem = include_str!("../../../../tests/fixtures/keys/other.ec.pkcs8.pem");
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(algorithm, &der).unwrap())
    }

    fn jwk(&self) -> Value {
        let point = &self.0.public_key().as_ref()[1..];
        json!({"kty": "EC", "use": "sig", "alg": "ES256", "kid": EC_KID, "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(&point[..32]), "y": URL_SAFE_NO_PAD.encode(&point[32..])})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn keys() -> VerificationKeys {
    let rsa = with(with(Signer::superoffice().jwk(), "kid", json!(RSA_KID)), "x5t", json!("x5t"));
    let set = json!({"keys": [rsa, EcSigner::cluster().jwk()]}).to_string();
    VerificationKeys::from_cluster_jwks(set.as_bytes()).unwrap()
}

/// As kube-apiserver writes it.
fn header() -> Value {
    json!({"alg": "RS256", "kid": RSA_KID})
}

fn es256() -> Value {
    json!({"alg": "ES256", "kid": EC_KID})
}

/// The claims of a projected token, in kube-apiserver's own form.
fn claims() -> Value {
    json!({
        "aud": [AUDIENCE], "exp": NOW + 3607, "iat": NOW, "iss": ISSUER,
        "jti": "0d4d4a5c-b6f9-4d6b-8f0a-6f6a2a1d7f2e",
        "kubernetes.io": {
            "namespace": "crm",
            "node": {"name": "node-1", "uid": "3f1a7f0a-2f0e-4d1c-8a4e-0c9f5d1f2b3a"},
            "pod": {"name": "sync-7d9c6b5f4-abcde", "uid": POD_UID},
            "serviceaccount": {"name": "sync", "uid": "9a2c1f6e-1b7d-4a57-8d0c-5f0b3f6d7e21"},
            "warnafter": NOW + 3607,
        },
        "nbf": NOW, "sub": "system:serviceaccount:crm:sync",
    })
}

fn own(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims["kubernetes.io"]);
    claims
}

fn verify(jwt: &str, now: Timestamp) -> Result<ServiceAccountClaims, JwtRejection> {
    let profile = ServiceAccountProfile { issuer: ISSUER, audience: AUDIENCE, leeway: Duration::from_secs(30) };
    verify_service_account_token(&UnverifiedJwt::new(jwt), &keys(), &profile, now)
}

fn sign(header: &Value, claims: &Value) -> String {
    Signer::superoffice().sign(header, claims)
}

#[test]
fn projected_tokens_of_both_kinds_of_keys_verify() {
    for jwt in [sign(&header(), &claims()), EcSigner::cluster().sign(&es256(), &claims())] {
        let verified = verify(&jwt, at(NOW)).unwrap();
        assert_eq!(verified.account.as_str(), "crm/sync");
        assert_eq!(verified.pod_uid.as_deref(), Some(POD_UID));
        assert_eq!(verified.expires, at(NOW + 3607 + 30));
    }
    for (what, header, claims) in [
        ("typ", with(header(), "typ", json!("JWT")), claims()),
        ("one audience, as a string", header(), with(claims(), "aud", json!(AUDIENCE))),
        ("one audience of several", header(), with(claims(), "aud", json!(["vault", AUDIENCE]))),
        (
            "a token for no pod, as `kubectl create token` asks for",
            header(),
            own(|own| {
                own.as_object_mut().unwrap().remove("pod");
            }),
        ),
        (
            "a token for a node",
            header(),
            own(|own| {
                own.as_object_mut().unwrap().remove("pod");
                own["node"] = json!({"name": "n", "uid": "u"});
            }),
        ),
    ] {
        assert_eq!(verify(&sign(&header, &claims), at(NOW)).err(), None, "{what}");
    }
}

#[test]
fn the_times_are_kept_to_the_second() {
    let jwt = sign(&header(), &claims());
    for (what, now, expected) in [
        ("before nbf", at(NOW - 31), Some(NotYetValid)),
        ("on nbf less leeway", at(NOW - 30), None),
        ("just before exp and leeway", at(NOW + 3636), None),
        ("on exp and leeway", at(NOW + 3637), Some(Expired)),
    ] {
        assert_eq!(verify(&jwt, now).err(), expected, "{what}");
    }
}

/// Each is signed by the cluster, so that nothing but the rule it is about refuses it.
#[test]
fn wrong_claims_are_refused_each_for_its_reason() {
    let set = |claim: &str, value: Value| with(claims(), claim, value);
    let missing = |claim: &str| without(claims(), claim);
    let negatives = [
        ("for another audience", set("aud", json!(["vault"])), AudienceMismatch),
        ("for the API server", set("aud", json!([ISSUER])), AudienceMismatch),
        ("for an audience that begins like ours", set("aud", json!(["ticketd2"])), AudienceMismatch),
        ("for our audience in capitals", set("aud", json!("TICKETD")), AudienceMismatch),
        ("for nobody", set("aud", json!([])), AudienceMismatch),
        ("audience as a number", set("aud", json!([1, AUDIENCE])), ClaimMalformed("aud")),
        ("audience within a list within a list", set("aud", json!([[AUDIENCE]])), ClaimMalformed("aud")),
        ("without audience", missing("aud"), ClaimMissing("aud")),
        ("expired", set("exp", json!(NOW - 30)), Expired),
        ("exp as a string", set("exp", json!((NOW + 600).to_string())), ClaimMalformed("exp")),
        ("exp as a fraction", set("exp", json!(1.9e9)), ClaimMalformed("exp")),
        ("exp as null", set("exp", Value::Null), ClaimMalformed("exp")),
        ("without exp", missing("exp"), ClaimMissing("exp")),
        ("not valid yet", set("nbf", json!(NOW + 31)), NotYetValid),
        ("nbf as a string", set("nbf", json!("0")), ClaimMalformed("nbf")),
        ("without nbf", missing("nbf"), ClaimMissing("nbf")),
        ("issued in the future", set("iat", json!(NOW + 31)), IssuedInFuture),
        ("iat as a string", set("iat", json!(NOW.to_string())), ClaimMalformed("iat")),
        ("without iat", missing("iat"), ClaimMissing("iat")),
        ("of another cluster", set("iss", json!("https://kubernetes.default.svc")), IssuerMismatch),
        ("of our issuer with a slash", set("iss", json!(format!("{ISSUER}/"))), IssuerMismatch),
        ("of two issuers", set("iss", json!([ISSUER, "https://evil.example"])), ClaimMalformed("iss")),
        ("without issuer", missing("iss"), ClaimMissing("iss")),
        ("sub of another namespace", set("sub", json!("system:serviceaccount:ops:sync")), ServiceAccountMismatch),
        ("sub of another account", set("sub", json!("system:serviceaccount:crm:admin")), ServiceAccountMismatch),
        ("sub of a user", set("sub", json!("sync")), ServiceAccountMismatch),
        ("sub of a node", set("sub", json!("system:node:crm:sync")), ServiceAccountMismatch),
        ("sub with more behind", set("sub", json!("system:serviceaccount:crm:sync:x")), ServiceAccountMismatch),
        ("two subs", set("sub", json!(["system:serviceaccount:crm:sync", "x"])), ClaimMalformed("sub")),
        ("without sub", missing("sub"), ClaimMissing("sub")),
        ("own namespace another", own(|own| own["namespace"] = json!("ops")), ServiceAccountMismatch),
        ("own name another", own(|own| own["serviceaccount"]["name"] = json!("admin")), ServiceAccountMismatch),
        ("own namespace a number", own(|own| own["namespace"] = json!(1)), ClaimMalformed("kubernetes.io")),
        ("without own account", own(|own| own["serviceaccount"] = json!({})), ClaimMalformed("kubernetes.io")),
        ("own claims a list", set("kubernetes.io", json!(["crm", "sync"])), ClaimMalformed("kubernetes.io")),
        ("without own claims", missing("kubernetes.io"), ClaimMissing("kubernetes.io")),
        ("a pod without uid", own(|own| own["pod"] = json!({"name": "p"})), ClaimMalformed("kubernetes.io")),
        ("a pod's uid with a line end", own(|own| own["pod"]["uid"] = json!("a\nb")), ClaimMalformed("kubernetes.io")),
        ("a pod's uid endless", own(|own| own["pod"]["uid"] = json!("a".repeat(65))), ClaimMalformed("kubernetes.io")),
        (
            "an account that no cluster has",
            {
                let mut claims = own(|own| own["serviceaccount"]["name"] = json!("../admin"));
                claims["sub"] = json!("system:serviceaccount:crm:../admin");
                claims
            },
            ServiceAccountMismatch,
        ),
        (
            "an old token of a Secret",
            json!({
                "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:crm:sync",
                "kubernetes.io/serviceaccount/namespace": "crm",
                "kubernetes.io/serviceaccount/secret.name": "sync-token-x2x7k",
                "kubernetes.io/serviceaccount/service-account.name": "sync",
                "kubernetes.io/serviceaccount/service-account.uid": "9a2c1f6e-1b7d-4a57-8d0c-5f0b3f6d7e21",
            }),
            ClaimMissing("exp"),
        ),
    ];
    let count = negatives.len();
    for (what, claims, expected) in negatives {
        assert_eq!(verify(&sign(&header(), &claims), at(NOW)).err(), Some(expected), "{what}");
        let by_ec = EcSigner::cluster().sign(&es256(), &claims);
        assert_eq!(verify(&by_ec, at(NOW)).err(), Some(expected), "{what}, ES256");
    }
    println!("{count} wrong claims refused under each of two keys");
}

#[test]
fn wrong_headers_are_refused_each_for_its_reason() {
    let negatives = [
        ("alg none", with(header(), "alg", json!("none")), AlgorithmNotAllowed),
        ("alg HS256", with(header(), "alg", json!("HS256")), AlgorithmNotAllowed),
        ("alg ES384", with(header(), "alg", json!("ES384")), AlgorithmNotAllowed),
        ("alg PS256", with(header(), "alg", json!("PS256")), AlgorithmNotAllowed),
        ("no alg", without(header(), "alg"), AlgorithmNotAllowed),
        ("ES256 by the RSA key's name", with(header(), "alg", json!("ES256")), AlgorithmNotAllowed),
        ("RS256 by the EC key's name", with(es256(), "alg", json!("RS256")), AlgorithmNotAllowed),
        ("crit", with(header(), "crit", json!(["exp"])), CriticalExtension),
        ("b64 false", with(header(), "b64", json!(false)), UnencodedPayload),
        ("typ of an access token", with(header(), "typ", json!("at+jwt")), TypeNotAllowed),
        ("no kid", without(header(), "kid"), KeyNotNamed),
        ("no kid but a known x5t", with(without(header(), "kid"), "x5t", json!("x5t")), KeyNotNamed),
        ("unknown kid and a known x5t", with(with(header(), "kid", json!("?")), "x5t", json!("x5t")), UnknownKey),
        ("kid as a path", with(header(), "kid", json!("../../../../dev/null")), UnknownKey),
        ("kid as SQL", with(header(), "kid", json!("' OR 1=1 --")), UnknownKey),
        ("kid of 10 KiB", with(header(), "kid", json!("k".repeat(10_240))), KeyNameTooLong),
        ("kid as a number", with(header(), "kid", json!(1)), HeaderMalformed),
    ];
    for (what, header, expected) in negatives {
        let jwt = sign(&header, &claims());
        assert_eq!(verify(&jwt, at(NOW)).err(), Some(expected), "{what}");
        // What no key can make valid is refused before a key is looked up.
        let of_header = service_account_token_header(&UnverifiedJwt::new(jwt));
        let by_the_key = expected == UnknownKey || what.contains("key's name");
        assert_eq!(of_header.err(), (!by_the_key).then_some(expected), "{what}");
    }
}

#[test]
fn wrong_signatures_are_refused_each_for_its_reason() {
    let (cluster, another) = (Signer::superoffice(), Signer::another());
    let (header_text, claims_text) = (header().to_string(), claims().to_string());
    let good = cluster.sign(&header(), &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let by_ec = EcSigner::cluster().sign(&es256(), &claims());
    let (ec_signed, ec_signature) = by_ec.rsplit_once('.').unwrap();
    let public_pem = include_bytes!("../../../../tests/fixtures/keys/selfmade2048.public.pem");
    let hmac = |header: &Value, key: &[u8]| {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims().to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let evil = json!("https://evil.example/jwks");
    let der = EcSigner::read(&ECDSA_P256_SHA256_ASN1_SIGNING).sign(&es256(), &claims());
    for (what, jwt, expected) in [
        ("another's key", another.sign(&header(), &claims()), SignatureInvalid),
        ("another's key as jwk", another.sign(&with(header(), "jwk", another.jwk()), &claims()), SignatureInvalid),
        ("another's key at jku", another.sign(&with(header(), "jku", evil.clone()), &claims()), SignatureInvalid),
        ("another's key at x5u", another.sign(&with(header(), "x5u", evil), &claims()), SignatureInvalid),
        ("another's key as x5c", another.sign(&with(header(), "x5c", json!(["AAAA"])), &claims()), SignatureInvalid),
        ("SHA-384 in truth", cluster.sign_by(&RSA_PKCS1_SHA384, &header_text, &claims_text), SignatureInvalid),
        ("PSS in truth", cluster.sign_by(&RSA_PSS_SHA256, &header_text, &claims_text), SignatureInvalid),
        ("HMAC with the public key, as RS256", hmac(&header(), public_pem), SignatureInvalid),
        ("HMAC with it, as HS256", hmac(&with(header(), "alg", json!("HS256")), public_pem), AlgorithmNotAllowed),
        ("the EC key's signature, as RS256", format!("{signed}.{ec_signature}"), SignatureInvalid),
        ("the RSA key's signature, as ES256", format!("{ec_signed}.{signature}"), SignatureInvalid),
        ("r and s of zeros", format!("{ec_signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])), SignatureInvalid),
        ("an EC signature as DER", der, SignatureInvalid),
        (
            "other claims under it",
            signed.rsplit_once('.').map_or_else(String::new, |(header, _)| {
                let claims = with(claims(), "sub", json!("system:serviceaccount:ops:admin"));
                format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
            }),
            SignatureInvalid,
        ),
    ] {
        assert_eq!(verify(&jwt, at(NOW)).err(), Some(expected), "{what}");
    }
}

#[test]
fn wrong_forms_are_refused_each_for_its_reason() {
    let good = sign(&header(), &claims());
    let raw = |header: &str, claims: &str| Signer::superoffice().sign_by(&RSA_PKCS1_SHA256, header, claims);
    let (header_text, claims_text) = (header().to_string(), claims().to_string());
    let repeated = |text: &str, member: &str| format!("{{{member},{}", &text[1..]);
    for (what, jwt, expected) in [
        ("nothing", String::new(), NotThreeParts),
        ("no JWT", "0123456789abcdef.x".to_owned(), NotThreeParts),
        ("alg none, unsigned", format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), "e30"), NotThreeParts),
        ("encrypted", format!("{good}.AAAA.AAAA"), NotThreeParts),
        ("16 KiB and a byte", format!("{good}{}", "A".repeat(16 * 1024 + 1 - good.len())), TooLarge),
        ("1 MiB", "A".repeat(1 << 20), TooLarge),
        ("bytes behind", format!("{good}AAAA!"), EncodingMalformed),
        ("another token behind", format!("{good},{}", good.replace('.', "_")), EncodingMalformed),
        ("padded", format!("{good}=="), EncodingMalformed),
        ("header with bytes behind", raw(&format!("{header_text}x"), &claims_text), HeaderMalformed),
        ("claims with bytes behind", raw(&header_text, &format!("{claims_text}{{}}")), ClaimsMalformed),
        ("kid twice", raw(&repeated(&header_text, r#""kid":"x""#), &claims_text), MemberRepeated),
        ("aud twice", raw(&header_text, &repeated(&claims_text, r#""aud":"vault""#)), MemberRepeated),
        ("sub twice, once escaped", raw(&header_text, &repeated(&claims_text, r#""\u0073ub":"x""#)), MemberRepeated),
        (
            "the namespace twice",
            raw(&header_text, &claims_text.replace(r#""namespace":"#, r#""namespace":"ops","namespace":"#)),
            MemberRepeated,
        ),
        (
            "the account's name twice",
            raw(&header_text, &claims_text.replace(r#"{"name":"sync","#, r#"{"name":"admin","name":"sync","#)),
            MemberRepeated,
        ),
        ("the claims nested without end", raw(&header_text, &"{\"a\":".repeat(2_000)), ClaimsMalformed),
    ] {
        assert_eq!(verify(&jwt, at(NOW)).err(), Some(expected), "{what}");
    }
    let of_16_kib = format!("{good}{}", "A".repeat(16 * 1024 - good.len()));
    assert_ne!(verify(&of_16_kib, at(NOW)).err(), Some(TooLarge));
}

#[test]
fn a_clusters_keys_are_those_with_a_name_of_two_kinds() {
    let rsa = with(Signer::superoffice().jwk(), "kid", json!(RSA_KID));
    let ec = EcSigner::cluster().jwk();
    let read = |keys: &[Value]| VerificationKeys::from_cluster_jwks(json!({"keys": keys}).to_string().as_bytes());
    assert_eq!(read(&[rsa.clone(), ec.clone()]).unwrap().len(), 2);
    for skipped in [
        without(rsa.clone(), "kid"),
        without(ec.clone(), "kid"),
        with(rsa.clone(), "alg", json!("ES256")),
        with(ec.clone(), "alg", json!("RS256")),
        with(ec.clone(), "alg", json!("ES384")),
        with(ec.clone(), "crv", json!("P-384")),
        with(ec.clone(), "crv", json!("secp256k1")),
        with(ec.clone(), "use", json!("enc")),
        with(ec.clone(), "x", json!("AAAA")),
        without(ec.clone(), "y"),
        with(ec.clone(), "kty", json!("oct")),
    ] {
        assert_eq!(read(std::slice::from_ref(&skipped)).err(), Some(KeySetError::NoUsableKey), "{skipped}");
        assert_eq!(read(&[rsa.clone(), skipped]).unwrap().len(), 1);
    }
    // SuperOffice signs by RSA only: no other key becomes one of its.
    let superoffices = VerificationKeys::from_jwks(json!({"keys": [ec, rsa]}).to_string().as_bytes()).unwrap();
    assert_eq!(superoffices.len(), 1);
}

#[test]
fn a_point_beside_the_curve_verifies_nothing() {
    let beside = with(EcSigner::cluster().jwk(), "y", json!(URL_SAFE_NO_PAD.encode([7; 32])));
    let keys = VerificationKeys::from_cluster_jwks(json!({"keys": [beside]}).to_string().as_bytes()).unwrap();
    let profile = ServiceAccountProfile { issuer: ISSUER, audience: AUDIENCE, leeway: Duration::ZERO };
    let jwt = UnverifiedJwt::new(EcSigner::cluster().sign(&es256(), &claims()));
    assert_eq!(verify_service_account_token(&jwt, &keys, &profile, at(NOW)).err(), Some(SignatureInvalid));
}

proptest! {
    #[test]
    fn no_text_makes_the_verifier_panic(text in "(\\.|[A-Za-z0-9_-]|=|\\PC){0,200}") {
        drop(service_account_token_header(&UnverifiedJwt::new(text.as_str())));
        drop(verify(&text, at(NOW)));
    }

    /// Behind a valid signature, too.
    #[test]
    fn no_claims_make_the_verifier_panic(
        text in "(\\{|\\}|\\[|\\]|\"(exp|nbf|iat)\":1800000000,|\"kubernetes.io\":|\"pod\":|\"uid\":|,|:|\"[a-z]{0,3}\"|null|[0-9]{1,20}|\\PC){0,30}"
    ) {
        let jwt = Signer::superoffice().sign_by(&RSA_PKCS1_SHA256, &header().to_string(), &text);
        prop_assert!(verify(&jwt, at(NOW)).is_err());
    }
}
