use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::info;

use super::Subject;
use crate::clock::Clock;
use crate::server::settings::TlsSettings;
use crate::server::tls::Generation;

/// Has handshakes follow their files: certificate and key, bundles, revocation lists. Handshakes and connections that are
/// under way keep what they began with.
pub(in crate::server) fn certificates(
    current: Arc<ArcSwap<Generation>>,
    settings: TlsSettings,
    clock: Arc<dyn Clock>,
) -> Subject {
    let files = files(&settings);
    let read = move || Generation::read(&settings, &clock);
    Subject::new("TLS certificates", files, read, move |generation| {
        if current.load().expire_time != generation.expire_time {
            info!(certificate_expire_time = %generation.expire_time, "another TLS certificate is shown");
        }
        generation.tell();
        current.store(Arc::new(generation));
    })
    // An authority that has expired vouches for nobody any more, and one that was given in advance begins to.
    .depending_on_time()
}

fn files(settings: &TlsSettings) -> Vec<PathBuf> {
    let TlsSettings { certificate_file, key_file, trust_bundles, dns_ca_file, crl_files, .. } = settings;
    let own = [certificate_file, key_file].into_iter();
    own.chain(trust_bundles.values()).chain(dns_ca_file).chain(crl_files).cloned().collect()
}
