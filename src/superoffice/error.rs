use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::AuthorizeErrorCode;
use super::retry::Retryable;

/// Why no client can be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Another server than SuperOffice's may stand in only on this machine.
    #[error("the development base URL must be http:// or https:// on a loopback address or localhost, without a path")]
    BaseUrlRefused,
    /// The file with extra root certificates cannot be read.
    #[error("the extra root certificates in {path} cannot be read")]
    ExtraCaUnreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file with extra root certificates holds none.
    #[error("{path} holds no certificate in PEM form")]
    ExtraCaMalformed {
        /// Which file.
        path: PathBuf,
    },
    /// The TLS client cannot be built: most often the machine has no root certificates.
    #[error("the HTTPS client cannot be built: are the system's root certificates (ca-certificates) installed?")]
    Client(#[source] reqwest::Error),
}

/// Why SuperOffice gave no usable answer. It says nothing about the tenant's authorization.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamError {
    /// SuperOffice asked us to wait, now or shortly before; while that lasts nothing is sent.
    #[error("SuperOffice asked to wait")]
    Throttled {
        /// How long.
        retry_after: Option<Duration>,
    },
    /// SuperOffice is down and says for how long (503 with `Retry-After`).
    #[error("SuperOffice is unavailable")]
    Unavailable {
        /// When to ask again.
        retry_after: Duration,
    },
    /// It has failed so often that nothing is sent but a probe now and then.
    #[error("SuperOffice keeps failing: it is asked once in a while only")]
    CircuitOpen {
        /// When the next probe is sent.
        retry_after: Duration,
    },
    /// No connection came about: DNS, TCP or TLS.
    #[error("no connection to SuperOffice: {cause}")]
    Connect {
        /// What the operating system or TLS said.
        cause: String,
    },
    /// The whole answer was not there in time.
    #[error("SuperOffice did not answer in time")]
    TimedOut,
    /// The connection ended before the whole answer was there, or did not speak HTTP.
    #[error("the connection to SuperOffice broke")]
    Interrupted,
    /// As many requests as allowed are under way, and none ended in time.
    #[error("too many requests to SuperOffice are under way: raise superoffice.max_requests_in_flight")]
    Busy,
    /// A status that is neither an answer nor a refusal. A redirect is one: following it could lead anywhere.
    #[error("SuperOffice answered with HTTP status {0}")]
    Status(u16),
    /// The answer is longer than any the protocol has.
    #[error("SuperOffice's answer is too long")]
    BodyTooLarge,
    /// The answer is not what the protocol says.
    #[error("SuperOffice's answer is malformed")]
    Malformed,
    /// A SOAP fault that blames SuperOffice's side.
    #[error("SuperOffice's service failed: {message}")]
    Fault {
        /// What SuperOffice said, made presentable.
        message: String,
    },
    /// A SOAP fault that says that the service has no use for our message, whatever is in it.
    #[error("SuperOffice's service does not take our SOAP message: {message}")]
    Misunderstood {
        /// What SuperOffice said, made presentable.
        message: String,
    },
    /// A value cannot be written in XML.
    #[error("the system user token has a character that XML cannot carry: set superoffice.exchange to \"rest\"")]
    Unsendable,
    /// The address of a tenant's API is none that a credential may be sent to.
    #[error("the tenant's API is not at an https address under .superoffice.com: nothing was sent there")]
    AddressRefused,
    /// A request to a tenant's API cannot be sent as it is.
    #[error("the request cannot be sent: {0}")]
    RequestRefused(&'static str),
}

impl UpstreamError {
    /// Whether the same request may succeed soon without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Connect { .. }
            | Self::TimedOut
            | Self::Interrupted
            | Self::Busy
            | Self::Fault { .. } => true,
            Self::Status(status) => *status == 408 || *status >= 500,
            // For an open circuit nothing was sent, and the probe is not waited for. Else each exchange that SuperOffice
            // took may have written a row, however garbled its answer is.
            Self::CircuitOpen { .. }
            | Self::BodyTooLarge
            | Self::Malformed
            | Self::Misunderstood { .. }
            | Self::Unsendable
            | Self::AddressRefused
            | Self::RequestRefused(_) => false,
        }
    }

    /// A short name out of a fixed set, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::Connect { .. } => "connect",
            Self::TimedOut => "timeout",
            Self::Interrupted => "interrupted",
            Self::Busy => "busy",
            Self::Status(_) => "status",
            Self::BodyTooLarge | Self::Malformed => "malformed",
            Self::Fault { .. } | Self::Misunderstood { .. } => "fault",
            Self::Unsendable | Self::AddressRefused | Self::RequestRefused(_) => "not_sent",
        }
    }

    /// How long SuperOffice asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } => *retry_after,
            Self::Unavailable { retry_after } | Self::CircuitOpen { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

/// Why there is no JWT.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExchangeError {
    /// SuperOffice took the request and refused it.
    #[error("SuperOffice refused the exchange: {message}")]
    Refused {
        /// The cause, when SuperOffice told it in a known way.
        code: Option<AuthorizeErrorCode>,
        /// The HTTP status, when it was not 200.
        status: Option<u16>,
        /// What SuperOffice said: cleaned, cut short, with secrets of ours masked.
        message: String,
    },
    /// SuperOffice gave no usable answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl ExchangeError {
    /// A short name out of a fixed set, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { code: Some(code), .. } => code.kind(),
            Self::Refused { code: None, .. } => "refused",
            Self::Upstream(error) => error.kind(),
        }
    }

    /// Whether the same request may succeed soon without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.is_transient())
    }

    /// How long SuperOffice asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Upstream(error) => error.retry_after(),
            Self::Refused { .. } => None,
        }
    }
}

/// Why a request to the OAuth endpoints has no success.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OAuthError {
    /// SuperOffice does not take the authorization code or the refresh token: the user has to sign in again.
    #[error("SuperOffice does not take the authorization code or refresh token")]
    InvalidGrant,
    /// The tenant's authorization of the application does not hold (codes 1, 3, 4 and 5).
    #[error("SuperOffice refused the tenant's authorization: {0}")]
    Authorization(AuthorizeErrorCode),
    /// SuperOffice refuses the request for another cause, named by its error code alone.
    #[error("SuperOffice refused the OAuth request: {0}")]
    Refused(String),
    /// SuperOffice gave no usable answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl OAuthError {
    /// Whether the same request may succeed soon without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.is_transient())
    }

    /// How long SuperOffice asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Upstream(error) => error.retry_after(),
            Self::InvalidGrant | Self::Authorization(_) | Self::Refused(_) => None,
        }
    }
}

/// An error that may be the upstream's.
pub(super) trait Trouble: From<UpstreamError> {
    /// What the upstream did wrong, if it did.
    fn upstream(&self) -> Option<&UpstreamError>;
}

impl Trouble for UpstreamError {
    fn upstream(&self) -> Option<&UpstreamError> {
        Some(self)
    }
}

impl Trouble for ExchangeError {
    fn upstream(&self) -> Option<&UpstreamError> {
        match self {
            Self::Upstream(error) => Some(error),
            Self::Refused { .. } => None,
        }
    }
}

macro_rules! retryable {
    ($error:ty, $timed_out:pat, $make:expr) => {
        impl Retryable for $error {
            fn is_transient(&self) -> bool {
                Self::is_transient(self)
            }

            fn retry_after(&self) -> Option<Duration> {
                Self::retry_after(self)
            }

            fn is_time_out(&self) -> bool {
                matches!(self, $timed_out)
            }

            fn timed_out() -> Self {
                $make
            }
        }
    };
}

retryable!(UpstreamError, Self::TimedOut, Self::TimedOut);
retryable!(ExchangeError, Self::Upstream(UpstreamError::TimedOut), UpstreamError::TimedOut.into());
retryable!(OAuthError, Self::Upstream(UpstreamError::TimedOut), UpstreamError::TimedOut.into());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_transient_and_nothing_else() {
        let throttled = UpstreamError::Throttled { retry_after: Some(Duration::from_secs(9)) };
        let connect = UpstreamError::Connect { cause: String::new() };
        for error in [
            throttled.clone(),
            connect,
            UpstreamError::TimedOut,
            UpstreamError::Interrupted,
            UpstreamError::Busy,
            UpstreamError::Status(408),
            UpstreamError::Status(500),
            UpstreamError::Status(503),
            UpstreamError::Fault { message: String::new() },
        ] {
            assert!(error.is_transient(), "{error:?}");
            assert!(ExchangeError::from(error.clone()).is_transient() && OAuthError::from(error).is_transient());
        }
        for error in [
            UpstreamError::Status(302),
            UpstreamError::Status(405),
            UpstreamError::Malformed,
            UpstreamError::BodyTooLarge,
            UpstreamError::Misunderstood { message: String::new() },
            UpstreamError::Unsendable,
            UpstreamError::CircuitOpen { retry_after: Duration::from_secs(1) },
        ] {
            assert!(!error.is_transient(), "{error:?}");
        }
        assert!(!OAuthError::InvalidGrant.is_transient());
        assert_eq!(ExchangeError::from(throttled).retry_after(), Some(Duration::from_secs(9)));
    }
}
