use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tracing::{Instrument, warn};

use super::BearerError;
use super::cluster::Cluster;
use crate::clock::Clock;
use crate::identifiers::{ServiceAccount, UnverifiedJwt};
use crate::log_pace::LogPace;

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// A token that the cluster does not take is not asked about again for so long. (It may have been asked about before
/// the account's last change reached the API server.)
const REFUSED_FOR: Duration = Duration::from_secs(10);
const MAX_REFUSED: u64 = 10_000;
/// After a failure nothing is asked for so long: callers are told at once.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_IN_FLIGHT: usize = 16;
/// How long a question waits for its turn. That others are asked about says nothing about the API server.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

type Hash = [u8; 32];
type Flight = Shared<BoxFuture<'static, Result<(), BearerError>>>;

/// Asks the API server whether it still takes a token. What it takes is for others to remember.
#[derive(Clone, Debug)]
pub(super) struct TokenReviews(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cluster: Arc<Cluster>,
    audience: String,
    clock: Arc<dyn Clock>,
    pace: LogPace,
    permits: Semaphore,
    /// Until when, by the monotonic clock.
    refused: Cache<Hash, Duration>,
    /// Never held across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    flights: HashMap<Hash, Flight>,
    /// When the last question failed, and why.
    failed: Option<(Duration, Arc<str>)>,
}

impl TokenReviews {
    pub(super) fn new(cluster: Arc<Cluster>, audience: String, clock: Arc<dyn Clock>) -> Self {
        let refused = Cache::builder()
            .max_capacity(MAX_REFUSED)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(REFUSED_FOR * 2)
            .build();
        Self(Arc::new(Inner {
            cluster,
            audience,
            pace: LogPace::new(Arc::clone(&clock)),
            clock,
            permits: Semaphore::new(MAX_IN_FLIGHT),
            refused,
            state: Mutex::default(),
        }))
    }

    /// Whether the cluster takes the token of this hash, for us, as this account's. One question at a time is under way
    /// for each token.
    pub(super) async fn check(
        &self,
        hash: Hash,
        token: UnverifiedJwt,
        account: &ServiceAccount,
    ) -> Result<(), BearerError> {
        let now = self.0.clock.elapsed();
        if self.0.refused.get(&hash).is_some_and(|until| now < until) {
            return Err(BearerError::Withdrawn);
        }
        let flight = self.flight(hash, token, account, now)?;
        flight.await
    }

    /// The question that is under way, else a new one.
    fn flight(
        &self,
        hash: Hash,
        token: UnverifiedJwt,
        account: &ServiceAccount,
        now: Duration,
    ) -> Result<Flight, BearerError> {
        let mut state = self.0.state();
        if let Some(flight) = state.flights.get(&hash) {
            return Ok(flight.clone());
        }
        if let Some((failed, cause)) = &state.failed
            && now < *failed + PAUSE
        {
            return Err(unavailable(Arc::clone(cause)));
        }
        let flight = self.begin(hash, token, account.clone());
        state.flights.insert(hash, flight.clone());
        Ok(flight)
    }

    /// A task of its own: it neither stops with a caller that gives up nor starts again for the next.
    fn begin(&self, hash: Hash, token: UnverifiedJwt, account: ServiceAccount) -> Flight {
        let inner = Arc::clone(&self.0);
        let asking = async move {
            let outcome = inner.ask(&token, &account).await;
            inner.settle(hash, outcome)
        };
        let task = tokio::spawn(asking.in_current_span());
        let inner = Arc::clone(&self.0);
        let outcome = task.map(move |outcome| {
            outcome.unwrap_or_else(|_| {
                inner.settle(hash, Err(Failure::Unanswered("the question was given up".to_owned())))
            })
        });
        outcome.boxed().shared()
    }
}

/// What kept us from hearing an answer.
enum Failure {
    /// Nothing was asked.
    Crowded,
    Unanswered(String),
}

impl Inner {
    async fn ask(&self, token: &UnverifiedJwt, account: &ServiceAccount) -> Result<bool, Failure> {
        let permit = tokio::select! {
            permit = self.permits.acquire() => permit.map_err(|error| Failure::Unanswered(error.to_string()))?,
            () = self.clock.sleep(LONGEST_WAIT) => return Err(Failure::Crowded),
        };
        let question = serde_json::to_vec(&Review {
            api_version: "authentication.k8s.io/v1",
            kind: "TokenReview",
            spec: Spec { token: token.expose(), audiences: [&self.audience] },
        });
        let question = question.map_err(|error| Failure::Unanswered(error.to_string()))?;
        let answer = self.cluster.post(PATH, question).await;
        drop(permit);
        let answer = answer.map_err(|error| Failure::Unanswered(format!("TokenReview: {error}")))?;
        let answer: Reviewed = serde_json::from_slice(&answer)
            .map_err(|_| Failure::Unanswered("TokenReview: the answer is no TokenReview".to_owned()))?;
        let Status { authenticated, user, audiences } = answer.status;
        let name = account.as_str().replacen('/', ":", 1);
        // A server that does not know audiences names none, and has not looked at them.
        Ok(authenticated
            && audiences.contains(&self.audience)
            && user.username.strip_prefix("system:serviceaccount:") == Some(name.as_str()))
    }

    fn settle(&self, hash: Hash, outcome: Result<bool, Failure>) -> Result<(), BearerError> {
        let now = self.clock.elapsed();
        let mut state = self.state();
        state.flights.remove(&hash);
        match outcome {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.refused.insert(hash, now + REFUSED_FOR);
                Err(BearerError::Withdrawn)
            }
            Err(Failure::Crowded) => Err(BearerError::Overloaded),
            Err(Failure::Unanswered(cause)) => {
                if let Some(unlogged) = self.pace.admit("token_review") {
                    warn!(cause, unlogged, "the cluster cannot be asked about callers' tokens");
                }
                let cause: Arc<str> = cause.into();
                state.failed = Some((now, Arc::clone(&cause)));
                Err(unavailable(cause))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(cause: Arc<str>) -> BearerError {
    BearerError::Unavailable { cause, retry_after: PAUSE }
}

/// What is asked (authentication.k8s.io/v1).
#[derive(Serialize)]
struct Review<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    kind: &'a str,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Spec<'a> {
    token: &'a str,
    audiences: [&'a str; 1],
}

/// What is answered. What is not there was not granted.
#[derive(Deserialize)]
struct Reviewed {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    user: User,
    #[serde(default)]
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}
