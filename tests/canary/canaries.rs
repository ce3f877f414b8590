//! The secrets of one run, drawn anew for each.
//!
//! A hit must always be a leak, so every secret is random throughout, and public text is no part of a needle:
//!
//! - A system user token begins with the application's name, which real ones share with JWTs and web pages. Here the name
//!   is random too, so the whole token is a needle.
//! - A ticket is `7T:` and base64 of UTF-16 of `<GUID>;<number>;<ContextIdentifier>`: the GUID is the secret. Needles are
//!   the base64 that it alone makes up, and its hexadecimal digits. The number and the tenant are left out.
//! - An access token is `8A:<ContextIdentifier>.<secret>`: the needle is what follows the dot.
//! - A signed system user token is `<token>.<yyyyMMddHHmm>.<signature>`: token and signature are needles, the time is not.
//! - Of a JWT, the signature is a needle; header and claims hold names, addresses and serials that the log may show, and
//!   the ticket and the token, whose own needles find them in all three alignments of base64.
//! - A private key's file begins with the modulus, which is public: the needles are the private numbers, each by itself,
//!   and the file's DER from the first of them to its end.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::pkcs5::pbes2;
use rsa::pkcs8::{LineEnding, PrivateKeyInfoRef};
use superoffice_sandbox::SeenSecrets;
use ticketd::crypto::{PrivateKey, SealingKey};

use crate::needles::Needles;

/// What is known before the run.
pub(crate) struct Canaries {
    /// A letter and 31 letters and digits: as near to a ContextIdentifier as a client secret comes.
    pub(crate) client_secret: String,
    pub(crate) application_name: String,
    pub(crate) passphrase: String,
    /// A refresh token that SuperOffice does not know.
    pub(crate) unknown_refresh_token: String,
    /// A system user token that nobody registered.
    pub(crate) stray_token: String,
    pub(crate) sealing_key: String,
    pub(crate) registered_key: KeyMaterial,
    /// Its file is encrypted.
    pub(crate) other_key: KeyMaterial,
}

/// A private key in its forms.
pub(crate) struct KeyMaterial {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
    pub(crate) xml: String,
    pub(crate) public_pem: String,
}

impl Canaries {
    pub(crate) fn draw() -> Self {
        let application_name = format!("{}ø+/ {}\"&{}", letters(14), letters(13), letters(12));
        Self {
            client_secret: format!("c{}", letters(31)),
            stray_token: format!("{}-{}", letters(20), letters(10)),
            application_name,
            passphrase: format!("{} {}%ß", letters(14), letters(13)),
            unknown_refresh_token: letters(64),
            sealing_key: SealingKey::random().unwrap().to_text().to_string(),
            registered_key: KeyMaterial::draw(),
            other_key: KeyMaterial::draw(),
        }
    }

    /// The needles of these secrets and of those that came up in the run.
    pub(crate) fn needles(&self, tokens: &[String], seen: &SeenSecrets) -> Needles {
        let mut needles = Needles::default();
        needles.add("client secret", &self.client_secret);
        needles.add("application name", &self.application_name);
        needles.add("passphrase", &self.passphrase);
        needles.add("sealing key", &self.sealing_key);
        needles.add("bytes of the sealing key", STANDARD.decode(&self.sealing_key).unwrap());
        needles.add("unknown refresh token", &self.unknown_refresh_token);
        needles.add("stray system user token", &self.stray_token);
        for (number, token) in tokens.iter().enumerate() {
            needles.add(&format!("system user token {number}"), token);
        }
        for (name, key) in [("registered key", &self.registered_key), ("other key", &self.other_key)] {
            for (element, number) in key.private_numbers() {
                needles.add(&format!("{element} of the {name}"), number);
            }
            needles.add(&format!("DER of the {name}"), key.private_der());
        }
        for (number, ticket) in seen.tickets.iter().enumerate() {
            let guid = guid(ticket);
            let utf16: Vec<u8> = guid.encode_utf16().flat_map(u16::to_le_bytes).collect();
            needles.add(&format!("GUID of ticket {number}"), &guid);
            needles.add(&format!("ticket {number}"), STANDARD.encode(&utf16).get(..84).unwrap());
            needles.add(&format!("UTF-16 of ticket {number}"), utf16);
        }
        for (number, token) in seen.access_tokens.iter().enumerate() {
            needles.add(&format!("access token {number}"), token.split_once('.').unwrap().1);
        }
        for (number, token) in seen.refresh_tokens.iter().enumerate() {
            needles.add(&format!("refresh token {number}"), token);
        }
        for (number, code) in seen.codes.iter().enumerate() {
            needles.add(&format!("authorization code {number}"), code);
        }
        for (number, verifier) in seen.code_verifiers.iter().enumerate() {
            needles.add(&format!("code verifier {number}"), verifier);
        }
        for (number, signed) in seen.signed_system_tokens.iter().enumerate() {
            needles.add(&format!("signature of signed token {number}"), signed.rsplit_once('.').unwrap().1);
        }
        for (number, jwt) in seen.jwts.iter().enumerate() {
            // Spoiled ones may have an empty signature, a constant one, or none.
            if let Some(signature) = jwt.split('.').nth(2).filter(|signature| signature.len() > 16) {
                needles.add(&format!("signature of JWT {number}"), signature);
            }
        }
        needles
    }
}

impl KeyMaterial {
    fn draw() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec();
        let key = PrivateKey::read(&der, None).unwrap();
        let (pem, xml) = (key.to_pkcs8_pem().unwrap().to_string(), key.to_rsa_key_value_xml().unwrap().to_string());
        Self { der, pem, xml, public_pem: key.public_pem() }
    }

    pub(crate) fn encrypted_pem(&self, passphrase: &str) -> String {
        let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(2048, &random::<16>(), random()).unwrap();
        let info = PrivateKeyInfoRef::try_from(self.der.as_slice()).unwrap();
        let encrypted = info.encrypt_with_params(parameters, passphrase).unwrap();
        encrypted.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap().to_string()
    }

    fn private_numbers(&self) -> Vec<(&'static str, Vec<u8>)> {
        ["D", "P", "Q", "DP", "DQ", "InverseQ"].map(|element| (element, self.number(element))).into()
    }

    fn number(&self, element: &str) -> Vec<u8> {
        let (_, rest) = self.xml.split_once(&format!("<{element}>")).unwrap();
        STANDARD.decode(rest.split_once("</").unwrap().0).unwrap()
    }

    fn private_der(&self) -> &[u8] {
        let padded = self.number("D");
        // XML pads a number to the modulus' length, DER does not: one key in twenty has a shorter one.
        let d = &padded[padded.iter().take_while(|byte| **byte == 0).count()..];
        let start = self.der.windows(d.len()).position(|window| window == d).unwrap();
        &self.der[start..]
    }
}

/// The secret in a ticket.
fn guid(ticket: &str) -> String {
    let utf16 = STANDARD.decode(ticket.strip_prefix("7T:").unwrap()).unwrap();
    let units: Vec<u16> = utf16.chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    let text = String::from_utf16(&units).unwrap();
    text.split_once(';').unwrap().0.to_owned()
}

pub(crate) fn letters(length: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789xZ";
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}
