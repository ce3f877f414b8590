use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::arguments::shown;
use super::console::{Console, Source, read_file};
use super::failure::Failure;
use crate::crypto::{PrivateKey, RECOMMENDED_BITS, SealingKey};

const READABLE_BY_THE_OWNER: u32 = 0o600;

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Tell what a private key file holds, without printing the key.
    #[command(after_help = "\
The fingerprint is the SHA-256 of the public key (SPKI DER):
  openssl rsa -in key.pem -pubout -outform DER | sha256sum

Examples:
  ticketd keys inspect private-key.xml
  ticketd keys inspect private-key.pem --passphrase-file passphrase.txt")]
    Inspect(Inspect),
    /// Write a private key, or its public half, in another format.
    #[command(after_help = "\
A private key is written to a new file that only its owner can read, or to a pipe, never to a terminal.

Examples:
  ticketd keys convert private-key.xml --to pkcs8 --output private-key.pem
  ticketd keys convert private-key.pem --to public-xml")]
    Convert(Convert),
    /// Make a key that seals secrets in the database.
    #[command(after_help = "\
The key is written to a new file that only its owner can read, or to a pipe, never to a terminal. Keep a copy apart from
the database's backups: without the key they are worthless, with it they are not sealed.

To change keys: add the new file to store.sealing_key_files at the end, everywhere; then move it to the first place,
everywhere; then run `ticketd tenants reseal`; then remove the old file.

Examples:
  ticketd keys new-sealing-key --output sealing-key
  ticketd keys new-sealing-key | kubectl create secret generic ticketd-sealing --from-file=sealing-key=/dev/stdin")]
    NewSealingKey(NewSealingKey),
}

#[derive(Args, Debug)]
pub(super) struct NewSealingKey {
    /// The file to create. Stdout when it is left out.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Input {
    /// The private key, or - for stdin: RSAKeyValue XML, PKCS#1 or PKCS#8.
    #[arg(value_name = "FILE")]
    file: Source,
    /// File with the passphrase of an encrypted key.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Inspect {
    #[command(flatten)]
    input: Input,
}

#[derive(Args, Debug)]
pub(super) struct Convert {
    #[command(flatten)]
    input: Input,
    /// The format to write.
    #[arg(long, value_name = "FORMAT")]
    to: Format,
    /// The file to create. Stdout when it is left out.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Private key, PKCS#8 PEM.
    Pkcs8,
    /// Private key, PKCS#1 PEM.
    Pkcs1,
    /// Private key, RSAKeyValue XML, as .NET writes it.
    Xml,
    /// Public key, SPKI PEM.
    PublicPem,
    /// Public key, RSAKeyValue XML: what SuperOffice registers.
    PublicXml,
}

impl Keys {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        match self {
            Self::Inspect(inspect) => inspect.run(console),
            Self::Convert(convert) => convert.run(console),
            Self::NewSealingKey(new) => new.run(console),
        }
    }
}

impl Inspect {
    fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let key = self.input.read(console)?;
        let bits = key.bits();
        let weak = if bits < RECOMMENDED_BITS {
            format!(" (weak: register one of {RECOMMENDED_BITS} or more)")
        } else {
            String::new()
        };
        writeln!(console.output, "format:       {}", key.format())?;
        writeln!(console.output, "bits:         {bits}{weak}")?;
        writeln!(console.output, "fingerprint:  {}", key.public_key_fingerprint())?;
        Ok(())
    }
}

impl Convert {
    fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let is_secret = !matches!(self.to, Format::PublicPem | Format::PublicXml);
        if is_secret && self.output.is_none() && console.output_is_terminal {
            return Err(Failure::usage(&"a private key is not printed to a terminal: give --output FILE, or pipe it"));
        }
        let key = self.input.read(console)?;
        let converted = match self.to {
            Format::Pkcs8 => key.to_pkcs8_pem(),
            Format::Pkcs1 => key.to_pkcs1_pem(),
            Format::Xml => key.to_rsa_key_value_xml(),
            Format::PublicPem => Ok(Zeroizing::new(key.public_pem())),
            Format::PublicXml => Ok(Zeroizing::new(key.public_rsa_key_value_xml())),
        };
        let converted = converted.map_err(|error| Failure::caused_by("the key cannot be converted", &error))?;
        match &self.output {
            Some(path) => create(path, converted.as_bytes())?,
            None => console.output.write_all(converted.as_bytes())?,
        }
        if !converted.ends_with('\n') && self.output.is_none() {
            writeln!(console.output)?;
        }
        Ok(())
    }
}

impl NewSealingKey {
    fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        if self.output.is_none() && console.output_is_terminal {
            return Err(Failure::usage(&"a sealing key is not printed to a terminal: give --output FILE, or pipe it"));
        }
        let key = SealingKey::random().map_err(|error| Failure::caused_by("no key can be made", &error))?;
        match &self.output {
            Some(path) => {
                create(path, key.to_text().as_bytes())?;
                writeln!(console.output, "{} has the new sealing key {}", shown(path), key.id())?;
            }
            None => writeln!(console.output, "{}", *key.to_text())?,
        }
        Ok(())
    }
}

impl Input {
    fn read(&self, console: &mut Console<'_>) -> Result<PrivateKey, Failure> {
        let passphrase = self.passphrase_file.as_deref().map(passphrase).transpose()?;
        let bytes = self.file.read(console)?;
        PrivateKey::read(&bytes, passphrase.as_ref())
            .map_err(|error| Failure::caused_by("the private key cannot be read", &error))
    }
}

fn passphrase(path: &Path) -> Result<SecretString, Failure> {
    let bytes = read_file(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(&"the passphrase is not UTF-8"))?;
    Ok(SecretString::from(text.trim_end_matches(['\r', '\n'])))
}

/// Never overwrites: a key that is lost is lost for every tenant.
fn create(path: &Path, content: &[u8]) -> Result<(), Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(READABLE_BY_THE_OWNER)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(|error| Failure::failed(&format_args!("cannot write {}: {error}", shown(path))))
}
