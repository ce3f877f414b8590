use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// A task that looks after several things, each of which has a [`Bell`] in place of the task's waker. The task learns which
/// of them rang, and is not woken for what rings while it looks.
#[derive(Debug, Default)]
pub(super) struct Attendant(Arc<Task>);

#[derive(Debug, Default)]
struct Task {
    waker: AtomicWaker,
    is_looking: AtomicBool,
}

/// What one of those that a task looks after rings when it has something to do.
#[derive(Debug)]
pub(super) struct Bell {
    rope: Arc<Rope>,
    waker: Waker,
}

#[derive(Debug)]
struct Rope {
    is_rung: AtomicBool,
    task: Arc<Task>,
}

impl Attendant {
    /// A bell that rings: whatever it is for has never been looked at.
    pub(super) fn bell(&self) -> Bell {
        let rope = Arc::new(Rope { is_rung: AtomicBool::new(true), task: Arc::clone(&self.0) });
        Bell { waker: Waker::from(Arc::clone(&rope)), rope }
    }

    /// Begins to look.
    pub(super) fn begin(&self, context: &Context<'_>) {
        self.0.waker.register(context.waker());
        self.0.is_looking.store(true, Ordering::SeqCst);
    }

    /// Looks no more, and comes again if a bell was left ringing.
    pub(super) fn end(&self, bells: [&Bell; 2]) {
        // In this order, as whoever rings does it in the other: one of the two sees what the other did.
        self.0.is_looking.store(false, Ordering::SeqCst);
        if bells.iter().any(|bell| bell.rope.is_rung.load(Ordering::SeqCst)) {
            self.0.waker.wake();
        }
    }
}

impl Bell {
    /// Whether it rang since it was last answered.
    pub(super) fn answer(&self) -> bool {
        self.rope.is_rung.swap(false, Ordering::SeqCst)
    }

    pub(super) fn ring(&self) {
        self.waker.wake_by_ref();
    }

    /// For what it is the bell of.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Whoever rang first has seen to it that the task comes.
        if !self.is_rung.swap(true, Ordering::SeqCst) && !self.task.is_looking.load(Ordering::SeqCst) {
            self.task.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::AtomicU32;
    use std::task::Poll;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_is_woken_for_what_rings_while_it_does_not_look() {
        let woken = Arc::new(Woken::default());
        let was_woken = || woken.0.swap(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&woken));
        let task = Attendant::default();
        let (one, other) = (task.bell(), task.bell());
        task.begin(&Context::from_waker(&waker));
        assert!(one.answer() && !one.answer() && other.answer(), "they rang from the beginning");
        other.ring();
        assert!(!was_woken() && other.answer() && !one.answer(), "it looks, and sees who rang");
        task.end([&one, &other]);
        assert!(!was_woken(), "all is answered");
        one.ring();
        assert!(was_woken());
        one.ring();
        assert!(!was_woken(), "it has been told");
        task.begin(&Context::from_waker(&waker));
        assert!(one.answer());
        one.ring();
        task.end([&one, &other]);
        assert!(was_woken(), "it comes again for what it left");
    }

    /// Counts what others ring for.
    struct Counts {
        task: Attendant,
        bells: [Bell; 2],
        rings: [Arc<AtomicU32>; 2],
        left: u32,
    }

    impl Future for Counts {
        type Output = ();

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let Self { task, bells, rings, left } = self.get_mut();
            task.begin(context);
            for (bell, rings) in bells.iter().zip(rings) {
                if bell.answer() {
                    *left -= rings.swap(0, Ordering::SeqCst);
                }
            }
            let [one, other] = &*bells;
            task.end([one, other]);
            if *left == 0 { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_ring_is_lost_between_threads() {
        let each: u32 = 20_000;
        let task = Attendant::default();
        let bells = [task.bell(), task.bell()];
        let rings = [Arc::default(), Arc::<AtomicU32>::default()];
        let ringing: Vec<_> = bells
            .iter()
            .zip(&rings)
            .map(|(bell, rings)| {
                let (waker, rings) = (bell.waker.clone(), Arc::clone(rings));
                thread::spawn(move || {
                    for _ in 0..each {
                        rings.fetch_add(1, Ordering::SeqCst);
                        waker.wake_by_ref();
                    }
                })
            })
            .collect();
        let counted = tokio::spawn(Counts { task, bells, rings, left: 2 * each });
        tokio::time::timeout(Duration::from_mins(1), counted).await.expect("a ring was lost").unwrap();
        for thread in ringing {
            thread.join().unwrap();
        }
    }
}
