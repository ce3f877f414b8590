use std::path::PathBuf;

use url::Url;

use super::kind::{path, switch, text};
use super::reader::{Checked, Reader, Section};
use super::{Problem, ShownPath};
use crate::identity::{KeySource, Settings};

const MAX_NAME_BYTES: usize = 512;

/// How service accounts' tokens are verified. They are not accepted without an issuer.
pub(super) fn read(reader: &mut Reader, has_tls: Checked<bool>) -> Checked<Option<Settings>> {
    let mut section = reader.section("identity");
    let issuer = section.optional("issuer", text("the cluster's issuer, as its tokens have it in `iss`", name));
    let audience = section.optional("audience", text("what callers' tokens have to have in `aud`", name));
    let url = section.optional("jwks_url", text("https:// and the address of the cluster's key set", https));
    let file = section.optional("jwks_file", path("the path of a file with the cluster's key set"));
    let ca_file = section.optional("ca_file", path("the path of a PEM file"));
    let token_file = section.optional("token_file", path("the path of a file with ticketd's own token"));
    let token_review = section.or("token_review", switch(), false);
    let (issuer, audience, url, file) = (issuer?, audience?, url?, file?);
    let (ca_file, token_file, token_review) = (ca_file?, token_file?, token_review?);

    let is_set =
        [audience.is_some(), url.is_some(), file.is_some(), ca_file.is_some(), token_file.is_some(), token_review];
    let nothing_without = "must be set: without it service accounts' tokens are not accepted";
    section.rule("issuer", Ok(issuer.is_some() || !is_set.contains(&true)), nothing_without);
    section.rule("audience", Ok(audience.is_some() || issuer.is_none()), "must be set as identity.issuer is");
    let over_tls = has_tls.map(|has_tls| has_tls || issuer.is_none());
    section.rule("issuer", over_tls, "needs tls.certificate_file: tokens are taken over TLS only");
    let one = issuer.is_none() || url.is_some() != file.is_some();
    section.rule("jwks_url", Ok(one), "must be set as identity.issuer is, or else identity.jwks_file: one of the two");
    section.rule("ca_file", Ok(url.is_some() || ca_file.is_none()), "is for identity.jwks_url, which is not set");
    section.rule("token_file", Ok(url.is_some() || token_file.is_none()), "is for identity.jwks_url, which is not set");
    let can_review = !token_review || (url.is_some() && token_file.is_some());
    let reviews = "needs identity.jwks_url, the API server's, and identity.token_file: the same server is asked";
    section.rule("token_review", Ok(can_review), reviews);
    for (key, file) in [("jwks_file", &file), ("ca_file", &ca_file), ("token_file", &token_file)] {
        check_readable(&mut section, key, file.as_ref());
    }

    let keys = match (url, file) {
        (Some(url), _) => KeySource::Url { url, ca_file, token_file },
        (None, Some(file)) => KeySource::File(file),
        (None, None) => return Ok(None),
    };
    let (Some(issuer), Some(audience)) = (issuer, audience) else { return Ok(None) };
    Ok(Some(Settings { issuer, audience, keys, token_review }))
}

fn name(text: &str) -> Option<String> {
    let harmless = (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    harmless.then(|| text.to_owned())
}

fn https(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    (url.scheme() == "https" && url.has_host() && is_plain).then_some(url)
}

fn check_readable(section: &mut Section<'_>, key: &'static str, file: Option<&PathBuf>) {
    if let Some(file) = file
        && let Err(cause) = file.metadata()
    {
        section.mistake(key, Problem::File { file: ShownPath::new(file), cause });
    }
}
