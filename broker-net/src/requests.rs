//! Requests: what extensions answer later, polled beside the loops.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use broker_core::Answered;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::io_loop::{Command, LoopHandle};

/// Hands futures to the runtime and their answers to the loops. Each connection has at most one at a time.
#[derive(Clone)]
pub(crate) struct Requests {
    runtime: Handle,
}

/// A runtime with one thread: what extensions wait for is not CPU.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("broker-requests")
        .enable_all()
        .build()
}

impl Requests {
    pub(crate) fn new(runtime: &Runtime) -> Self {
        Self { runtime: runtime.handle().clone() }
    }

    pub(crate) fn ask(
        &self,
        key: u64,
        owner: Arc<LoopHandle>,
        answer: Pin<Box<dyn Future<Output = Answered> + Send>>,
    ) {
        self.runtime.spawn(async move {
            let answered = answer.await;
            owner.send(Command::Answer(key, answered));
        });
    }
}
