use std::sync::Barrier;

use jiff::Timestamp;

use super::*;
use crate::clock::ManualClock;

const FAILURE: UpstreamError = UpstreamError::Status(503);
const SECOND: Duration = Duration::from_secs(1);

fn breaker() -> (Breaker, ManualClock) {
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    (Breaker::new("login", Arc::new(clock.clone())), clock)
}

#[expect(clippy::unnecessary_wraps, reason = "a source may be none")]
fn tenant(number: u32) -> Source {
    Some(format!("Cust{number}").parse().unwrap())
}

fn fail(breaker: &Breaker, source: Source) {
    breaker.admit(source).unwrap().settle(Some(&FAILURE));
}

/// One that has just opened.
fn opened() -> (Breaker, ManualClock) {
    let (breaker, clock) = breaker();
    (0..FAILURES).for_each(|number| fail(&breaker, tenant(number % 2)));
    (breaker, clock)
}

/// How long nothing is sent, if so.
fn refusal(breaker: &Breaker) -> Option<Duration> {
    breaker.check().err().map(|error| error.retry_after().unwrap())
}

#[test]
fn five_failures_in_a_row_open_it_and_four_do_not() {
    let (breaker, _) = breaker();
    for _ in 0..10 {
        (1..FAILURES).for_each(|number| fail(&breaker, tenant(number)));
        breaker.admit(tenant(1)).unwrap().settle(None);
    }
    (1..FAILURES).for_each(|number| fail(&breaker, tenant(number)));
    assert_eq!(breaker.check(), Ok(()));
    fail(&breaker, tenant(1));
    assert_eq!(refusal(&breaker), Some(BETWEEN_PROBES));
}

#[test]
fn one_tenants_failures_do_not_stop_the_others() {
    for source in [tenant(1), None] {
        let (breaker, _) = breaker();
        (0..1_000).for_each(|_| fail(&breaker, source));
        assert_eq!(breaker.check(), Ok(()));
        breaker.admit(tenant(2)).unwrap().settle(None);
        (1..FAILURES).for_each(|_| fail(&breaker, source));
        assert_eq!(breaker.check(), Ok(()));
        fail(&breaker, tenant(2));
        assert_eq!(refusal(&breaker), Some(BETWEEN_PROBES));
    }
}

#[test]
fn while_it_is_open_one_probe_at_a_time_is_sent_ten_seconds_after_the_last() {
    let (breaker, clock) = opened();
    let mut probes = 0;
    for second in 0..1_800 {
        match breaker.admit(tenant(second)) {
            Ok(probe) => {
                probes += 1;
                assert!(probe.is_probe);
                assert_eq!(refusal(&breaker), Some(UNTIL_THE_PROBE_TELLS), "there is one probe already");
                assert!(breaker.admit(tenant(1)).is_err());
                probe.settle(Some(&FAILURE));
            }
            Err(error) => assert!(error.retry_after().is_some_and(|after| after <= BETWEEN_PROBES)),
        }
        clock.advance(SECOND);
    }
    println!("probes in an outage of 30 min: {probes}");
    assert_eq!(probes, 179);
    clock.advance(BETWEEN_PROBES);
    breaker.admit(tenant(7)).unwrap().settle(None);
    assert_eq!(refusal(&breaker), None);
    (1..FAILURES).for_each(|number| fail(&breaker, tenant(number)));
    assert_eq!(refusal(&breaker), None, "it counts from nothing again");
}

#[test]
fn a_probe_that_is_given_up_frees_its_place() {
    let (breaker, clock) = opened();
    clock.advance(BETWEEN_PROBES);
    for _ in 0..3 {
        drop(breaker.admit(tenant(1)).unwrap());
        assert_eq!(refusal(&breaker), None);
    }
    let probe = breaker.admit(tenant(1)).unwrap();
    clock.advance(LONG_SILENCE);
    drop(probe);
    assert_eq!(refusal(&breaker), Some(BETWEEN_PROBES), "it was silent for too long");
}

#[test]
fn a_request_given_up_after_a_long_silence_has_failed_and_another_tells_nothing() {
    let (breaker, clock) = breaker();
    for _ in 0..100 {
        let request = breaker.admit(tenant(1)).unwrap();
        clock.advance(LONG_SILENCE.checked_sub(SECOND).unwrap());
        drop(request);
    }
    assert_eq!(refusal(&breaker), None);
    let requests: Vec<_> = (0..FAILURES).map(|number| breaker.admit(tenant(number)).unwrap()).collect();
    clock.advance(LONG_SILENCE);
    drop(requests);
    assert_eq!(refusal(&breaker), Some(BETWEEN_PROBES));
}

#[test]
fn what_was_sent_before_it_opened_tells_nothing_afterwards() {
    let (breaker, clock) = breaker();
    let before: Vec<_> = (0..64).map(|number| breaker.admit(tenant(number)).unwrap()).collect();
    (0..FAILURES).for_each(|number| fail(&breaker, tenant(number)));
    let mut before = before.into_iter();
    before.by_ref().take(10).for_each(|request| request.settle(None));
    assert_eq!(refusal(&breaker), Some(BETWEEN_PROBES), "an answer to what is no probe");
    clock.advance(BETWEEN_PROBES);
    breaker.admit(tenant(1)).unwrap().settle(None);
    before.for_each(|request| request.settle(Some(&FAILURE)));
    assert_eq!(refusal(&breaker), None);
}

#[test]
fn to_be_asked_to_wait_is_no_failure_and_does_not_close_it() {
    let asked_to_wait = [
        UpstreamError::Throttled { retry_after: Some(SECOND) },
        UpstreamError::Unavailable { retry_after: SECOND },
        UpstreamError::Busy,
    ];
    let (closed, _) = breaker();
    let (open, clock) = opened();
    for error in &asked_to_wait {
        (0..100).for_each(|_| closed.admit(tenant(1)).unwrap().settle(Some(error)));
        clock.advance(BETWEEN_PROBES);
        open.admit(tenant(1)).unwrap().settle(Some(error));
        assert_eq!(refusal(&open), Some(BETWEEN_PROBES));
    }
    assert_eq!(refusal(&closed), None);
    (1..FAILURES).for_each(|number| fail(&closed, tenant(number)));
    closed.admit(tenant(1)).unwrap().settle(Some(&asked_to_wait[0]));
    fail(&closed, tenant(1));
    assert_eq!(refusal(&closed), Some(BETWEEN_PROBES), "nor does it end a row of failures");
}

#[test]
fn what_is_not_there_is_an_answer() {
    let (breaker, clock) = opened();
    for error in [UpstreamError::Status(501), UpstreamError::Status(302)] {
        clock.advance(BETWEEN_PROBES);
        breaker.admit(tenant(1)).unwrap().settle(Some(&error));
        assert_eq!(refusal(&breaker), None, "{error}");
        (0..FAILURES).for_each(|number| fail(&breaker, tenant(number)));
    }
}

#[test]
fn of_many_who_race_for_the_probe_one_gets_it() {
    let (breaker, clock) = opened();
    clock.advance(BETWEEN_PROBES);
    let start = Barrier::new(16);
    let probes = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..16)
            .map(|number| {
                let (breaker, start) = (&breaker, &start);
                scope.spawn(move || {
                    start.wait();
                    breaker.admit(tenant(number)).ok()
                })
            })
            .collect();
        let admissions: Vec<_> = racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect();
        admissions.len()
    });
    assert_eq!(probes, 1);
}
