use std::panic::{self, PanicHookInfo};
use std::thread;

use tracing::error;

/// From now on a panic is one line of the log, like anything else.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(log));
}

/// Says where, and not what: a panic's text may hold the value that caused it.
fn log(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    error!(location, thread = thread::current().name().unwrap_or_default(), "panicked: this is a fault of ticketd");
}
