//! The servers that are compared.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use prost::Message;
use ticketd::grpc::proto::GetSystemTicketResponse;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::fixed_reply::ANSWER;
use crate::load::{self, Calls, Load, Tenants};
use crate::process::{Process, free_address};
use crate::setup::{self, Setup};
use crate::{YARDSTICK, tls};

/// So many tickets are asked for at once before anything is measured.
const COLD_CALLS_AT_ONCE: usize = 32;

pub(crate) struct Contender {
    pub(crate) name: &'static str,
    process: Process,
    one: Vec<TicketServiceClient<Channel>>,
    many: Vec<TicketServiceClient<Channel>>,
}

/// What a round has shown.
pub(crate) struct Measured {
    /// The server's processor time a call.
    pub(crate) cost: Duration,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

impl Contender {
    /// Those that can run here. The others are named aloud.
    pub(crate) async fn start_all(setup: &Setup) -> Vec<Self> {
        let directory = setup.directory.path();
        let ticketd = Self::ticketd("ticketd", setup, false).await;
        let over_tls = Self::ticketd("ticketd, mTLS", setup, true).await;
        let answer = ticketd.warm_up(setup).await;
        over_tls.warm_up(setup).await;
        setup::write(directory, ANSWER, answer.encode_to_vec());

        let mut contenders = vec![
            Self::fixed(YARDSTICK, "tonic", directory).await,
            ticketd,
            Self::fixed("hyper, pre-framed reply", "hyper", directory).await,
            Self::fixed("tonic, fixed reply, mTLS", "tonic-tls", directory).await,
            over_tls,
        ];
        match Self::grpc_js(directory).await {
            Some(contender) => contenders.push(contender),
            None => println!("SKIPPED: grpc-js is not measured, node does not find @grpc/grpc-js (set NODE_PATH)"),
        }
        contenders
    }

    async fn ticketd(name: &'static str, setup: &Setup, is_over_tls: bool) -> Self {
        let address = free_address();
        let config = setup.ticketd_toml(name, address, is_over_tls);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ticketd"));
        command.arg("serve").arg("--config").arg(config);
        Self::start(name, &mut command, address, is_over_tls.then(|| setup.directory.path())).await
    }

    async fn fixed(name: &'static str, kind: &str, directory: &Path) -> Self {
        let address = free_address();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["serve", kind, &address.to_string()]).arg(directory);
        Self::start(name, &mut command, address, (kind == "tonic-tls").then_some(directory)).await
    }

    async fn grpc_js(directory: &Path) -> Option<Self> {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/contenders/map.js");
        let can = Command::new("node").arg(here).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        let address = free_address();
        let mut command = Command::new("node");
        command.args([here, &address.to_string()]).arg(directory.join(ANSWER));
        if can { Some(Self::start("grpc-js, Map", &mut command, address, None).await) } else { None }
    }

    async fn start(name: &'static str, command: &mut Command, address: SocketAddr, tls: Option<&Path>) -> Self {
        let process = Process::start(command, address);
        let connect = || async {
            let channel = match tls {
                Some(directory) => tls::connect(tls::connector(directory), address).await,
                None => Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap(),
            };
            TicketServiceClient::new(channel)
        };
        let one = vec![connect().await];
        let many = futures_util::stream::iter(0..64).then(|_| connect()).collect().await;
        Self { name, process, one, many }
    }

    /// Gets every tenant's ticket, so that all are cached, and answers one.
    async fn warm_up(&self, setup: &Setup) -> GetSystemTicketResponse {
        let answers = futures_util::stream::iter(&setup.tenants).map(|tenant| {
            let mut connection = self.one[0].clone();
            async move { connection.get_system_ticket(load::request(tenant)).await.unwrap().into_inner() }
        });
        answers
            .buffered(COLD_CALLS_AT_ONCE)
            .fold(GetSystemTicketResponse::default(), |_, answer| async { answer })
            .await
    }

    pub(crate) async fn measure(&mut self, load: &Load, tenants: &Tenants, round: Duration) -> Measured {
        let connections = if load.connections == 1 { &self.one } else { &self.many };
        let before = self.process.processor_time();
        let Calls { number, median, p99 } = load::call(connections, tenants, round).await;
        let spent = self.process.processor_time().saturating_sub(before);
        Measured { cost: spent / u32::try_from(number).unwrap(), median, p99 }
    }
}
