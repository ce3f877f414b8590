//! Calls of a cached ticket, of the real server with everything on, in this process and on this thread.

use allocation_counter::AllocationInfo;
use ticketd::config::Config;
use ticketd::server::Server;
use ticketd::telemetry::{self, Guard};
use tokio::runtime::Runtime;

use crate::caller::Caller;
use crate::counted;
use crate::setup::Setup;

/// What a hit takes from the allocator at most, HTTP/2 and the runtime included.
const MOST_ALLOCATIONS: f64 = 40.0;
const WARM_UP: u32 = 500;

struct Place {
    runtime: Runtime,
    caller: Caller,
    _setup: Setup,
    _server: Server,
    _telemetry: Guard,
}

impl Place {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (caller, setup, server, telemetry) = runtime.block_on(async {
            let setup = Setup::new(1).await;
            let config = setup.ticketd_toml("ticketd", "127.0.0.1:0".parse().unwrap(), false);
            let config = Config::load(config.as_ref(), []).unwrap().config;
            let telemetry = telemetry::init(&config.telemetry).unwrap();
            let server = Server::bind(config).await.unwrap();
            let mut caller = Caller::new(server.addresses().grpc.unwrap(), &setup.tenants[0]).await;
            caller.call(1).await;
            caller.call(WARM_UP).await;
            (caller, setup, server, telemetry)
        });
        Self { runtime, caller, _setup: setup, _server: server, _telemetry: telemetry }
    }

    fn call(&mut self, number: u32) {
        self.runtime.block_on(self.caller.call(number));
    }
}

pub(crate) fn run(number: u32) {
    let mut place = Place::new();
    counted(|| place.call(number));
}

/// Counts what hits take from the allocator.
pub(crate) fn assert_allocations() {
    let mut place = Place::new();
    let number = 1_000;
    let AllocationInfo { count_total, bytes_total, .. } = allocation_counter::measure(|| place.call(number));
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let (count, bytes) = (count_total as f64 / f64::from(number), bytes_total as f64 / f64::from(number));
    println!("a hit takes memory {count:.1} times, {bytes:.0} bytes in all, HTTP/2 and the runtime included");
    assert!(count <= MOST_ALLOCATIONS, "at most {MOST_ALLOCATIONS} times");
}
