//! The commands that the documents show, run as they stand there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::place::{Place, Running, TENANT, finish};

const README: &str = include_str!("../../README.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const CALLING: &str = include_str!("../../docs/calling.md");
const INSTALL: &str = include_str!("../../docs/install.md");
const UPGRADING: &str = include_str!("../../docs/upgrading.md");
const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");
const STATUS: [&str; 3] = [
    include_str!("../../src/grpc/status.rs"),
    include_str!("../../src/grpc/status/calls.rs"),
    include_str!("../../src/grpc/status/causes.rs"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_way_leads_to_a_ticket() {
    let shown = run_all(README).await;
    assert!(shown.contains("The configuration is good."), "{shown}");
    assert!(shown.contains("Cust12345 is registered"), "{shown}");
    assert!(shown.contains("state:        running"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_commands_work() {
    run_all(OPERATIONS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_installation_is_what_its_page_says() {
    let shown = run_all(INSTALL).await;
    assert!(shown.contains("SERVING") && shown.contains("state:        running"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_an_upgrade_work() {
    let shown = run_all(UPGRADING).await;
    assert!(shown.contains(concat!("ticketd ", env!("CARGO_PKG_VERSION"))) && shown.contains("SERVING"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_look_for_trouble_work() {
    let place = Place::new().await;
    let token = place.path("cust12345.token");
    place.output(&["tenants", "put", TENANT, "--token-file", token.to_str().unwrap()]).await;
    let shown = run_all_at(&place, TROUBLESHOOTING).await;
    assert!(shown.contains("state:        running"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_call_web_services_work() {
    let shown = run_all(CALLING).await;
    assert_eq!(shown.matches("\"ContactId\":").count(), 4, "{shown}");
    let all = shown.lines().last().unwrap();
    assert!(all.contains(r#""context_identifier":"Cust12345""#) && all.contains(r#""status":200"#), "{shown}");
}

#[test]
fn every_reason_that_a_call_can_be_refused_with_is_explained() {
    let is_reason = |text: &&str| text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let reasons: Vec<_> = STATUS.iter().flat_map(|table| table.split('"')).filter(is_reason).collect();
    assert!(reasons.len() > 20, "{reasons:?}");
    for reason in reasons {
        assert!(OPERATIONS.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn every_page_is_listed_and_every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<_> = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    let index = fs::read_to_string(root.join("docs/README.md")).unwrap();
    let listed = |page: &&PathBuf| index.contains(&format!("({})", page.file_name().unwrap().display()));
    let unlisted: Vec<_> = pages.iter().filter(|page| !listed(page) && !page.ends_with("README.md")).collect();
    assert!(unlisted.is_empty(), "docs/README.md has no line for {unlisted:?}");
    let others =
        ["README.md", "CONTRIBUTING.md", "sandbox/README.md", "helm/ticketd/README.md"].map(|page| root.join(page));
    let mut broken = Vec::new();
    for page in pages.iter().chain(&others) {
        let text = fs::read_to_string(page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http") && !link.contains(char::is_whitespace)) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let leads = if anchor.is_empty() {
                file.exists()
            } else {
                fs::read_to_string(&file).is_ok_and(|text| anchors(&text).any(|there| there == anchor))
            };
            if !leads {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What a document's headings are linked by.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| line.strip_prefix('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    })
}

/// Runs each `$ ticketd …` line of a document in its order, and answers what they print. Each must succeed.
async fn run_all(document: &str) -> String {
    run_all_at(&Place::new().await, document).await
}

async fn run_all_at(place: &Place, document: &str) -> String {
    let commands: Vec<_> = document.lines().filter_map(|line| line.strip_prefix("$ ")).filter(is_ours).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    let (mut shown, mut server) = (String::new(), None::<Running>);
    for command in commands {
        let addressed = server.as_ref().map_or_else(
            || command.to_owned(),
            |server| {
                let command = command.replace("http://127.0.0.1:8443", &server.url());
                command.replace("http://127.0.0.1:8081", &server.health_url())
            },
        );
        if command.contains("ticketd serve") {
            server = Some(Running::start(place.shell(&format!("exec {}", addressed.trim_end_matches('&')))).await);
            continue;
        }
        let outcome = finish(place.shell(&addressed)).await;
        assert_eq!(outcome.code, Some(0), "{command}: {outcome:?}");
        shown.push_str(&outcome.output);
    }
    shown
}

fn is_ours(command: &&str) -> bool {
    // Not those that have its name among their arguments.
    command.starts_with("ticketd ") || command.contains("| ticketd ") || command.starts_with("TICKETD_")
}
