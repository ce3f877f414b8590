use thiserror::Error;

/// Why a file is not a usable private key. None of the file's content is in it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrivateKeyError {
    /// Nothing in the file.
    #[error("the key file is empty")]
    Empty,
    /// No key is that long.
    #[error("the key file is longer than 64 KiB: it is not a private key")]
    TooLarge,
    /// None of the formats.
    #[error("not a private key: RSAKeyValue XML, or PKCS#1 or PKCS#8 in PEM or DER, is needed")]
    UnknownFormat,
    /// A certificate, or a request for one.
    #[error("this is a certificate, which holds the public half only: the private key is needed")]
    Certificate,
    /// A public key.
    #[error("this is a public key: the private key is needed, which the Developer Portal shows only once")]
    PublicKey,
    /// OpenSSH's own format.
    #[error("this is an OpenSSH key: convert a copy of it with `ssh-keygen -p -m PKCS8 -N '' -f <copy>`")]
    OpenSsh,
    /// A PKCS#12 (`.pfx`, `.p12`) file.
    #[error(
        "this is a PKCS#12 (.pfx) file: take the key out with `openssl pkcs12 -nocerts -noenc -in <file> -out <key>`"
    )]
    Pkcs12,
    /// Another kind of key.
    #[error("this is not an RSA key: SuperOffice takes signatures by RSA only")]
    NotRsa,
    /// More than two factors.
    #[error("the key has more than two prime factors: make a new one with `openssl genpkey -algorithm RSA`")]
    MultiPrime,

    /// PEM's old way to encrypt.
    #[error(
        "the key is encrypted in the legacy way (DEK-Info), which guesses passphrases cheaply: \
         re-encrypt it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in <file> -out <key>`"
    )]
    LegacyEncryption,
    /// A cipher or key derivation that is not supported.
    #[error(
        "the key's encryption is not supported (AES with PBKDF2-HMAC-SHA-2 or scrypt is): \
         re-encrypt it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in <file> -out <key>`"
    )]
    UnsupportedEncryption,
    /// A key derivation made to take for ever.
    #[error("the key's passphrase takes too much work to check: at most 10,000,000 PBKDF2 rounds or 256 MiB of scrypt")]
    EncryptionTooCostly,
    /// No passphrase was given.
    #[error("the key is encrypted: name the file that holds its passphrase")]
    PassphraseMissing,
    /// The passphrase does not open the key.
    #[error("the passphrase does not open the key, or the key's encrypted part is damaged")]
    PassphraseWrong,

    /// No BEGIN and END, or no Base64 between them.
    #[error("the PEM armour is damaged: a BEGIN line, Base64 and the matching END line are needed")]
    PemMalformed,
    /// The binary form is damaged.
    #[error("the key's ASN.1 structure is damaged or is not a private key's")]
    DerMalformed,
    /// Not well-formed, or not of the right shape.
    #[error("the XML is damaged, or is not one <RSAKeyValue> with one level of elements in it")]
    XmlMalformed,
    /// A document type declaration.
    #[error("the XML has a document type declaration, which no RSAKeyValue needs")]
    XmlDoctype,
    /// An element is missing.
    #[error("the RSAKeyValue has no <{0}> element")]
    XmlElementMissing(&'static str),
    /// An element is there twice.
    #[error("the RSAKeyValue has more than one <{0}> element")]
    XmlElementRepeated(&'static str),
    /// An element has no number in it.
    #[error("the RSAKeyValue's <{0}> element is not Base64, or longer than any key's")]
    XmlElementMalformed(&'static str),

    /// The key's size.
    #[error("the key has {bits} bits: 1024 to 4096 are supported, and 2048 are recommended")]
    SizeUnsupported {
        /// The size found.
        bits: usize,
    },
    /// The public exponent is even, under 3 or over 33 bits.
    #[error("the key's public exponent is not an odd number from 3 to 33 bits")]
    PublicExponentUnsupported,
    /// `p * q` is not `n`.
    #[error("the key's numbers do not fit together: P times Q is not the modulus, or P and Q are not its two halves")]
    FactorsMismatch,
    /// `e * d` is not 1.
    #[error("the key's numbers do not fit together: the private exponent does not undo the public one")]
    ExponentsMismatch,
    /// The key does not sign verifiably.
    #[error("the key's trial signature does not verify: its numbers are damaged")]
    Unusable,
    /// The key cannot be written.
    #[error("the key cannot be written in that format")]
    NotWritten,
}
