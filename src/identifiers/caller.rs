use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::SpiffeId;

/// Who a caller is, by what it has proved. What it may do is the policy's business.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallerId {
    /// The one SPIFFE ID of its client certificate.
    Spiffe(SpiffeId),
    /// The DNS name of its client certificate, lower-case.
    Dns(Arc<str>),
    /// The Kubernetes service account of its bearer token.
    ServiceAccount(ServiceAccount),
    /// The user its process runs as, on this machine, by the Unix socket's credentials.
    UnixUser(u32),
    /// Nobody in particular: where ticketd was told to serve whoever connects.
    Unidentified,
}

/// A Kubernetes service account, `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceAccount(Arc<str>);

/// The text is no [`CallerId`] as it is shown.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a caller is spiffe://…, dns:NAME, serviceaccount:NAMESPACE/NAME, unix:NUMBER or unidentified")]
pub struct CallerIdError;

/// The text is no [`ServiceAccount`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a service account is namespace/name in lower-case letters, digits, hyphens and, in the name, dots")]
pub struct ServiceAccountError;

/// A caller as the call's handlers know it: in the extensions of every request that reaches a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub id: CallerId,
    /// The pod that its token was made for.
    pub pod_uid: Option<Arc<str>>,
    /// From where.
    pub peer: Peer,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Over TCP. Behind a proxy it is the proxy's address.
    Tcp(SocketAddr),
    /// Over a Unix socket: the process's number, if the kernel says it.
    Unix {
        /// The process.
        pid: Option<u32>,
    },
}

impl ServiceAccount {
    /// `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceAccount {
    type Err = ServiceAccountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, name) = text.split_once('/').ok_or(ServiceAccountError)?;
        let name_is_right = name.len() <= 253 && name.split('.').all(is_label);
        if namespace.len() <= 63 && is_label(namespace) && name_is_right {
            Ok(Self(text.into()))
        } else {
            Err(ServiceAccountError)
        }
    }
}

/// Whether Kubernetes takes it as a label of a name (RFC 1123).
fn is_label(label: &str) -> bool {
    let inside = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inside)
}

impl fmt::Display for CallerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => id.fmt(formatter),
            Self::Dns(name) => write!(formatter, "dns:{name}"),
            Self::ServiceAccount(account) => write!(formatter, "serviceaccount:{}", account.as_str()),
            Self::UnixUser(user) => write!(formatter, "unix:{user}"),
            Self::Unidentified => formatter.write_str("unidentified"),
        }
    }
}

impl FromStr for CallerId {
    type Err = CallerIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = match text.split_once(':') {
            Some(("spiffe", _)) => text.parse().ok().map(Self::Spiffe),
            Some(("dns", name)) if !name.is_empty() => Some(Self::Dns(name.to_ascii_lowercase().into())),
            Some(("serviceaccount", account)) => account.parse().ok().map(Self::ServiceAccount),
            Some(("unix", user)) => user.parse().ok().map(Self::UnixUser),
            None if text == "unidentified" => Some(Self::Unidentified),
            _ => None,
        };
        id.ok_or(CallerIdError)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix { pid: Some(pid) } => write!(formatter, "pid:{pid}"),
            Self::Unix { pid: None } => formatter.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_shown_in_the_words_of_its_door() {
        let account = "crm/sync.v2".parse().unwrap();
        for (id, shown) in [
            (CallerId::Spiffe("spiffe://corp/ns/crm".parse().unwrap()), "spiffe://corp/ns/crm"),
            (CallerId::Dns("sync.crm.example".into()), "dns:sync.crm.example"),
            (CallerId::ServiceAccount(account), "serviceaccount:crm/sync.v2"),
            (CallerId::UnixUser(1000), "unix:1000"),
            (CallerId::Unidentified, "unidentified"),
        ] {
            assert_eq!(id.to_string(), shown);
            assert_eq!(shown.parse(), Ok(id));
        }
        for wrong in ["", "spiffe://corp", "dns:", "serviceaccount:crm", "unix:root", "unix:-1", "nobody", "crm/sync"] {
            assert_eq!(wrong.parse::<CallerId>(), Err(CallerIdError), "{wrong}");
        }
    }

    #[test]
    fn a_service_account_is_a_namespace_and_a_name() {
        for right in ["crm/sync", "a/b.c-d", "kube-system/default"] {
            assert_eq!(right.parse::<ServiceAccount>().unwrap().as_str(), right);
        }
        for wrong in
            ["", "crm", "crm/", "/sync", "crm/sync/more", "CRM/sync", "crm/-a", "c.rm/sync", "crm/a..b", "crm/a:b"]
        {
            assert_eq!(wrong.parse::<ServiceAccount>(), Err(ServiceAccountError), "{wrong}");
        }
    }
}
