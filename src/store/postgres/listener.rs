use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::sync::broadcast::Sender;

use super::{changes, shared_tickets};
use crate::identifiers::ContextIdentifier;

/// How long connecting, or a sign of life, takes at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long the connection may be silent before it is asked for a sign of life.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// How long after a failure it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells of every change that others announce and of every ticket that they put, until it is dropped. While it cannot
/// listen, both are looked for.
pub(super) async fn listen(options: PgConnectOptions, changed: Arc<Notify>, news: Sender<ContextIdentifier>) {
    let mut failing = false;
    loop {
        if let Err(error) = listen_once(&options, &changed, &news, &mut failing).await
            && !failing
        {
            failing = true;
            // The details may repeat what they should not.
            let error = error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
            tracing::warn!(error, "changes are not heard of, and found by looking every few seconds");
        }
        pause().await;
    }
}

/// Ends when the connection does.
async fn listen_once(
    options: &PgConnectOptions,
    changed: &Notify,
    news: &Sender<ContextIdentifier>,
    failing: &mut bool,
) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ANSWER_LIMIT).connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.ignore_pool_close_event(true);
    listener.eager_reconnect(false);
    listener.listen_all([changes::CHANNEL, shared_tickets::CHANNEL]).await?;
    if std::mem::take(failing) {
        tracing::info!("changes are heard of again");
    }
    loop {
        // At first too: what changed before is not announced again.
        changed.notify_one();
        loop {
            match tokio::time::timeout(SILENCE_LIMIT, listener.try_recv()).await {
                Ok(Ok(Some(notice))) if notice.channel() == changes::CHANNEL => break,
                // Nobody may be waiting for it.
                Ok(Ok(Some(notice))) => drop(notice.payload().parse().map(|tenant| news.send(tenant))),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let sign = tokio::time::timeout(ANSWER_LIMIT, listener.execute("SELECT 1")).await;
                    sign.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
                }
            }
        }
    }
}

/// Of the machine's time, like every wait for the database.
async fn pause() {
    #[expect(clippy::disallowed_methods, reason = "the database's recovery is not on the tests' clock")]
    tokio::time::sleep(PAUSE).await;
}
