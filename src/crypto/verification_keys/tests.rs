use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rsa::BoxedUint;
use rsa::RsaPublicKey;
use rsa::pkcs8::EncodePublicKey;
use serde_json::json;

use super::*;
use crate::crypto::JwtAlgorithm;

const SOD_KID: &str = "16B7FB8C3F9AB06885A800C64E64C97C4AB5E98C";
const SOD_X5T: &str = "Frf7jD-asGiFqADGTmTJfEq16Yw";

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn header(kid: Option<&str>, x5t: Option<&str>) -> JwtHeader {
    JwtHeader { algorithm: JwtAlgorithm::Rs256, kid: kid.map(Into::into), x5t: x5t.map(Into::into) }
}

fn key(bits: usize, first_byte: u8) -> Value {
    let mut modulus = vec![0xff; bits / 8];
    modulus[0] = first_byte;
    json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"})
}

fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

fn read(keys: &[Value]) -> Result<VerificationKeys, KeySetError> {
    VerificationKeys::from_jwks(json!({"keys": keys}).to_string().as_bytes())
}

/// The compiled-in keys are those of SuperOffice's published certificates: same bytes, and thumbprints that are theirs.
#[test]
fn the_pinned_keys_are_the_certificates() {
    for environment in Environment::ALL {
        let keys = VerificationKeys::pinned(environment);
        assert_eq!(keys.len(), 1, "{environment}");
        let pem = String::from_utf8(fixture(&format!("certs/{environment}-federated-login.pem"))).unwrap();
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let certificate = STANDARD.decode(base64).unwrap();

        let thumbprint =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate).as_ref().to_vec();
        assert_eq!(keys.0[0].x5t().unwrap(), URL_SAFE_NO_PAD.encode(&thumbprint), "{environment}");
        let kid = keys.0[0].kid().unwrap();
        assert!(keys.0[0].has_thumbprint(kid) && kid.len() == 40, "{environment}");

        let PublicKey::Rsa { modulus, public_exponent } = &keys.0[0].public else { panic!("{environment}") };
        let public = RsaPublicKey::new(
            BoxedUint::from_be_slice_vartime(modulus),
            BoxedUint::from_be_slice_vartime(public_exponent),
        );
        let spki = public.unwrap().to_public_key_der().unwrap().into_vec();
        assert!(certificate.windows(spki.len()).any(|window| window == spki), "{environment}");

        let published = VerificationKeys::from_jwks(&fixture(&format!("oidc/jwks.{environment}.json"))).unwrap();
        assert_eq!(published.merged_with(keys).len(), 1, "{environment}");
    }
}

#[test]
fn keys_are_found_by_name_and_by_nothing_else() {
    let keys = VerificationKeys::pinned(Environment::Sod);
    let lower_case = SOD_KID.to_ascii_lowercase();
    for (kid, x5t) in [
        (Some(SOD_KID), Some(SOD_X5T)),
        (Some(SOD_KID), None),
        (None, Some(SOD_X5T)),
        (Some("unknown"), Some(SOD_X5T)),
        (Some(SOD_KID), Some("unknown")),
        (Some(lower_case.as_str()), None),
        (None, None),
    ] {
        assert!(keys.find(&header(kid, x5t)).is_some(), "{kid:?} {x5t:?}");
    }
    for (kid, x5t) in [
        (Some("unknown"), None),
        (None, Some("unknown")),
        (Some("unknown"), Some("unknown")),
        (Some(""), None),
        (None, Some("")),
        (Some(&SOD_KID[..38]), None),
        (Some("484903A7732B928C7980A39D38E947EA119F1089"), None),
    ] {
        assert!(keys.find(&header(kid, x5t)).is_none(), "{kid:?} {x5t:?}");
    }
    let both = keys.merged_with(VerificationKeys::pinned(Environment::Online));
    assert_eq!(both.len(), 2);
    assert!(both.find(&header(None, None)).is_none());
    assert_eq!(both.find(&header(Some(SOD_KID), None)).unwrap().kid(), Some(SOD_KID));
}

#[test]
fn old_key_sets_carry_the_x5t_value_as_kid() {
    let keys = read(&[with(key(2048, 0xff), "kid", json!(SOD_X5T))]).unwrap();
    assert!(keys.find(&header(None, Some(SOD_X5T))).is_some());
    assert!(keys.find(&header(None, Some("other"))).is_none());
}

#[test]
fn kid_wins_over_x5t_and_the_thumbprint_comes_last() {
    let first = with(with(key(2048, 0xff), "kid", json!("one")), "x5t", json!(SOD_X5T));
    let second = with(with(key(2048, 0xfe), "kid", json!(SOD_KID)), "x5t", json!("two"));
    let keys = read(&[first, second]).unwrap();
    let found = |kid, x5t| keys.find(&header(kid, x5t)).and_then(VerificationKey::kid);
    assert_eq!(found(Some("one"), Some("two")), Some("one"));
    assert_eq!(found(Some("none"), Some("two")), Some(SOD_KID));
    assert_eq!(found(Some(SOD_KID), None), Some(SOD_KID));
    assert_eq!(found(Some(&SOD_KID.to_ascii_lowercase()), None), Some("one"));
}

#[test]
fn keys_that_cannot_verify_rs256_are_skipped() {
    let good = key(2048, 0xff);
    assert_eq!(read(std::slice::from_ref(&good)).unwrap().len(), 1);
    assert_eq!(read(&[key(8192, 0xff)]).unwrap().len(), 1);
    assert_eq!(read(&[with(good.clone(), "key_ops", json!(["verify"]))]).unwrap().len(), 1);
    assert_eq!(read(&[with(good.clone(), "unknown", json!({"a": 1}))]).unwrap().len(), 1);
    for skipped in [
        key(1024, 0xff),
        key(2048, 0x7f),
        key(8200, 0xff),
        with(good.clone(), "use", json!("enc")),
        with(good.clone(), "alg", json!("RS512")),
        with(good.clone(), "alg", json!("HS256")),
        with(good.clone(), "key_ops", json!(["encrypt"])),
        with(good.clone(), "kty", json!("EC")),
        with(good.clone(), "kty", json!("oct")),
        with(good.clone(), "e", json!("AA")),
        with(good.clone(), "e", json!("AQ")),
        with(good.clone(), "e", json!("AAAE")),
        with(good.clone(), "e", json!("BAAAAAAB")),
        with(good.clone(), "n", json!("not base64!")),
        with(good.clone(), "n", json!(5)),
        with(good.clone(), "kid", json!(5)),
        with(good.clone(), "kid", json!("k".repeat(129))),
        json!({"kty": "RSA"}),
        json!(null),
        json!("key"),
    ] {
        assert_eq!(read(std::slice::from_ref(&skipped)).err(), Some(KeySetError::NoUsableKey), "{skipped}");
        assert_eq!(read(&[skipped, good.clone()]).unwrap().len(), 1);
    }
}

#[test]
fn key_sets_are_bounded_and_well_formed() {
    assert_eq!(read(&vec![key(2048, 0xff); 32]).unwrap().len(), 32);
    assert_eq!(read(&vec![key(2048, 0xff); 33]).err(), Some(KeySetError::TooManyKeys));
    assert_eq!(VerificationKeys::from_jwks(&vec![b' '; 64 * 1024 + 1]).err(), Some(KeySetError::TooLarge));
    let deep = "[".repeat(30_000);
    for malformed in
        ["", "[]", "{}", "null", r#"{"keys":{}}"#, r#"{"keys":[]"#, r#"{"keys":[],"keys":[]}"#, deep.as_str()]
    {
        assert_eq!(
            VerificationKeys::from_jwks(malformed.as_bytes()).err(),
            Some(KeySetError::Malformed),
            "{malformed:.20}"
        );
    }
    assert_eq!(VerificationKeys::from_jwks(br#"{"keys":[]}"#).err(), Some(KeySetError::NoUsableKey));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        drop(VerificationKeys::from_jwks(&bytes));
    }

    #[test]
    fn no_numbers_make_the_reader_panic(n in "[A-Za-z0-9_=-]{0,400}", e in "[A-Za-z0-9_-]{0,12}", kid in ".{0,20}") {
        if let Ok(keys) = read(&[json!({"kty": "RSA", "n": n, "e": e, "kid": kid, "x5t": kid})]) {
            prop_assert!(keys.find(&header(Some(&kid), None)).is_some());
        }
    }
}
