use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::{PrivateKey, SigningError};
use crate::identifiers::{SignedSystemToken, SystemUserToken};

/// Signs a tenant's system user token: `<token>.<yyyyMMddHHmm in UTC>.<Base64 of the signature over what precedes it>`.
/// SuperOffice takes it for about 15 minutes around that minute.
pub fn sign_system_user_token(
    key: &PrivateKey,
    token: &SystemUserToken,
    now: Timestamp,
) -> Result<SignedSystemToken, SigningError> {
    let signed = format!("{}.{}", token.expose(), now.strftime("%Y%m%d%H%M"));
    let signature = STANDARD.encode(key.sign(signed.as_bytes())?);
    Ok(SignedSystemToken::new(format!("{signed}.{signature}")))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use rsa::pkcs8::DecodePublicKey;
    use rsa::sha2::{Digest, Sha256};
    use rsa::{Pkcs1v15Sign, RsaPublicKey};
    use secrecy::SecretString;

    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn key(name: &str) -> PrivateKey {
        PrivateKey::read(&fixture(&format!("keys/{name}")), Some(&SecretString::from("correct-horse"))).unwrap()
    }

    fn minute(text: &str) -> Timestamp {
        jiff::civil::DateTime::strptime("%Y%m%d%H%M", text)
            .unwrap()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .unwrap()
            .timestamp()
    }

    #[test]
    fn every_format_of_a_key_signs_the_vectors_byte_for_byte() {
        let vectors: serde_json::Value = serde_json::from_slice(&fixture("rest/sign-vectors.json")).unwrap();
        let formats: [(&str, &[&str]); 2] = [
            (
                "keys/selfmade1024.rsakeyvalue.xml",
                &[
                    "selfmade1024.rsakeyvalue.xml",
                    "selfmade1024.oneline.rsakeyvalue.xml",
                    "selfmade1024.wrapped-base64.rsakeyvalue.xml",
                    "selfmade1024.pkcs1.pem",
                    "selfmade1024.pkcs8.pem",
                    "selfmade1024.rsa-xml-converted.pem",
                ],
            ),
            (
                "keys/selfmade2048.rsakeyvalue.xml",
                &[
                    "selfmade2048.rsakeyvalue.xml",
                    "selfmade2048.pkcs1.pem",
                    "selfmade2048.pkcs8.pem",
                    "selfmade2048.pkcs1.der",
                    "selfmade2048.pkcs8.der",
                    "selfmade2048.encrypted-pbkdf2.pem",
                    "selfmade2048.encrypted-scrypt.pem",
                ],
            ),
        ];
        let mut compared = 0;
        for (vectors_key, files) in formats {
            for file in files {
                let key = key(file);
                for vector in vectors.as_array().unwrap().iter().filter(|vector| vector["key"] == vectors_key) {
                    let token = SystemUserToken::new(vector["system_user_token"].as_str().unwrap());
                    let now = minute(vector["timestamp_utc"].as_str().unwrap());
                    let signed = sign_system_user_token(&key, &token, now).unwrap();
                    assert_eq!(signed.expose(), vector["signed_system_token"].as_str().unwrap(), "{file}");
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 26);
    }

    #[test]
    fn the_minute_is_cut_off_not_rounded() {
        let key = key("selfmade1024.pkcs8.pem");
        for (now, expected) in [
            ("2026-01-01T23:59:00Z", "202601012359"),
            ("2026-01-01T23:59:59.999999999Z", "202601012359"),
            ("2026-01-02T00:00:00Z", "202601020000"),
            ("2026-03-29T01:59:59Z", "202603290159"),
            ("2024-02-29T12:00:00Z", "202402291200"),
            ("2026-12-31T23:59:59Z", "202612312359"),
        ] {
            let signed = sign_system_user_token(&key, &SystemUserToken::new("App-1"), now.parse().unwrap()).unwrap();
            assert_eq!(signed.expose().split('.').nth(1), Some(expected), "{now}");
        }
    }

    #[test]
    fn the_signature_covers_the_token_as_utf_8() {
        let key = key("selfmade2048.pkcs8.pem");
        let public_pem = String::from_utf8(fixture("keys/selfmade2048.public.pem")).unwrap();
        let public = RsaPublicKey::from_public_key_pem(&public_pem).unwrap();
        for token in ["Ærlig Søknad 日本-8k8Q7DmBgo", "  two  spaces -x", ""] {
            let now = "2026-01-01T00:00:30Z".parse().unwrap();
            let signed = sign_system_user_token(&key, &SystemUserToken::new(token), now).unwrap();
            let (message, signature) = signed.expose().rsplit_once('.').unwrap();
            assert_eq!(message, format!("{token}.202601010000"));
            let signature = STANDARD.decode(signature).unwrap();
            public.verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message), &signature).unwrap();
        }
    }
}
