//! Puts a sandbox together and starts it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::behaviour::Knob;
use crate::clock::SandboxClock;
use crate::control;
use crate::endpoint::Host;
use crate::keys::{KeyRing, SigningKeyError};
use crate::knobs::Knobs;
use crate::listener::Listener;
use crate::names::Names;
use crate::partner_key::{PartnerKey, PartnerKeyError};
use crate::sandbox::{Parts, Sandbox};
use crate::seen_secrets::Memory;
use crate::settings::Settings;
use crate::tenants::Tenants;
use crate::tls::Tls;
use crate::world::World;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Which of the compiled-in partner keys is registered when none is given. They are public: good for nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThrowawayPartnerKey {
    /// 1024 bits, as every public sample key has.
    Bits1024,
    /// 2048 bits.
    #[default]
    Bits2048,
}

impl ThrowawayPartnerKey {
    fn private_pem(self) -> &'static str {
        match self {
            Self::Bits1024 => include_str!("../keys/throwaway-partner-1024.pem"),
            Self::Bits2048 => include_str!("../keys/throwaway-partner-2048.pem"),
        }
    }

    fn public_pem(self) -> &'static str {
        match self {
            Self::Bits1024 => include_str!("../keys/throwaway-partner-1024.public.pem"),
            Self::Bits2048 => include_str!("../keys/throwaway-partner-2048.public.pem"),
        }
    }
}

/// Why a sandbox does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum StartError {
    #[error("{0} is not a loopback address: the sandbox's keys are public, so it listens on nothing else")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {address}: {cause}")]
    Bind { address: SocketAddr, cause: io::Error },
    #[error("at least one tenant host is needed")]
    NoHosts,
    #[error(transparent)]
    PartnerKey(#[from] PartnerKeyError),
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    #[error("cannot make certificates for TLS: {0}")]
    Tls(String),
    #[error("names are for TLS: without it, nothing shows a client that it has the right host")]
    NamesWithoutTls,
    #[error("there are more names than hosts: one is the login host's, the others the tenant hosts'")]
    TooManyNames,
}

/// What a sandbox is made of. Everything has a default that works.
#[derive(Clone)]
pub struct Builder {
    client_id: String,
    client_secret: String,
    application_name: String,
    partner_public_key: Option<String>,
    throwaway_partner_key: ThrowawayPartnerKey,
    jwt_signing_key: Option<String>,
    settings: Settings,
    clock: SandboxClock,
    tls: bool,
    names: Names,
    login: SocketAddr,
    control: SocketAddr,
    hosts: Vec<SocketAddr>,
    knobs: Vec<Knob>,
    remember_secrets: bool,
    redirect_uris: Vec<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            client_id: "0123456789abcdef0123456789abcdef".to_owned(),
            client_secret: "fedcba9876543210fedcba9876543210".to_owned(),
            application_name: "Sandbox Application".to_owned(),
            partner_public_key: None,
            throwaway_partner_key: ThrowawayPartnerKey::default(),
            jwt_signing_key: None,
            settings: Settings::default(),
            clock: SandboxClock::system(),
            tls: false,
            names: Names::default(),
            login: ANY_PORT,
            control: ANY_PORT,
            hosts: vec![ANY_PORT; 2],
            knobs: Vec::new(),
            remember_secrets: false,
            redirect_uris: Vec::new(),
        }
    }
}

impl Builder {
    /// The application's client id.
    #[must_use]
    pub fn client_id(self, client_id: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), ..self }
    }

    /// The application's client secret, which is its ApplicationToken as well.
    #[must_use]
    pub fn client_secret(self, client_secret: impl Into<String>) -> Self {
        Self { client_secret: client_secret.into(), ..self }
    }

    /// The application's name, with which its system user tokens begin.
    #[must_use]
    pub fn application_name(self, name: impl Into<String>) -> Self {
        Self { application_name: name.into(), ..self }
    }

    /// The public key that the partner registered: RSAKeyValue XML or PEM, 1024 to 4096 bits.
    #[must_use]
    pub fn partner_public_key(self, key: impl Into<String>) -> Self {
        Self { partner_public_key: Some(key.into()), ..self }
    }

    /// Which throwaway key is registered when no public key is given.
    #[must_use]
    pub fn throwaway_partner_key(self, key: ThrowawayPartnerKey) -> Self {
        Self { throwaway_partner_key: key, ..self }
    }

    /// The key that signs SuperOffice's JWTs, a PKCS#8 PEM of 2048 bits or more, in place of the throwaway one.
    #[must_use]
    pub fn jwt_signing_key(self, pem: impl Into<String>) -> Self {
        Self { jwt_signing_key: Some(pem.into()), ..self }
    }

    /// How SuperOffice is.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// How long a ticket lives, from its exchange and from each use.
    #[must_use]
    pub fn ticket_life(mut self, life: Duration) -> Self {
        self.settings.ticket_life = life;
        self
    }

    /// How long the JWT around a ticket is valid.
    #[must_use]
    pub fn jwt_life(mut self, life: Duration) -> Self {
        self.settings.jwt_life = life;
        self
    }

    /// The sandbox's time.
    #[must_use]
    pub fn clock(self, clock: SandboxClock) -> Self {
        Self { clock, ..self }
    }

    /// Whether the login host and the tenant hosts speak TLS, with a certificate authority made at the start.
    #[must_use]
    pub fn tls(self, tls: bool) -> Self {
        Self { tls, ..self }
    }

    /// What clients know the hosts by: `sod.superoffice.com`, the login host's, then the tenant hosts' in their order.
    /// Every host has them in its certificate, answers to each of them, and names itself so, without a port. A client
    /// with these names in it, and a resolver that leads them here, takes the sandbox for SuperOffice.
    #[must_use]
    pub fn names<I: IntoIterator<Item = impl Into<String>>>(self, names: I) -> Self {
        Self { names: Names::new(names.into_iter().map(Into::into).collect()), ..self }
    }

    /// Where the login host listens. Loopback only; port 0 takes a free one.
    #[must_use]
    pub fn listen(self, address: SocketAddr) -> Self {
        Self { login: address, ..self }
    }

    /// Where the control API listens, always without TLS.
    #[must_use]
    pub fn control(self, address: SocketAddr) -> Self {
        Self { control: address, ..self }
    }

    /// Where the tenant hosts listen. New tenants are on the first.
    #[must_use]
    pub fn hosts(self, addresses: impl Into<Vec<SocketAddr>>) -> Self {
        Self { hosts: addresses.into(), ..self }
    }

    /// Something that goes wrong from the start.
    #[must_use]
    pub fn behaviour(mut self, knob: impl Into<Knob>) -> Self {
        self.knobs.push(knob.into());
        self
    }

    /// Whether [`Sandbox::seen_secrets`] knows what went over the wire.
    #[must_use]
    pub fn remember_secrets(self, remember_secrets: bool) -> Self {
        Self { remember_secrets, ..self }
    }

    /// A URI that sign-ins may redirect to, compared as it is.
    #[must_use]
    pub fn redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uris.push(uri.into());
        self
    }

    /// Returns when every port is open.
    pub async fn start(self) -> Result<Sandbox, StartError> {
        if self.hosts.is_empty() {
            return Err(StartError::NoHosts);
        }
        if !self.names.all().is_empty() && !self.tls {
            return Err(StartError::NamesWithoutTls);
        }
        if self.names.all().len() > self.hosts.len() + 1 {
            return Err(StartError::TooManyNames);
        }
        let public_key = self.partner_public_key.as_deref().unwrap_or(self.throwaway_partner_key.public_pem());
        let partner_key = PartnerKey::read(public_key)?;
        let keys = KeyRing::new(self.jwt_signing_key.as_deref())?;
        let tls = if self.tls { Some(Tls::new(self.names.all()).map_err(StartError::Tls)?) } else { None };
        let scheme = if self.tls { "https" } else { "http" };

        let mut sockets = Vec::with_capacity(self.hosts.len() + 1);
        for address in std::iter::once(self.login).chain(self.hosts) {
            sockets.push(bind(address).await?);
        }
        let (control_socket, control_address) = bind(self.control).await?;
        let by_address = sockets.iter().map(|(_, address)| format!("{scheme}://{address}"));
        let mut urls = by_address.enumerate().map(|(place, url)| self.names.url(place, url));
        let login_address = sockets.first().map_or(self.login, |(_, address)| *address);
        let base_url = urls.next().unwrap_or_default();

        let world = Arc::new(World {
            clock: self.clock,
            client_id: self.client_id,
            client_secret: self.client_secret,
            application_name: self.application_name,
            base_url,
            host_urls: urls.collect(),
            login_address,
            names: self.names,
            settings: Mutex::new(self.settings),
            partner_key: Mutex::new(partner_key),
            keys: Mutex::new(keys),
            tenants: Mutex::new(Tenants::default()),
            redirect_uris: Mutex::new(self.redirect_uris),
            codes: Mutex::default(),
            knobs: Knobs::default(),
            traffic: Arc::default(),
            seen_secrets: Memory::new(self.remember_secrets),
        });
        for knob in self.knobs {
            world.knobs.set(knob);
        }
        let acceptor = tls.as_ref().map(|tls| tls.acceptor.clone());
        let listeners = sockets.into_iter().enumerate().map(|(place, (socket, address))| {
            Listener::serve(socket, address, Host::at(place), acceptor.clone(), Arc::clone(&world))
        });
        let private_key = self.partner_public_key.is_none().then(|| self.throwaway_partner_key.private_pem());
        let parts = Arc::new(Parts::new(Arc::clone(&world), listeners.collect()));
        let control = tokio::spawn(control::serve(control_socket, Arc::clone(&parts)));
        Ok(Sandbox::new(parts, control, control_address, tls.map(|tls| tls.ca_pem), private_key))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("login", &self.login).field("settings", &self.settings).finish_non_exhaustive()
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    if !address.ip().is_loopback() {
        return Err(StartError::NotLoopback(address));
    }
    let fault = |cause| StartError::Bind { address, cause };
    let socket = TcpListener::bind(address).await.map_err(fault)?;
    let bound = socket.local_addr().map_err(fault)?;
    Ok((socket, bound))
}
