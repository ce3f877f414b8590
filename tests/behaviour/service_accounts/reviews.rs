//! What the API server says of a token, where it is asked.

use std::time::Duration;

use serde_json::json;
use tonic::Code;

use super::{ACCOUNT, Guarded, unavailable, unknown};
use crate::api_server::Mood;
use crate::issuer::{self, Key};
use crate::world::{eventually, reason, retry_delay};

#[tokio::test]
async fn a_review_is_believed_for_a_minute_and_a_deleted_account_is_refused_then() {
    let guarded = Guarded::start(true).await;
    let token = guarded.token(ACCOUNT);
    for _ in 0..50 {
        guarded.ticket(&token).await.unwrap();
    }
    assert_eq!(guarded.api.reviews(), 2, "one for who put the tenant, one for this");
    guarded.api.delete(ACCOUNT);
    guarded.world.clock.advance(Duration::from_secs(59));
    guarded.ticket(&token).await.unwrap();
    guarded.world.clock.advance(Duration::from_secs(1));
    for _ in 0..50 {
        let refused = guarded.ticket(&token).await.unwrap_err();
        assert_eq!(reason(&refused), unknown());
    }
    assert_eq!(guarded.api.reviews(), 3, "a refusal is remembered as well");
    guarded.world.clock.advance(Duration::from_secs(10));
    guarded.ticket(&token).await.unwrap_err();
    assert_eq!(guarded.api.reviews(), 4);
    println!("reviews for 102 calls by one token in 70 s: {}", guarded.api.reviews() - 1);

    // What is not signed by the cluster is no question to it.
    for _ in 0..50 {
        guarded.ticket(&Key::p256("first").sign(&issuer::claims(ACCOUNT, guarded.now()))).await.unwrap_err();
    }
    assert_eq!(guarded.api.reviews(), 4);
}

#[tokio::test]
async fn callers_with_one_token_share_a_review() {
    let guarded = Guarded::start(true).await;
    let token = guarded.token(ACCOUNT);
    let tickets = (0..100).map(|_| guarded.ticket(&token));
    assert!(futures_util::future::join_all(tickets).await.iter().all(Result::is_ok));
    assert_eq!(guarded.api.reviews(), 2);
}

#[tokio::test]
async fn without_the_clusters_word_nobody_new_is_let_in() {
    let guarded = Guarded::start(true).await;
    let known = guarded.token(ACCOUNT);
    guarded.ticket(&known).await.unwrap();
    let mut asked = guarded.api.reviews();
    for mood in [Mood::Down, Mood::Says(403), Mood::Says(429), Mood::Says(500)] {
        guarded.api.set_mood(mood);
        let strangers = (0..20).map(|number| guarded.token(&format!("crm/job-{number}")));
        for token in strangers {
            let refused = guarded.ticket(&token).await.unwrap_err();
            assert_eq!(reason(&refused), unavailable(), "{mood:?}");
            assert_eq!(retry_delay(&refused), Some(Duration::from_secs(1)));
        }
        let questions = guarded.api.reviews() - asked;
        assert!(questions <= 1, "{mood:?}: {questions}");
        asked = guarded.api.reviews();
        guarded.ticket(&known).await.expect("what was reviewed within the minute goes on");
        guarded.world.clock.advance(Duration::from_secs(1));
    }
    guarded.api.set_mood(Mood::Hanging);
    let token = guarded.token("crm/late");
    let (refused, ()) = tokio::join!(guarded.ticket(&token), async {
        eventually("the cluster is asked", || guarded.api.reviews() > asked).await;
        guarded.ticket(&known).await.unwrap();
        guarded.world.clock.advance(Duration::from_secs(5));
    });
    assert_eq!(reason(&refused.unwrap_err()), unavailable());
    guarded.world.clock.advance(Duration::from_mins(1));
    guarded.api.set_mood(Mood::Down);
    assert_eq!(reason(&guarded.ticket(&known).await.unwrap_err()), unavailable(), "the minute is over");
    guarded.api.set_mood(Mood::Well);
    guarded.world.clock.advance(Duration::from_secs(1));
    guarded.ticket(&known).await.unwrap();
}

#[tokio::test]
async fn who_waits_for_others_reviews_is_told_so_and_nothing_of_the_api_server() {
    let guarded = Guarded::start(true).await;
    let asked = guarded.api.reviews();
    guarded.api.set_mood(Mood::Hanging);
    let tokens: Vec<_> = (0..20).map(|number| guarded.token(&format!("crm/job-{number}"))).collect();
    let strangers = futures_util::future::join_all(tokens.iter().map(|token| guarded.ticket(token)));
    let late = guarded.token("crm/late");
    let (answers, late) = tokio::join!(strangers, async {
        // Each waits for its turn, an answer, and its deadline.
        eventually("as many are asked about as may be", || guarded.api.reviews() == asked + 16).await;
        let sleepers = guarded.world.clock.sleepers();
        guarded.world.clock.advance(Duration::from_secs(2));
        eventually("the rest is told", || guarded.world.clock.sleepers() <= sleepers - 8).await;
        let late = async { guarded.ticket(&late).await.unwrap_err() };
        let (late, ()) = tokio::join!(late, async {
            // For its turn, and for its deadline.
            eventually("it waits", || guarded.world.clock.sleepers() >= sleepers - 8 + 2).await;
            guarded.world.clock.advance(Duration::from_secs(2));
        });
        guarded.world.clock.advance(Duration::from_secs(1));
        late
    });
    let overloaded = (Code::ResourceExhausted, "OVERLOADED".to_owned());
    assert_eq!(reason(&late), overloaded, "it was not said meanwhile that the API server is away");
    let told = |what| answers.iter().filter(|answer| reason(answer.as_ref().unwrap_err()) == what).count();
    assert_eq!((told(overloaded), told(unavailable())), (4, 16));
}

#[tokio::test]
async fn a_review_of_somebody_else_is_no_review() {
    let guarded = Guarded::start(true).await;
    let user = json!({"username": "system:serviceaccount:crm:sync"});
    for (number, status) in [
        json!({"authenticated": true, "user": user}),
        json!({"authenticated": true, "user": user, "audiences": ["vault"]}),
        json!({"authenticated": true, "user": user, "audiences": []}),
        json!({"authenticated": false, "user": user, "audiences": ["ticketd"]}),
        json!({"user": user, "audiences": ["ticketd"]}),
        json!({"authenticated": true, "audiences": ["ticketd"]}),
        json!({"authenticated": true, "user": {"username": "system:serviceaccount:ops:sync"}, "audiences": ["ticketd"]}),
        json!({"authenticated": true, "user": {"username": "crm:sync"}, "audiences": ["ticketd"]}),
        json!({}),
    ]
    .into_iter()
    .enumerate()
    {
        guarded.api.answer_reviews(status.clone());
        let token = guarded.changed(|claims| claims["jti"] = json!(number.to_string()));
        assert_eq!(reason(&guarded.ticket(&token).await.unwrap_err()), unknown(), "{status}");
    }
    for status in [json!(7), json!("authenticated"), json!({"authenticated": "true"}), json!({"audiences": "ticketd"})]
    {
        guarded.api.answer_reviews(status.clone());
        guarded.world.clock.advance(Duration::from_secs(1));
        let token = guarded.changed(|claims| claims["jti"] = status.clone());
        assert_eq!(reason(&guarded.ticket(&token).await.unwrap_err()), unavailable(), "{status}");
    }
}
