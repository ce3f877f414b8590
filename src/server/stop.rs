use tokio_util::sync::CancellationToken;

/// Asks a server to stop. Clones ask the same server.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked: CancellationToken,
    aborted: CancellationToken,
}

/// How far stopping has come for the connections of one listener.
#[derive(Clone, Debug)]
pub(super) struct Phases {
    /// No connection is accepted any more, and those that are open are asked to close.
    pub(super) closing: CancellationToken,
    /// Connections end now, whatever runs on them.
    pub(super) cut: CancellationToken,
}

impl Stop {
    /// Asked once, the server drains; asked again, it stops at once and [`super::Server::join`] says so.
    pub fn request(&self) {
        if self.asked.is_cancelled() {
            self.aborted.cancel();
        } else {
            self.asked.cancel();
        }
    }

    /// Ends when it is asked for the first time.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    pub(super) async fn aborted(&self) {
        self.aborted.cancelled().await;
    }

    /// Phases that a drain moves through. An abort cuts them too.
    pub(super) fn phases(&self) -> Phases {
        let cut = self.aborted.child_token();
        Phases { closing: cut.child_token(), cut }
    }

    /// Aborts when the guard is dropped.
    pub(super) fn abort_on_drop(&self) -> tokio_util::sync::DropGuard {
        self.aborted.clone().drop_guard()
    }
}
