//! Callers with nothing bad in mind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::rig::{Rig, blocking, ticket};

/// So many calls are timed at least, one after the other, in each window.
const CALLS: usize = 40;
const WINDOWS: usize = 8;

/// Runs `attack` again and again while an honest caller on another connection makes its calls, and prints how long it waited
/// with and without. What the attack is like the first time is answered.
///
/// Attacker, server and caller share the machine with whatever else runs there, so that any window may be spoilt: windows with
/// and without the attack take turns, and the best of each kind count. What the attack itself costs others is in all of its
/// windows: each lasts a whole attack at least, and the caller's slowest hundredth is nearly its slowest call.
pub(crate) async fn while_attacked<T: Send + 'static>(
    rig: &Rig,
    name: &str,
    attack: impl Fn() -> T + Send + Sync + 'static,
) -> T {
    let mut caller = rig.tickets();
    calls(&mut caller, || true).await;
    let (attack, mut first) = (Arc::new(attack), None);
    let (mut without, mut with) = (Best::default(), Best::default());
    for _ in 0..WINDOWS {
        without.take(calls(&mut caller, || true).await);
        let (over, attacks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let attacking = tokio::spawn(blocking({
            let (over, attacks, attack) = (Arc::clone(&over), Arc::clone(&attacks), Arc::clone(&attack));
            move || {
                let first = attack();
                while !over.load(Ordering::SeqCst) {
                    attacks.fetch_add(1, Ordering::SeqCst);
                    attack();
                }
                first
            }
        }));
        with.take(calls(&mut caller, || attacks.load(Ordering::SeqCst) > 0).await);
        over.store(true, Ordering::SeqCst);
        let came_of_it = attacking.await.unwrap();
        first.get_or_insert(came_of_it);
    }
    let (p50, p99, p50_attacked, p99_attacked) = (without.p50, without.p99, with.p50, with.p99);
    println!(
        "{name}: others' calls take {p50:.1?} (p99 {p99:.1?}) without, {p50_attacked:.1?} (p99 {p99_attacked:.1?}) meanwhile"
    );
    assert!(p50_attacked < p50 * 2 + Duration::from_millis(5), "the median");
    assert!(p99_attacked < p99 * 2 + Duration::from_millis(40), "the slowest hundredth");
    first.unwrap()
}

/// The least that a window had.
struct Best {
    p50: Duration,
    p99: Duration,
}

impl Default for Best {
    fn default() -> Self {
        Self { p50: Duration::MAX, p99: Duration::MAX }
    }
}

impl Best {
    fn take(&mut self, mut window: Vec<Duration>) {
        window.sort_unstable();
        let at = |percent: usize| window[window.len() * percent / 100];
        self.p50 = self.p50.min(at(50));
        self.p99 = self.p99.min(at(99));
    }
}

/// Makes calls until `enough`.
async fn calls(caller: &mut TicketServiceClient<Channel>, enough: impl Fn() -> bool) -> Vec<Duration> {
    let mut took = Vec::with_capacity(CALLS);
    while took.len() < CALLS || !enough() {
        let began = Instant::now();
        ticket(caller).await.expect("an honest caller is answered");
        took.push(began.elapsed());
    }
    took
}
