//! What Prometheus reads.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ticketd::telemetry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::within;

pub(super) struct Scrape {
    pub(super) head: String,
    pub(super) text: String,
}

impl Scrape {
    pub(super) async fn of(admin: SocketAddr, accept: &str) -> Self {
        within(async {
            let mut connection = TcpStream::connect(admin).await.unwrap();
            let request = format!("GET /metrics HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
            connection.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            let (head, text) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            Self { head: head.to_owned(), text: text.to_owned() }
        })
        .await
    }

    pub(super) fn series(&self) -> impl Iterator<Item = (String, Vec<(String, String)>, f64)> {
        self.text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap().split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (name, value) = label.split_once("=\"").unwrap();
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            });
            (name.to_owned(), labels.collect(), value.parse().unwrap())
        })
    }

    pub(super) fn number(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: BTreeSet<_> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let found = self
            .series()
            .find(|(of, labels, _)| of == name && labels.iter().cloned().collect::<BTreeSet<_>>() == wanted);
        found.map(|(_, _, value)| value)
    }
}

/// A gauge without labels, as it is this moment.
pub(super) fn gauge(name: &str) -> Option<f64> {
    Scrape { head: String::new(), text: telemetry::Exposition::Prometheus.read() }.number(name, &[])
}

/// All series of a counter together, as they are this moment.
pub(super) fn counter(name: &str) -> f64 {
    let scrape = Scrape { head: String::new(), text: telemetry::Exposition::Prometheus.read() };
    scrape.series().filter(|(of, ..)| of == name).map(|(_, _, value)| value).sum()
}
