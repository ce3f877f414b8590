//! What the server logs.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::subscriber::DefaultGuard;

/// The log at its default level, of everything that runs on the test's own thread: it has to have no other.
pub(crate) struct Log {
    written: Arc<Mutex<Vec<u8>>>,
    _subscribed: DefaultGuard,
}

impl Log {
    pub(crate) fn start() -> Self {
        let written = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&written);
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || Writer(Arc::clone(&writer))).finish();
        Self { written, _subscribed: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines so far that have this in them.
    pub(crate) fn lines_with(&self, text: &str) -> Vec<Value> {
        let written = String::from_utf8(self.written.lock().unwrap().clone()).unwrap();
        written.lines().filter(|line| line.contains(text)).map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
