use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::fleet::Fleet;
use crate::full;
use crate::place::{Place, Running};

/// What is taken for the previous release: the last commit whose layout is an earlier one.
pub(super) const COMMIT: &str = "613a6aa";
const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");
const CONFIGURATION: &str = "previous.toml";

/// The program of the previous release, and a configuration that it understands.
pub(super) struct Previous {
    program: PathBuf,
}

impl Previous {
    /// The one that the variable names; in full it is built where there is none.
    pub(super) async fn find(place: &Place) -> Option<Self> {
        let program = match std::env::var_os("PREVIOUS_TICKETD") {
            Some(program) => program.into(),
            None if full() => build().await,
            None => return None,
        };
        let example = git(&["show", &format!("{COMMIT}:ticketd.example.toml")]).await;
        let present = fs::read_to_string(place.path("ticketd.toml")).unwrap();
        place.write(CONFIGURATION, &understood(&present, &String::from_utf8(example).unwrap()));
        Some(Self { program })
    }

    pub(super) async fn start(&self, fleet: &Fleet) -> Running {
        let mut command = fleet.place.ticketd_at(&self.program, ["serve"]);
        command.env("TICKETD_CONFIG", fleet.place.path(CONFIGURATION)).env("TICKETD_STORE_SESSION_URL", &fleet.url);
        Running::start(command).await
    }
}

/// Builds the previous release beside this one.
async fn build() -> PathBuf {
    let sources = tempfile::tempdir().unwrap();
    let archive = sources.path().join("sources.tar");
    git(&["archive", "--output", archive.to_str().unwrap(), COMMIT]).await;
    output(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(sources.path())).await;
    let target = Path::new(CHECKOUT).join("target/previous");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--bin", "ticketd"]).current_dir(sources.path()).env("CARGO_TARGET_DIR", &target);
    output(&mut cargo).await;
    target.join("debug/ticketd")
}

async fn git(arguments: &[&str]) -> Vec<u8> {
    output(Command::new("git").arg("-C").arg(CHECKOUT).args(arguments)).await
}

async fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A configuration without the keys that an example does not have.
fn understood(configuration: &str, example: &str) -> String {
    let known = keys(example, true);
    let lines = configuration.lines().zip(keys(configuration, false));
    let lines: Vec<_> = lines.filter(|(_, key)| known.contains(key)).map(|(line, _)| line).collect();
    lines.join("\n")
}

/// What each line sets, with its section: nothing when it is empty or a comment. Of an example what is commented out
/// counts too.
fn keys(text: &str, commented_out: bool) -> Vec<(String, String)> {
    let mut section = String::new();
    let key = |line: &str| {
        let line = if commented_out { line.trim_start_matches("# ") } else { line };
        let name = line.split_once(" = ").map_or("", |(name, _)| name);
        if name.starts_with('#') { String::new() } else { name.to_owned() }
    };
    let lines = text.lines().map(|line| {
        if line.starts_with('[') {
            line.clone_into(&mut section);
        }
        (section.clone(), key(line))
    });
    lines.collect()
}
