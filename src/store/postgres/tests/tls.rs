use std::fs;
use std::path::PathBuf;

use super::cluster::{Cluster, as_user, must};
use super::{open_database, settings};
use crate::store::engine::ChangeLog;
use crate::store::{Settings, StoreError};

/// A server with a certificate for `localhost`, and a file with the certificate of who issued it.
fn encrypted() -> Option<(Cluster, PathBuf, tempfile::TempDir)> {
    let cluster = Cluster::start(&[])?;
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    write(&cluster, "server.crt", &leaf.pem());
    write(&cluster, "server.key", &key.serialize_pem());
    cluster.set("ssl = on");
    cluster.stop();
    cluster.start_again();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, ca_certificate.pem()).unwrap();
    Some((cluster, file, directory))
}

/// A file of the server's, for it alone.
fn write(cluster: &Cluster, name: &str, content: &str) {
    let write = r#"umask 077; printf %s "$1" >"$0""#;
    must(as_user("sh").args(["-c", write]).arg(cluster.directory.join(name)).arg(content));
}

fn encrypting(cluster: &Cluster, host: &str, ca_file: Option<&PathBuf>) -> Settings {
    let mut settings = settings(&format!("postgres://postgres@{host}:{}/postgres?sslmode=verify-full", cluster.port));
    settings.postgres.ca_file = ca_file.cloned();
    settings
}

#[tokio::test]
async fn only_a_server_with_a_verified_certificate_is_spoken_to() {
    let Some((cluster, ca_file, _directory)) = encrypted() else { return };
    let database = open_database(&encrypting(&cluster, "localhost", Some(&ca_file))).await.unwrap();
    assert_eq!(database.revision().await.unwrap(), 0);

    for (what, settings) in [
        ("nobody trusts who issued it", encrypting(&cluster, "localhost", None)),
        ("it is another host's", encrypting(&cluster, "127.0.0.1", Some(&ca_file))),
    ] {
        let refusal = open_database(&settings).await.unwrap_err();
        assert!(refusal.to_string().contains("ertificate"), "{what}: {refusal}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_refused() {
    let Some(cluster) = Cluster::shared() else { return };
    let refusal = open_database(&encrypting(cluster, "localhost", None)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Refused { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("TLS"), "{refusal}");
}
