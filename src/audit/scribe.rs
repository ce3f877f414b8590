//! The task that begins each write, wakes those who wait for it, and gives up one that does not return.

use std::sync::Arc;
use std::time::Duration;

use super::writer::Writer;
use crate::clock::{Clock, Sleep};

/// Serves a writer until that is closed. A call that waits longer than `patience` for its event is refused, and so are
/// all others then: one timer serves them. It is armed when a turn of writing begins, and again when writing works after it
/// failed, each of which calls for it.
pub(super) async fn serve(writer: Arc<Writer>, clock: Arc<dyn Clock>, patience: Duration) {
    let scribe = Scribe(writer);
    let writer = &scribe.0;
    let mut watch: Option<Sleep> = None;
    while !writer.is_closed() {
        tokio::select! {
            biased;
            () = writer.called.notified() => {
                writer.wake_settled();
                // What else is ready to run puts its events first: one write for all of them.
                tokio::task::yield_now().await;
                writer.write_what_waits();
            }
            () = async { if let Some(watch) = &mut watch { watch.await } }, if watch.is_some() => watch = None,
        }
        if watch.is_none() {
            watch = writer.give_up(patience).map(|left| clock.sleep(left));
        }
    }
}

/// However the task ends, with its runtime for example, writing goes on.
struct Scribe(Arc<Writer>);

impl Drop for Scribe {
    fn drop(&mut self) {
        self.0.go_without_scribe();
    }
}
