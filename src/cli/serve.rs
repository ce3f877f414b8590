use std::future::Future;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::config_file::ConfigFile;
use super::console::Console;
use super::failure::{Failure, with_causes};
use crate::clock::{Clock, SystemClock};
use crate::config::Loaded;
use crate::server::{BindError, Server, Signals};
use crate::telemetry;

/// How long after the longest drain everything else may take at the end: closing the store, sending the last traces.
const END_LIMIT: Duration = Duration::from_millis(800);
/// How long what still blocks a thread may then hold up the end of the process.
const BLOCKED_LIMIT: Duration = Duration::from_millis(100);

#[derive(Args, Debug)]
#[command(after_help = "\
The log goes to stderr. The first SIGTERM or SIGINT drains: health turns NOT_SERVING, running calls finish. A second
one aborts.

Examples:
  ticketd serve --config ticketd.toml
  TICKETD_TELEMETRY_LOG_FORMAT=text ticketd serve --config ticketd.toml")]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
}

impl Serve {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let loaded = self.config.load(console)?;
        let runtime = Runtime::new().map_err(|error| Failure::caused_by("cannot start the runtime", &error))?;
        let outcome = runtime.block_on(serve(loaded));
        runtime.shutdown_timeout(BLOCKED_LIMIT);
        outcome
    }
}

async fn serve(Loaded { config, warnings }: Loaded) -> Result<(), Failure> {
    let telemetry = telemetry::init(&config.telemetry)
        .map_err(|error| Failure::caused_by("cannot start logging and tracing", &error))?;
    for warning in &warnings {
        warn!(%warning, "the configuration should be looked at");
    }
    let (overdue, limit) = (CancellationToken::new(), config.server.longest_drain() + END_LIMIT);
    let serving = async {
        let outcome = Box::pin(serve_until_signal(Server::bind(config), limit, overdue.clone())).await;
        // Who aborts does not wait for a collector.
        let patience = if outcome.is_ok() { limit } else { END_LIMIT };
        let _ = tokio::time::timeout(patience, telemetry.shutdown()).await;
        outcome
    };
    tokio::select! {
        outcome = serving => outcome,
        () = overdue.cancelled() => {
            warn!(?limit, "the end takes too long: what is left is given up");
            Ok(())
        }
    }
}

/// Signals count from before there is a server: to start may take a while. The token is cancelled when the end takes
/// longer than the limit.
async fn serve_until_signal(
    starting: impl Future<Output = Result<Server, BindError>>,
    limit: Duration,
    overdue: CancellationToken,
) -> Result<(), Failure> {
    let mut signals = Signals::install().map_err(|error| logged(&error, "signals cannot be handled"))?;
    let server = tokio::select! {
        biased;
        () = signals.asked_to_stop() => return Ok(()),
        started = starting => started.map_err(|error| logged(&error, "the server cannot start"))?,
    };
    server.stop_on(signals);
    let stop = server.stop();
    tokio::spawn(async move {
        stop.asked().await;
        SystemClock.sleep(limit).await;
        overdue.cancel();
    });
    server.join().await.map_err(|error| logged(&error, "the server has failed"))
}

fn logged(error: &dyn std::error::Error, message: &'static str) -> Failure {
    error!(error = with_causes(error), "{message}");
    Failure::Logged
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_signal_while_the_server_starts_ends_the_process_well() {
        let mut serving = Box::pin(serve_until_signal(std::future::pending(), END_LIMIT, CancellationToken::new()));
        assert!(poll!(&mut serving).is_pending());
        kill_process(getpid(), Signal::TERM).unwrap();
        let end = tokio::time::timeout(Duration::from_secs(20), serving).await;
        assert!(end.expect("it stops").is_ok());
    }
}
