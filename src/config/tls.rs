use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::kind::{list, parsed, path, paths, text};
use super::reader::{Checked, Reader, Section};
use super::{Problem, ShownPath, secret_file};
use crate::identifiers::SpiffeId;
use crate::server::{ClientCertificate, TlsSettings};

const MAX_TRUST_DOMAINS: usize = 64;
const MAX_CRL_FILES: usize = 64;

/// What callers' TLS handshakes are made with. There are none without a certificate. The files are only looked at:
/// whoever serves reads them.
pub(super) fn read(reader: &mut Reader) -> Checked<Option<TlsSettings>> {
    let mut section = reader.section("tls");
    let certificate_file =
        file(&mut section, "certificate_file", "the path of a file with ticketd's certificate in PEM");
    let key_file = section.optional("key_file", path("the path of a file with the certificate's private key in PEM"));
    if let Ok(Some(file)) = &key_file {
        // Its mode is looked at too.
        drop(secret_file::read(&mut section, "key_file", file));
    }
    let client_certificate =
        section.or("client_certificate", parsed("\"required\" or \"optional\""), ClientCertificate::default());
    let trust_bundles = trust_bundles(&mut section);
    let dns_ca_file = file(&mut section, "dns_ca_file", "the path of a file with certificates in PEM");
    let crl_files = files(&mut section, "crl_files", "a list of paths of files with revocation lists in PEM");
    let (certificate_file, key_file, client_certificate) = (certificate_file?, key_file?, client_certificate?);
    let (trust_bundles, dns_ca_file, crl_files) = (trust_bundles?, dns_ca_file?, crl_files?);

    let (is_set, verifies) = (certificate_file.is_some(), !trust_bundles.is_empty() || dns_ca_file.is_some());
    section.rule("key_file", Ok(key_file.is_some() || !is_set), "must be set as tls.certificate_file is");
    section.rule("certificate_file", Ok(is_set || key_file.is_none()), "must be set as tls.key_file is");
    let advice = "needs tls.trust_bundles or tls.dns_ca_file: without authorities no certificate is asked for";
    let is_chosen = section.is_set("client_certificate");
    section.rule("client_certificate", Ok(verifies || !is_chosen), advice);
    section.rule("crl_files", Ok(verifies || crl_files.is_empty()), advice);
    section.rule("trust_bundles", Ok(is_set || trust_bundles.is_empty()), "is for TLS: set tls.certificate_file too");
    section.rule("dns_ca_file", Ok(is_set || dns_ca_file.is_none()), "is for TLS: set tls.certificate_file too");
    let (Some(certificate_file), Some(key_file)) = (certificate_file, key_file) else { return Ok(None) };
    Ok(Some(TlsSettings { certificate_file, key_file, client_certificate, trust_bundles, dns_ca_file, crl_files }))
}

fn trust_bundles(section: &mut Section<'_>) -> Checked<BTreeMap<String, PathBuf>> {
    let key = "trust_bundles";
    let expected = "a list of trust domains and files, each like \"corp.example=/etc/ticketd/corp.example.pem\"";
    let bundles = section.optional(key, list(text(expected, trust_bundle), MAX_TRUST_DOMAINS))?.unwrap_or_default();
    let mut by_trust_domain = BTreeMap::new();
    for (trust_domain, file) in bundles {
        check_readable(section, key, &file)?;
        if by_trust_domain.insert(trust_domain, file).is_some() {
            return Err(section
                .mistake(key, Problem::Conflict("names a trust domain twice: put its authorities into one file")));
        }
    }
    Ok(by_trust_domain)
}

fn trust_bundle(text: &str) -> Option<(String, PathBuf)> {
    let (trust_domain, file) = text.split_once('=')?;
    let is_file = !file.is_empty() && !file.contains('\0');
    (SpiffeId::is_trust_domain(trust_domain) && is_file).then(|| (trust_domain.to_owned(), PathBuf::from(file)))
}

fn file(section: &mut Section<'_>, key: &'static str, expected: &str) -> Checked<Option<PathBuf>> {
    let file = section.optional(key, path(expected))?;
    file.map(|file| check_readable(section, key, &file).map(|()| file)).transpose()
}

fn files(section: &mut Section<'_>, key: &'static str, expected: &str) -> Checked<Vec<PathBuf>> {
    let files = section.optional(key, paths(expected, MAX_CRL_FILES))?.unwrap_or_default();
    files
        .iter()
        .map(|file| check_readable(section, key, file))
        .collect::<Vec<_>>()
        .into_iter()
        .collect::<Checked<()>>()?;
    Ok(files)
}

fn check_readable(section: &mut Section<'_>, key: &'static str, file: &Path) -> Checked<()> {
    let failed = |cause| Problem::File { file: ShownPath::new(file), cause };
    file.metadata().map(drop).map_err(|cause| section.mistake(key, failed(cause)))
}
