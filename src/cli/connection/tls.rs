use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use crate::cli::arguments::shown;
use crate::cli::failure::Failure;

/// What a connection over TLS is made with.
#[derive(Args, Debug)]
#[expect(clippy::struct_field_names, reason = "options that name files end in -file")]
pub(in crate::cli) struct Tls {
    /// The certificates of the authorities that vouch for ticketd, in PEM: for an https address.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate to identify with, in PEM, followed by those above it.
    #[arg(long, value_name = "FILE", requires = "client_key_file", requires = "ca_file")]
    client_certificate_file: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "client_certificate_file")]
    client_key_file: Option<PathBuf>,
}

impl Tls {
    /// How hands are shaken.
    pub(super) fn client(&self) -> Result<ClientConfig, Failure> {
        let Some(ca_file) = &self.ca_file else {
            return Err(Failure::usage(
                &"--ca-file is missing: an https address needs the authorities that vouch for it",
            ));
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca_file)? {
            roots.add(certificate).map_err(|error| unusable(ca_file, &error))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::caused_by("cannot set up TLS", &error))?
            .with_root_certificates(roots);
        let mut config = match (&self.client_certificate_file, &self.client_key_file) {
            (Some(certificate_file), Some(key_file)) => builder
                .with_client_auth_cert(certificates(certificate_file)?, key(key_file)?)
                .map_err(|error| unusable(certificate_file, &error))?,
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    /// Whether anything was given, for an address that has no use for it.
    pub(super) fn is_given(&self) -> bool {
        self.ca_file.is_some()
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Failure::usage(&format_args!("{} holds no certificate in PEM", shown(file)))),
    }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    // Its error may quote a line of the file.
    let key = PrivateKeyDer::from_pem_slice(&read(file)?);
    key.map_err(|_| Failure::usage(&format_args!("{} holds no private key in PEM", shown(file))))
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let content = fs::read(file).map(Zeroizing::new);
    content.map_err(|error| Failure::usage(&format_args!("cannot read {}: {error}", shown(file))))
}

fn unusable(file: &Path, error: &rustls::Error) -> Failure {
    Failure::usage(&format_args!("{} cannot be used: {error}", shown(file)))
}
