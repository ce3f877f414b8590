//! A server with everything on, in a process of its own.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::process::{Process, free_address};
use crate::setup::{self, Setup};

/// Where a server is and what it runs with, to start it once or again.
pub(crate) struct Place {
    config: String,
    address: SocketAddr,
    health_address: SocketAddr,
}

pub(crate) struct Server {
    pub(crate) process: Process,
    address: SocketAddr,
    /// How long it was until it said that it serves.
    pub(crate) start: Duration,
}

impl Place {
    pub(crate) fn new(setup: &Setup, name: &str) -> Self {
        let (address, health_address) = (free_address(), free_address());
        let config = setup.ticketd_toml(name, address, false);
        let text = fs::read_to_string(&config).unwrap();
        let text = text.replace("health_address = \"127.0.0.1:0\"", &format!("health_address = \"{health_address}\""));
        setup::write(&setup.directory.path().join(name), "ticketd.toml", text);
        Self { config, address, health_address }
    }

    pub(crate) async fn start(&self) -> Server {
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ticketd"));
        let process = Process::start(command.arg("serve").arg("--config").arg(&self.config), self.health_address);
        while !self.serves().await {
            assert!(begun.elapsed() < Duration::from_mins(1), "ticketd does not serve");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Server { process, address: self.address, start: begun.elapsed() }
    }

    async fn serves(&self) -> bool {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.health_address)).unwrap();
        let Ok(channel) = endpoint.connect().await else { return false };
        let asked = HealthCheckRequest { service: String::new() };
        let answer = HealthClient::new(channel).check(asked).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
    }
}

impl Server {
    pub(crate) async fn connect(&self) -> TicketServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        TicketServiceClient::new(endpoint.tcp_nodelay(true).connect().await.unwrap())
    }

    /// MiB in memory.
    pub(crate) fn resident(&self) -> f64 {
        number(&fs::read_to_string(self.process.directory().join("status")).unwrap(), "VmRSS:") / 1024.0
    }

    /// How often its threads gave up their processors by themselves, to wait for something.
    pub(crate) fn switches(&self) -> f64 {
        let tasks = fs::read_dir(self.process.directory().join("task")).unwrap().filter_map(Result::ok);
        let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
        statuses.map(|status| number(&status, "voluntary_ctxt_switches:")).sum()
    }
}

fn number(status: &str, name: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
