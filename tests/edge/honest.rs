//! Callers with nothing bad in mind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::rig::{Rig, blocking, ticket};

/// So many calls are timed, one after the other, in each turn.
const CALLS: usize = 60;
const TURNS: usize = 5;

/// Runs `attack` again and again for as long as it takes an honest caller on another connection to make its calls, and
/// prints how long it waited with and without. What the attack is like the first time is answered.
///
/// The attacker, the server and the caller share the machine, and the attacker may well have a core for itself: the
/// assertion leaves room for that, on the median and on the slowest hundredth.
pub(crate) async fn while_attacked<T: Send + 'static>(
    rig: &Rig,
    name: &str,
    attack: impl Fn() -> T + Send + Sync + 'static,
) -> T {
    let mut caller = rig.tickets();
    calls(&mut caller).await;
    let (attack, mut first) = (Arc::new(attack), None);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    // In turns, so that other load on the machine touches both alike.
    for _ in 0..TURNS {
        without.extend(calls(&mut caller).await);
        let over = Arc::new(AtomicBool::new(false));
        let attacking = tokio::spawn(blocking({
            let (over, attack) = (Arc::clone(&over), Arc::clone(&attack));
            move || {
                let first = attack();
                while !over.load(Ordering::SeqCst) {
                    attack();
                }
                first
            }
        }));
        with.extend(calls(&mut caller).await);
        over.store(true, Ordering::SeqCst);
        let came_of_it = attacking.await.unwrap();
        first.get_or_insert(came_of_it);
    }
    without.sort_unstable();
    with.sort_unstable();
    let at = |took: &[Duration], percent: usize| took[took.len() * percent / 100];
    let [(p50, p99), (p50_attacked, p99_attacked)] = [&without, &with].map(|took| (at(took, 50), at(took, 99)));
    println!(
        "{name}: others' calls take {p50:.1?} (p99 {p99:.1?}) without, {p50_attacked:.1?} (p99 {p99_attacked:.1?}) meanwhile"
    );
    assert!(p50_attacked < p50 * 2 + Duration::from_millis(50), "the median");
    assert!(p99_attacked < p99 * 2 + Duration::from_millis(200), "the slowest hundredth");
    first.unwrap()
}

async fn calls(caller: &mut TicketServiceClient<Channel>) -> Vec<Duration> {
    let mut took = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let began = Instant::now();
        ticket(caller).await.expect("an honest caller is answered");
        took.push(began.elapsed());
    }
    took
}
