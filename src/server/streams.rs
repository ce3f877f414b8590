use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream};
use hyper::rt::Executor;
use hyper_util::server::graceful::GracefulConnection;

use super::bells::{Attendant, Bell};
use super::unread::UnreadWatch;

/// So often the connection and its streams take turns before other tasks have theirs.
const ROUNDS: usize = 4;

/// Where hyper puts the streams of one connection, one for each call.
#[derive(Clone, Debug)]
pub(super) struct Streams(Sender<BoxFuture<'static, ()>>);

/// A connection and its streams in one task. What is answered in one go needs no other task, and answers that are there
/// together go together; a task for each call costs a third of what HTTP/2 itself does.
#[derive(Debug)]
pub(super) struct WithStreams<C> {
    connection: Pin<Box<C>>,
    begun: Receiver<BoxFuture<'static, ()>>,
    streams: FuturesUnordered<BoxFuture<'static, ()>>,
    unread: UnreadWatch,
    task: Attendant,
    of_connection: Bell,
    of_streams: Bell,
}

impl<F: Future + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // A panic ends its stream and no other. Nothing that the stream has to itself is looked at afterwards.
        let stream = AssertUnwindSafe(stream).catch_unwind().map(drop);
        // What the connection has read counts as this task's work: it would let no stream go on that it was too much with.
        let stream = tokio::task::unconstrained(stream);
        // Without its connection a stream has nobody to answer.
        drop(self.0.send(Box::pin(stream)));
    }
}

impl<C: GracefulConnection<Error = hyper::Error>> WithStreams<C> {
    /// The connection that `connect` makes with the place for its streams.
    pub(super) fn new(unread: UnreadWatch, connect: impl FnOnce(Streams) -> C) -> Self {
        let (sender, begun) = mpsc::channel();
        let connection = Box::pin(connect(Streams(sender)));
        let streams = FuturesUnordered::<BoxFuture<'static, ()>>::new();
        // One that never ends. When it has polled all that it has, the set would have this task come again at once.
        streams.push(Box::pin(std::future::pending()));
        let task = Attendant::default();
        let (of_connection, of_streams) = (task.bell(), task.bell());
        Self { connection, begun, streams, unread, task, of_connection, of_streams }
    }

    /// Has it end when the streams that there are have ended.
    pub(super) fn close(self: Pin<&mut Self>) {
        let Self { connection, of_connection, .. } = self.get_mut();
        connection.as_mut().graceful_shutdown();
        of_connection.ring();
    }

    /// The connection's end, if it has come. Streams send by way of the connection, which is looked at again for that.
    fn take_turns(&mut self) -> Option<hyper::Result<()>> {
        let Self { connection, begun, streams, of_connection, of_streams, .. } = self;
        for _ in 0..ROUNDS {
            let (is_connection, mut is_streams) = (of_connection.answer(), of_streams.answer());
            if is_connection {
                if let Poll::Ready(end) = connection.as_mut().poll(&mut of_connection.context()) {
                    return Some(end);
                }
                for stream in begun.try_iter() {
                    streams.push(stream);
                    is_streams = true;
                }
            }
            if is_streams {
                while let Poll::Ready(Some(())) = Pin::new(&mut *streams).poll_next(&mut of_streams.context()) {}
            } else if !is_connection {
                break;
            }
        }
        None
    }
}

impl<C: GracefulConnection<Error = hyper::Error>> Future for WithStreams<C> {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.task.begin(context);
        let end = self.take_turns();
        self.unread.look(context);
        self.task.end([&self.of_connection, &self.of_streams]);
        end.map_or(Poll::Pending, Poll::Ready)
    }
}
