use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::PrivateKeyError;

pub(super) const BEGIN: &str = "-----BEGIN ";

/// The bytes of the first private key in a PEM file. Lines may have any length, or be one: keys come out of
/// environment variables and secret stores re-wrapped.
pub(super) fn read(text: &str) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let mut refusal = PrivateKeyError::PemMalformed;
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let block = Block::read(after)?;
        match block.refusal() {
            None => return block.decode(),
            // The first block tells best what the file is.
            Some(reason) if refusal == PrivateKeyError::PemMalformed => refusal = reason,
            Some(_) => {}
        }
        rest = block.rest;
    }
    Err(refusal)
}

struct Block<'a> {
    label: &'a str,
    body: &'a str,
    rest: &'a str,
}

impl<'a> Block<'a> {
    fn read(after_begin: &'a str) -> Result<Self, PrivateKeyError> {
        let (label, after_label) = after_begin.split_once("-----").ok_or(PrivateKeyError::PemMalformed)?;
        let (body, after_body) = after_label.split_once("-----END ").ok_or(PrivateKeyError::PemMalformed)?;
        let rest = after_body.strip_prefix(label).and_then(|after| after.strip_prefix("-----"));
        Ok(Self { label, body, rest: rest.ok_or(PrivateKeyError::PemMalformed)? })
    }

    fn refusal(&self) -> Option<PrivateKeyError> {
        match self.label {
            "OPENSSH PRIVATE KEY" => Some(PrivateKeyError::OpenSsh),
            "EC PRIVATE KEY" | "DSA PRIVATE KEY" | "EC PARAMETERS" | "DSA PARAMETERS" => Some(PrivateKeyError::NotRsa),
            label if label.ends_with("PRIVATE KEY") => None,
            label if label.contains("CERTIFICATE") => Some(PrivateKeyError::Certificate),
            label if label.ends_with("PUBLIC KEY") => Some(PrivateKeyError::PublicKey),
            _ => Some(PrivateKeyError::UnknownFormat),
        }
    }

    fn decode(&self) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
        if self.body.contains("DEK-Info:") || self.body.contains("Proc-Type:") {
            return Err(PrivateKeyError::LegacyEncryption);
        }
        let mut base64 = Zeroizing::new(String::with_capacity(self.body.len()));
        base64.extend(self.body.chars().filter(|character| !character.is_ascii_whitespace()));
        STANDARD.decode(base64.as_bytes()).map(Zeroizing::new).map_err(|_| PrivateKeyError::PemMalformed)
    }
}
