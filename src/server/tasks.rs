use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinSet};

/// Background tasks that run as long as the server does, with names to report by. Dropped, they are aborted.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// The name of the first task that ends, by returning or by a panic.
    pub(super) async fn first_to_end(&mut self) -> &'static str {
        let Some(end) = self.running.join_next_with_id().await else { return std::future::pending().await };
        let id = end.map_or_else(|error| error.id(), |(id, ())| id);
        self.names.get(&id).copied().unwrap_or("unnamed")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_or_returns_is_named() {
        let mut tasks = Tasks::default();
        assert!(tasks.first_to_end().now_or_never().is_none());
        tasks.spawn("steady", std::future::pending());
        tasks.spawn("broken", async { panic!("broken") });
        assert_eq!(tasks.first_to_end().await, "broken");
        tasks.spawn("short", std::future::ready(()));
        assert_eq!(tasks.first_to_end().await, "short");
        assert!(tasks.first_to_end().now_or_never().is_none());
    }
}
