use std::time::Duration;

use reqwest::{Certificate, Client, redirect};

use super::super::hosts::Hosts;
use super::super::{Development, Settings, SetupError};

/// Load balancers drop idle connections later than this, so that we never send into one they have just dropped.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_mins(1);
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// A peer that acknowledges nothing for so long is gone.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// The one client that everything is sent with: it goes nowhere by itself, neither after a redirect nor over a proxy.
pub(super) fn client(settings: &Settings, hosts: &Hosts) -> Result<Client, SetupError> {
    let builder = Client::builder()
        .user_agent(concat!("ticketd/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        // Repeating a request is the caller's decision.
        .retry(reqwest::retry::never())
        // An attempt that is given up closes its connection, so the next one never waits on the same dead one.
        .http1_only()
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tcp_keepalive(TCP_KEEPALIVE)
        .tls_backend_rustls()
        .https_only(!hosts.is_development());
    #[cfg(target_os = "linux")]
    let builder = builder.tcp_user_timeout(TCP_USER_TIMEOUT);
    let builder = match &settings.development {
        Some(development) if hosts.is_https() => builder.tls_certs_merge(extra_certificates(development)?),
        // Plain HTTP needs no certificates, and a bare machine has none.
        Some(_) => builder.tls_certs_only([]),
        None => builder,
    };
    builder.build().map_err(SetupError::Client)
}

fn extra_certificates(development: &Development) -> Result<Vec<Certificate>, SetupError> {
    let Some(path) = &development.extra_ca_file else { return Ok(Vec::new()) };
    let pem = std::fs::read(path).map_err(|source| SetupError::ExtraCaUnreadable { path: path.clone(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(SetupError::ExtraCaMalformed { path: path.clone() }),
    }
}
