//! Everything that came out, by the way it took.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::needles::Needles;

/// The ways out of a server and its calls, and the least that must have come each way, in bytes: silence proves nothing.
pub(crate) const OF_A_SERVER: [(&str, usize); 13] = [
    ("log", 50_000),
    ("audit on stdout", 10_000),
    ("spans", 20_000),
    ("bytes to the collector", 20_000),
    ("metrics", 500),
    ("logs", 10_000),
    ("scraped metrics", 10_000),
    ("gRPC errors", 10_000),
    ("gRPC answers but for their secret", 2_000),
    ("health and reflection", 1_000),
    ("raw sockets", 100),
    ("files of the database", 20_000),
    ("command line and environment", 100),
];

/// The same of commands.
pub(crate) const OF_COMMANDS: [(&str, usize); 2] = [("stdout of commands", 1_000), ("stderr of commands", 20_000)];

/// What stands in the log where SuperOffice repeated a secret.
const MASK: &str = "[masked]";

/// What came out so far. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Channels(Arc<Mutex<BTreeMap<&'static str, Vec<u8>>>>);

impl Channels {
    pub(crate) fn note(&self, channel: &'static str, output: impl AsRef<[u8]>) {
        assert!(OF_A_SERVER.iter().chain(&OF_COMMANDS).any(|(name, _)| *name == channel), "{channel} is not listed");
        let mut channels = self.0.lock().unwrap();
        let bytes = channels.entry(channel).or_default();
        bytes.extend_from_slice(output.as_ref());
        // Nothing may be found across the border of two outputs.
        bytes.push(b'\n');
    }

    /// Prints the figures and fails on a hit, or when a channel was too quiet to mean anything.
    pub(crate) fn search(&self, run: &str, least: &[(&str, usize)], needles: &Needles) {
        let channels = self.0.lock().unwrap();
        let (mut total, mut hits, mut quiet) = (0, 0, Vec::new());
        for (channel, output) in channels.iter() {
            let found = needles.search(output);
            println!("{run}: {channel}: {} bytes, {} hits", output.len(), found.len());
            for hit in &found {
                println!("LEAK in {channel}: {} as {}: ...{}...", hit.secret, hit.encoding, hit.context);
            }
            total += output.len();
            hits += found.len();
        }
        let log = channels.get("log").map(|log| String::from_utf8_lossy(log).matches(MASK).count()).unwrap_or_default();
        println!("{run}: {log} echoes of secrets are masked in the log");
        for (channel, least) in least {
            if channels.get(channel).map_or(0, Vec::len) < *least {
                quiet.push(*channel);
            }
        }
        let (pieces, secrets) = (needles.pieces(), needles.secrets());
        println!("{run}: {total} bytes searched for {pieces} pieces of {secrets} secrets: {hits} hits");
        assert_eq!(hits, 0, "secrets leak");
        assert!(*least != OF_A_SERVER || log > 200, "SuperOffice's echoes are not in the log");
        assert_eq!(quiet, [] as [&str; 0], "too little came out this way");
    }
}
