//! Keeps the import rules: who may use whom in `src/`, and where each third-party crate lives.
//!
//! The two tables below are the rules. What is `#[cfg(test)]`, and a file named `tests`, `test_…` or `…_tests`, may import
//! anything. Comments, documentation and strings are not code and are not read.

#[path = "import_rules/reader.rs"]
mod reader;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;

use self::reader::{Reader, Root, UsedPath};

/// Each module of `src/`, and what else it may import. Data flows down this list: a module never imports one that
/// stands above it, except that `config` may name [`SETTINGS`]. `config` reads the signing keys, so that a key that does
/// not parse is one more mistake of the configuration.
const MODULES: [(&str, &str); 23] = [
    ("main", "cli"),
    ("lib", ""),
    (
        "cli",
        "server config telemetry grpc http admin identity credentials superoffice store audit crypto authorization identifiers \
         clock random",
    ),
    (
        "server",
        "config telemetry grpc http admin identity credentials superoffice store audit crypto authorization log_pace \
         metrics identifiers clock random regular_file",
    ),
    ("config", "telemetry crypto authorization identifiers regular_file"),
    (
        "grpc",
        "identity credentials superoffice store audit crypto authorization log_pace trace_context metrics identifiers \
         clock random",
    ),
    ("http", "credentials superoffice store audit crypto log_pace identifiers clock random"),
    ("admin", "telemetry credentials superoffice store log_pace identifiers clock"),
    ("credentials", "superoffice store audit crypto metrics identifiers clock random"),
    ("superoffice", "crypto trace_context metrics identifiers clock random"),
    ("store", "crypto metrics identifiers clock random regular_file"),
    ("identity", "crypto log_pace identifiers clock random regular_file"),
    ("audit", "crypto metrics identifiers clock regular_file"),
    ("crypto", "identifiers clock random"),
    ("authorization", "identifiers clock regular_file"),
    ("log_pace", "clock"),
    ("telemetry", "trace_context metrics regular_file"),
    ("trace_context", "metrics"),
    ("metrics", ""),
    ("identifiers", ""),
    ("clock", ""),
    ("random", ""),
    ("regular_file", ""),
];

/// `config` fills the other modules' settings: of modules that it may not import it names these types and nothing else.
const SETTINGS: [&str; 11] = [
    "Settings",
    "TlsSettings",
    "ClientCertificate",
    "Output",
    "PostgresSettings",
    "Development",
    "ExchangeTransport",
    "ClientAuthentication",
    "PublicUrl",
    "Sealing",
    "KeySource",
];

/// Each dependency of Cargo.toml, and the modules it lives in.
const CRATES: [(&str, &str); 62] = [
    ("async_trait", "anywhere"),
    ("base64", "anywhere"),
    ("futures_util", "anywhere"),
    ("jiff", "anywhere"),
    ("serde", "anywhere"),
    ("serde_json", "anywhere"),
    ("thiserror", "anywhere"),
    ("tokio", "anywhere"),
    ("tokio_util", "anywhere"),
    ("tracing", "anywhere"),
    ("url", "anywhere"),
    ("zeroize", "anywhere"),
    // The command line, the configuration file.
    ("clap", "main cli"),
    ("indicatif", "cli"),
    ("toml", "config"),
    ("humantime", "config cli"),
    ("strsim", "config authorization"),
    // The policy: its file, and the one in force.
    ("saphyr_parser", "authorization"),
    ("arc_swap", "authorization server"),
    // gRPC: the generated traits, the server, and the command line's client.
    ("prost", "grpc server cli"),
    ("prost_types", "grpc server cli"),
    ("tonic", "grpc server cli telemetry"),
    ("tonic_health", "grpc server cli"),
    ("tonic_prost", "grpc server cli"),
    ("tonic_reflection", "grpc server cli"),
    ("tonic_types", "grpc server cli"),
    // Pages.
    ("axum", "http admin server"),
    ("maud", "http admin"),
    // Connections.
    ("bytes", "credentials grpc server"),
    ("http", "grpc server superoffice trace_context"),
    ("http_body_util", "grpc server superoffice"),
    ("hyper", "grpc server"),
    ("hyper_util", "server cli"),
    ("ipnet", "server"),
    ("notify", "server"),
    ("tower", "grpc server cli"),
    // The process chooses its TLS backend once, before anything connects.
    ("rustls", "server identity cli"),
    ("tokio_rustls", "server cli"),
    ("x509_cert", "identity"),
    ("arc_swap", "server superoffice crypto credentials audit grpc authorization"),
    ("rustix", "store server cli audit"),
    // SuperOffice's side, and the API server's.
    ("httpdate", "superoffice"),
    ("reqwest", "superoffice identity"),
    // Bounded maps that expire, and one that keeps its order.
    ("moka", "credentials superoffice identity authorization"),
    ("indexmap", "credentials"),
    ("sqlx", "store"),
    // Cryptography.
    ("aws_lc_rs", "crypto"),
    ("getrandom", "crypto"),
    ("jsonwebtoken", "crypto"),
    ("quick_xml", "crypto superoffice"),
    ("rsa", "crypto"),
    ("sha2", "crypto"),
    // The secret newtypes, and the passphrase on its way from its file to the key.
    ("secrecy", "identifiers crypto config server cli"),
    ("subtle", "identifiers crypto"),
    ("fastrand", "random"),
    // Traces and logs. What is measured is not the SDK's; `telemetry` sends it in OTLP's messages.
    ("opentelemetry", "telemetry trace_context grpc"),
    ("opentelemetry_appender_tracing", "telemetry"),
    ("opentelemetry_otlp", "telemetry"),
    ("opentelemetry_proto", "telemetry"),
    ("opentelemetry_sdk", "telemetry"),
    ("tracing_opentelemetry", "telemetry trace_context"),
    ("tracing_subscriber", "telemetry"),
];

#[test]
fn modules_and_crates_are_used_where_the_tables_say() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&root)?;
    assert!(files.len() >= 10, "src/ has only {} files: is this the right directory?", files.len());
    let mut violations = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root)?.to_string_lossy().replace('\\', "/");
        violations.extend(check(&name, &fs::read_to_string(&file)?)?);
    }
    assert!(violations.is_empty(), "the import rules are broken:\n{}", violations.join("\n"));
    Ok(())
}

#[test]
fn every_dependency_has_its_home_in_the_table() -> Result<(), Box<dyn Error>> {
    let manifest: toml::Table =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))?.parse()?;
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table).ok_or("no [dependencies]")?;
    let listed: Vec<&str> = CRATES.iter().map(|(name, _)| *name).collect();
    let missing: Vec<String> = dependencies
        .keys()
        .map(|name| name.replace('-', "_"))
        .filter(|name| !listed.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "say in CRATES where these live: {missing:?}");
    Ok(())
}

#[test]
fn no_module_imports_one_that_stands_above_it() {
    for (row, (module, imports)) in MODULES.iter().enumerate() {
        for import in imports.split_whitespace() {
            let above = MODULES[..row].iter().any(|(name, _)| *name == import);
            assert!(!above, "{module} may import {import}, which stands above it");
            assert!(
                MODULES.iter().any(|(name, _)| *name == import),
                "{module} may import {import}, which is no module"
            );
        }
    }
}

#[test]
fn bad_lines_are_found() -> Result<(), Box<dyn Error>> {
    for (file, line, expected) in [
        ("crypto.rs", "use crate::store::Tenants;", "crypto must not import store"),
        ("store/sqlite.rs", "use crate::superoffice::Settings;", "store must not import superoffice"),
        ("clock.rs", "use crate::{identifiers::Ticket, random::Random};", "clock must not import identifiers"),
        ("clock.rs", "use crate::{identifiers::Ticket, random::Random};", "clock must not import random"),
        ("grpc/convert.rs", "fn f() { crate::server::shutdown() }", "grpc must not import server"),
        ("grpc/convert.rs", "use super::super::server::Server;", "grpc must not import server"),
        ("grpc/convert.rs", "use super::super::{server, config};", "grpc must not import config"),
        ("grpc.rs", "use super::server;", "grpc must not import server"),
        ("grpc.rs", "use crate::http::router;", "grpc must not import http"),
        ("http.rs", "use crate::grpc::status;", "http must not import grpc"),
        ("http.rs", "use tonic::Status;", "http must not use the crate tonic"),
        ("grpc.rs", "mod inner { use super::super::server; }", "grpc must not import server"),
        ("identifiers.rs", "use ticketd::crypto;", "identifiers must not import crypto"),
        ("credentials/flight.rs", "use tonic::Status;", "credentials must not use the crate tonic"),
        ("credentials/flight.rs", "use {std::fmt, tonic as t};", "credentials must not use the crate tonic"),
        ("grpc.rs", "fn f() -> ::reqwest::Response {}", "grpc must not use the crate reqwest"),
        ("store.rs", "fn f() { tokio::select! { _ = moka::sync::x() => {} } }", "store must not use the crate moka"),
        ("config.rs", "use crate::store::Tenants;", "config must not import store"),
        ("config.rs", "use crate::store::{Settings, Store};", "config must not import store"),
        ("main.rs", "use ticketd::server::Server;", "main must not import server"),
        ("crypto.rs", "use crate::helpers::x;", "helpers is not in MODULES"),
        ("crypto.rs", "use crate::*;", "name the module"),
        ("helpers.rs", "use std::fmt;", "helpers is not in MODULES"),
        ("crypto.rs", "#[cfg(test)] mod tests { use tonic::X; } use sqlx::Pool;", "crypto must not use the crate sqlx"),
        ("crypto.rs", "#[cfg(any(test, unix))] use sqlx::Pool;", "crypto must not use the crate sqlx"),
    ] {
        let violations = check(file, line)?;
        assert!(violations.iter().any(|found| found.contains(expected)), "{file}: {line}: {violations:?}");
    }
    Ok(())
}

#[test]
fn good_lines_pass() -> Result<(), Box<dyn Error>> {
    for (file, line) in [
        ("grpc/status.rs", "use crate::credentials::TicketError; use tonic::{Code, Status};"),
        ("grpc/status.rs", "use super::proto; use crate::grpc::convert;"),
        ("config/file.rs", "use crate::{identifiers::Environment, server::Settings}; use crate::superoffice;"),
        ("config/file.rs", "fn f(s: superoffice::Settings) -> crate::store::Settings {}"),
        (
            "crypto.rs",
            "//! Not crate::store.\n/// Nor [`crate::grpc`].\n// use sqlx::Pool;\nconst X: &str = \"tonic::Status\";",
        ),
        ("crypto.rs", "#[cfg(test)]\nmod tests { use tonic::Status; use crate::server::Server; }"),
        ("crypto/jwt_verifier/tests.rs", "use crate::server::Server;"),
        ("superoffice/test_server.rs", "use hyper::Request;"),
        ("superoffice.rs", "mod rsa; fn f() { rsa::local() }"),
    ] {
        let violations = check(file, line)?;
        assert!(violations.is_empty(), "{file}: {line}: {violations:?}");
    }
    Ok(())
}

/// The violations in one file, `file` being its path under `src/`.
fn check(file: &str, source: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let (module, file_name) = (stem.split('/').next().unwrap_or(stem), stem.rsplit('/').next().unwrap_or(stem));
    if file_name == "tests" || file_name.starts_with("test_") || file_name.ends_with("_tests") {
        return Ok(Vec::new());
    }
    let modules: BTreeMap<_, _> = MODULES.into_iter().collect();
    let Some(imports) = modules.get(module) else {
        return Ok(vec![format!("src/{file}: {module} is not in MODULES")]);
    };
    let depth = if matches!(stem, "lib" | "main") { 0 } else { stem.split('/').count() };
    let tokens: TokenStream = source.parse().map_err(|error| format!("src/{file}: {error}"))?;
    let mut reader = Reader::default();
    reader.read(tokens, depth);

    let crates: BTreeMap<_, _> = CRATES.into_iter().collect();
    let mut violations = Vec::new();
    for UsedPath { root, segments, line } in reader.paths {
        let Some(first) = segments.first().map(String::as_str) else { continue };
        let complaint = if root == Root::Ours {
            let only_settings = module == "config" && names_settings_only(&segments);
            match modules.contains_key(first) {
                false if first == "*" => Some("name the module that is imported".to_owned()),
                false => Some(format!("{first} is not in MODULES")),
                true if first == module || lists(imports, first) || only_settings => None,
                true => Some(format!("{module} must not import {first}")),
            }
        } else {
            let homes = crates.get(first).copied().unwrap_or("anywhere");
            let local = reader.local_modules.contains(&segments[0]);
            let at_home = homes == "anywhere" || lists(homes, module) || local;
            (!at_home).then(|| format!("{module} must not use the crate {first}"))
        };
        violations.extend(complaint.map(|complaint| format!("src/{file}:{line}: {complaint}")));
    }
    Ok(violations)
}

fn lists(names: &str, wanted: &str) -> bool {
    names.split_whitespace().any(|name| name == wanted)
}

/// Whether a path of `config` stops at another module's name, or goes on to one of its settings.
fn names_settings_only(segments: &[String]) -> bool {
    match segments {
        [_] => true,
        [_, item, ..] => SETTINGS.contains(&item.as_str()),
        [] => false,
    }
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
