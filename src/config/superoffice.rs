use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use url::{Host, Url};

use super::kind::{duration, list, number, parsed, path, paths, switch, text};
use super::reader::{Checked, Reader, Section};
use super::{Problem, ShownPath, Warning, secret_file};
use crate::crypto::{self, PrivateKey};
use crate::identifiers::{ApplicationId, ClientSecret};
use crate::superoffice::{ClientAuthentication, Development, ExchangeTransport, Settings};

/// What the section is called.
pub(super) const SECTION: &str = "superoffice";
const MAX_SIGNING_KEYS: usize = 16;
const MAX_REDIRECT_URIS: usize = 16;
const MAX_REDIRECT_URI_LENGTH: usize = 2_048;

/// The application: who it is, what it signs with, and how it speaks to SuperOffice.
pub(super) fn read(reader: &mut Reader) -> Checked<(Settings, Vec<PrivateKey>)> {
    let mut section = reader.section(SECTION);
    let environment = section.required("environment", parsed("\"sod\", \"qaonline\" or \"online\""));
    let client_id =
        section.required("client_id", text("the application's client id: letters, digits, - and _", client_id));
    let client_secret = client_secret(&mut section);
    let signing_keys = signing_keys(&mut section);
    let client_authentication =
        section.or("client_authentication", parsed("\"post\" or \"basic\""), ClientAuthentication::default());
    let timeout = || duration(Duration::from_millis(1)..=Duration::from_mins(5));
    let connect_timeout = section.or("connect_timeout", timeout(), Duration::from_secs(3));
    let request_timeout = section.or("request_timeout", timeout(), Duration::from_secs(10));
    let state_timeout = section.or("state_timeout", timeout(), Duration::from_secs(2));
    let max_requests_in_flight = section.or("max_requests_in_flight", number(1..=10_000), 64);
    let exchange =
        section.or("exchange", parsed("\"rest\", \"soap\" or \"rest-then-soap\""), ExchangeTransport::default());
    let redirect_uris = redirect_uris(&mut section);
    let development = development(&mut section);
    let settings = Settings {
        environment: environment?,
        client_id: client_id?,
        client_secret: client_secret?.into(),
        client_authentication: client_authentication?,
        connect_timeout: connect_timeout?,
        request_timeout: request_timeout?,
        state_timeout: state_timeout?,
        max_requests_in_flight: max_requests_in_flight?,
        exchange: exchange?,
        redirect_uris: redirect_uris?,
        development: development?,
    };
    Ok((settings, signing_keys?))
}

fn client_id(text: &str) -> Option<ApplicationId> {
    let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    ((1..=128).contains(&text.len()) && text.bytes().all(is_harmless)).then(|| ApplicationId::new(text))
}

fn client_secret(section: &mut Section<'_>) -> Checked<ClientSecret> {
    let key = "client_secret_file";
    let path = section.required(key, path("the path of a file with the application's client secret"))?;
    let secret = secret_file::read(section, key, &path)?;
    // It is sent in a header, where no other character can be.
    match std::str::from_utf8(&secret) {
        Ok(secret) if secret.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(ClientSecret::new(secret)),
        _ => {
            let expected = "holds something else than a client secret: expected one line of visible ASCII characters";
            Err(section.mistake(key, Problem::Content { file: ShownPath::new(&path), expected }))
        }
    }
}

fn signing_keys(section: &mut Section<'_>) -> Checked<Vec<PrivateKey>> {
    let expected = "a list of paths of private key files, 1 to 16 of them";
    let files = section.required("signing_key_files", paths(expected, MAX_SIGNING_KEYS));
    let passphrase = passphrase(section);
    let (files, passphrase) = (files?, passphrase?);
    // Every key is read before the first that is wrong is given up on.
    let keys: Vec<_> = files.iter().map(|file| signing_key(section, file, passphrase.as_ref())).collect();
    keys.into_iter().collect()
}

fn passphrase(section: &mut Section<'_>) -> Checked<Option<SecretString>> {
    let key = "signing_key_passphrase_file";
    let Some(path) = section.optional(key, path("the path of a file with the signing keys' passphrase"))? else {
        return Ok(None);
    };
    let passphrase = secret_file::read(section, key, &path)?;
    let Ok(passphrase) = std::str::from_utf8(&passphrase) else {
        let file = ShownPath::new(&path);
        return Err(section.mistake(key, Problem::Content { file, expected: "is not UTF-8" }));
    };
    Ok(Some(SecretString::from(passphrase)))
}

fn signing_key(section: &mut Section<'_>, path: &Path, passphrase: Option<&SecretString>) -> Checked<PrivateKey> {
    let key = "signing_key_files";
    let bytes = secret_file::read(section, key, path)?;
    let file = ShownPath::new(path);
    match PrivateKey::read(&bytes, passphrase) {
        Ok(private_key) => {
            let bits = private_key.bits();
            if bits < crypto::RECOMMENDED_BITS {
                section.warn(key, |key| Warning::WeakKey { key, file, bits });
            }
            Ok(private_key)
        }
        Err(reason) => Err(section.mistake(key, Problem::SigningKey { file, reason })),
    }
}

fn redirect_uris(section: &mut Section<'_>) -> Checked<Vec<String>> {
    let expected = "a list of the redirect URIs that are registered for the application, 1 to 16 of them, each https:// \
        or, on a loopback host, http://, without a fragment";
    Ok(section.optional("redirect_uris", list(text(expected, redirect_uri), MAX_REDIRECT_URIS))?.unwrap_or_default())
}

/// Kept as it is written: SuperOffice compares it letter for letter.
fn redirect_uri(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_protected = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let is_plain = url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let is_written_so = text.len() <= MAX_REDIRECT_URI_LENGTH && text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_protected && is_plain && is_written_so && url.has_host()).then(|| text.to_owned())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn development(section: &mut Section<'_>) -> Checked<Option<Development>> {
    let allowed = section.or("allow_custom_base_url", switch(), false);
    let expected = "a scheme, a loopback host and a port, like \"http://127.0.0.1:8400\"";
    let base_url = section.optional("base_url", text(expected, loopback_base_url));
    let extra_ca_file = section.optional("extra_ca_file", path("the path of a PEM file"));
    let (allowed, base_url, extra_ca_file) = (allowed?, base_url?, extra_ca_file?);
    let is_set = base_url.is_some();
    let advice = "is for development: it is refused unless superoffice.allow_custom_base_url is true";
    section.rule("base_url", Ok(allowed || !is_set), advice);
    section.rule(
        "extra_ca_file",
        Ok(is_set || extra_ca_file.is_none()),
        "is for superoffice.base_url, which is not set",
    );
    check_readable(section, extra_ca_file.as_ref());
    Ok(base_url.map(|base_url| Development { base_url, extra_ca_file }))
}

fn check_readable(section: &mut Section<'_>, extra_ca_file: Option<&PathBuf>) {
    if let Some(path) = extra_ca_file
        && let Err(cause) = path.metadata()
    {
        section.mistake("extra_ca_file", Problem::File { file: ShownPath::new(path), cause });
    }
}

fn loopback_base_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    (matches!(url.scheme(), "http" | "https") && is_loopback(&url) && is_bare).then_some(url)
}
