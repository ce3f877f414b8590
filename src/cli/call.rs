mod answer;
mod caller;
mod everyone;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use zeroize::Zeroizing;

use self::caller::{Body, Caller, Request};
use super::arguments::duration;
use super::config_file::ConfigFile;
use super::connection::{Address, Tls, connect, wait_for};
use super::console::{Console, MAX_DATA, Source};
use super::failure::{EXIT_USAGE, Failure};
use crate::clock::SystemClock;
use crate::identifiers::ContextIdentifier;
use crate::random::SystemRandom;
use crate::superoffice::{SuperOffice, UpstreamError, check_webapi_request};

/// The API answered a status that is neither 2xx nor 5xx.
const EXIT_REFUSED_REQUEST: u8 = 4;
/// The API answered a status of 5xx.
const EXIT_SERVER_ERROR: u8 = 5;
/// `EX_UNAVAILABLE` of sysexits.h: ticketd or SuperOffice cannot be reached, or asks to wait.
const EXIT_UNAVAILABLE: u8 = 69;
/// `EX_NOPERM` of sysexits.h: there is no credential for the tenant, or the API refuses a new one as well.
const EXIT_NO_CREDENTIAL: u8 = 77;

const MEBIBYTE: usize = 1024 * 1024;

#[derive(Args, Debug)]
#[command(
    override_usage = "ticketd call [OPTIONS] <TENANT> <METHOD> <PATH>\n       ticketd call [OPTIONS] --all <METHOD> <PATH>",
    after_help = "\
The ticket comes from the running ticketd, the client secret from the configuration. A credential that the API
refuses (401, 403) is replaced and a tenant that has moved (421) is looked for, each once. The answer's body goes to
stdout as it is, its status to stderr. With --all, stdout gets a line of JSON for each tenant, as its answer comes.

Examples:
  ticketd call Cust12345 GET v1/User/currentPrincipal
  ticketd call Cust12345 GET 'v1/Contact?$select=name&$top=5'
  ticketd call Cust12345 POST v1/Contact --data '{\"Name\": \"Acme\"}'
  ticketd call Cust12345 POST v1/Contact --data @contact.json --user admin@acme.example
  ticketd call --all GET v1/User/currentPrincipal | jq -r 'select(.status != 200)'

Exit codes: 0 the API answered 2xx, 4 another status below 500, 5 a status of 5xx, 64 wrong usage or configuration,
69 ticketd or SuperOffice cannot be reached or asks to wait, 77 no credential for the tenant or a new one refused,
1 else. With --all: 0 all that run answered 2xx, 1 others did not."
)]
pub(super) struct Call {
    /// The tenant (not with --all), the method, and what follows the address of the API, with its query.
    #[arg(required = true, value_name = "TENANT METHOD PATH")]
    words: Vec<String>,
    /// Call every registered tenant that runs.
    #[arg(long, conflicts_with = "user")]
    all: bool,
    /// How many tenants are called at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 8, requires = "all", value_parser = clap::value_parser!(u8).range(1..=64))]
    concurrency: u8,
    /// What to send: JSON, @ and a file, or - for stdin.
    #[arg(long, value_name = "DATA", allow_hyphen_values = true)]
    data: Option<Data>,
    /// The media type of what is sent.
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    content_type: String,
    /// Call in the name of this user, who has signed in, and not of the system user.
    #[arg(long, value_name = "UPN")]
    user: Option<String>,
    /// Where ticketd serves.
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:8443")]
    address: Address,
    #[command(flatten)]
    tls: Tls,
    /// How long ticketd may take, and then how long the API may.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// The longest answer taken, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_answer: u16,
    #[command(flatten)]
    config: ConfigFile,
}

/// Where what is sent comes from.
#[derive(Clone)]
enum Data {
    Source(Source),
    Text(Zeroizing<Vec<u8>>),
}

impl FromStr for Data {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match (text, text.strip_prefix('@')) {
            ("-", _) => Self::Source(Source::Stdin),
            (_, Some(file)) => Self::Source(Source::File(file.into())),
            _ => Self::Text(Zeroizing::new(text.as_bytes().to_vec())),
        })
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Data(redacted)")
    }
}

impl Call {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let (tenant, method, path) = self.target()?;
        let body = match &self.data {
            Some(Data::Source(source)) => Some(source.read_at_most(MAX_DATA, console)?),
            Some(Data::Text(text)) => Some(text.clone()),
            None => None,
        };
        let superoffice = SuperOffice::new(
            self.config.load(console)?.config.superoffice,
            Arc::new(SystemClock),
            Arc::new(SystemRandom),
        )
        .map_err(|error| Failure::caused_by("cannot speak to SuperOffice", &error))?;
        let request = Request {
            method,
            path,
            body: body.map(|bytes| Body { bytes, content_type: self.content_type }),
            timeout: self.timeout,
            max_answer: usize::from(self.max_answer) * MEBIBYTE,
        };
        wait_for(async {
            let channel =
                connect(&self.address, &self.tls).await.map_err(|failure| failure.with_code(EXIT_UNAVAILABLE))?;
            let caller = Caller::new(channel.clone(), superoffice, self.user, request);
            match tenant {
                Some(tenant) => answer::of_one(&caller, tenant, console).await,
                None => everyone::call(&caller, channel, self.concurrency.into(), console).await,
            }
        })
    }

    /// Whom to call, and how. What cannot be sent at all costs no ticket.
    fn target(&self) -> Result<(Option<ContextIdentifier>, String, String), Failure> {
        let (tenant, method, path) = match (self.all, self.words.as_slice()) {
            (true, [method, path]) => (None, method, path),
            (false, [tenant, method, path]) => {
                let tenant = tenant.parse().map_err(|error| Failure::usage(&error))?;
                (Some(tenant), method, path)
            }
            (true, _) => return Err(Failure::usage(&"with --all, give a method and a path, and no tenant")),
            (false, _) => return Err(Failure::usage(&"give a tenant, a method and a path, or --all")),
        };
        let method = method.to_ascii_uppercase();
        check_webapi_request(&method, path, &self.content_type).map_err(|error| Failure::usage(&error))?;
        Ok((tenant, method, path.clone()))
    }
}

/// Why the API gave no answer.
fn unanswered(error: &UpstreamError) -> Failure {
    let code = match error {
        UpstreamError::RequestRefused(_) => EXIT_USAGE,
        error if error.is_transient() => EXIT_UNAVAILABLE,
        _ => 1,
    };
    Failure::failed(error).with_code(code)
}
