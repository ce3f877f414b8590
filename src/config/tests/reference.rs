//! Keeps docs/configuration.md true: its list of keys is made of what the code asks for and the example says.
//! With `UPDATE_DOCS` set the test writes the list anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::super::reader::Takes;
use super::*;

const PAGE: &str = "docs/configuration.md";
const HEADING: &str = "\n## Every key\n";
const FOLLOWED: &str = "Followed.";
/// Keys whose files are followed, and the test that shows it of each.
const PROOFS: &[(&str, &str)] = &[
    ("superoffice.client_secret_file", "another_client_secret_and_signing_key_are_used_for_the_next_exchange"),
    ("superoffice.signing_key_files", "another_client_secret_and_signing_key_are_used_for_the_next_exchange"),
    ("superoffice.signing_key_passphrase_file", "the_applications_files_are_all_read_again"),
    ("store.sealing_key_files", "changed_key_files_are_used_without_a_restart_unless_a_needed_key_is_gone"),
    ("store.tenants_directory", "a_changed_file_takes_effect_within_a_second"),
    ("tls.certificate_file", "a_hundred_swaps_under_load_fail_no_call_and_show_no_wrong_pair"),
    ("tls.key_file", "a_hundred_swaps_under_load_fail_no_call_and_show_no_wrong_pair"),
    ("tls.trust_bundles", "an_authority_that_is_withdrawn_lets_nobody_in_any_more"),
    ("tls.dns_ca_file", "every_file_of_handshakes_is_followed"),
    ("tls.crl_files", "every_file_of_handshakes_is_followed"),
    ("identity.jwks_file", "keys_from_a_file_follow_it"),
    ("identity.ca_file", "tickets_own_token_and_the_clusters_authorities_are_read_anew"),
    ("identity.token_file", "tickets_own_token_and_the_clusters_authorities_are_read_anew"),
    ("authorization.policy_file", "a_policy_that_changes_counts_for_the_next_call"),
    ("audit.hmac_key_file", "the_audits_key_is_the_files_as_soon_as_it_changes"),
    ("telemetry.log_filter_file", "the_log_filter_is_followed"),
];

/// A key as ticketd.example.toml shows it.
struct Shown {
    section: String,
    key: String,
    value: String,
    is_commented_out: bool,
    text: String,
}

impl Shown {
    fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    fn is_followed(&self) -> bool {
        self.text.ends_with(FOLLOWED)
    }
}

#[test]
fn the_page_has_every_key_with_what_it_takes() {
    let mut reader = Reader::new("", []).unwrap();
    assert!(assemble(&mut reader).is_err());
    let (sections, keys) = example();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let there = fs::read_to_string(&file).unwrap();
    let (prose, _) = there.split_once(HEADING).unwrap();
    let mut page = format!("{prose}{HEADING}\n");
    page.push_str("Made from the code and ticketd.example.toml, and compared with both by a test.\n");
    for (section, text) in sections {
        write!(page, "\n### [{section}]\n\n").unwrap();
        if !text.is_empty() {
            write!(page, "{text}\n\n").unwrap();
        }
        for shown in keys.iter().filter(|shown| shown.section == section) {
            page.push_str(&entry(shown, &reader.asked_for()[&shown.name()]));
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return fs::write(file, page).unwrap();
    }
    assert!(
        page == there,
        "{PAGE} is not what it should be: run this test with UPDATE_DOCS=1, and look at what changes"
    );
}

/// What stands in the example in comments counts for nothing, so a default there could be a lie.
#[test]
fn defaults_in_comments_are_the_defaults() {
    let files = Files::new();
    let mut reader = Reader::new("", []).unwrap();
    assert!(assemble(&mut reader).is_err());
    let pages = "\naddress = \"127.0.0.1:1\"\npublic_url = \"https://t.example\"\n";
    let with = |section: &str, line: &str| {
        let mut text = files.toml("");
        if section == "tls" {
            write!(
                text,
                "[tls]\ncertificate_file = {0:?}\nkey_file = {0:?}\ndns_ca_file = {0:?}\n{line}\n",
                files.path("key.pem")
            )
            .unwrap();
        } else if text.contains(&format!("[{section}]")) {
            text = text.replacen(&format!("[{section}]"), &format!("[{section}]\n{line}"), 1);
        } else {
            write!(text, "[{section}]\n{line}\n{}", if section == "http" { pages } else { "" }).unwrap();
        }
        format!("{:?}", parse(&text, &[]).unwrap().config)
    };
    let (_, keys) = example();
    let mut tried = 0;
    for shown in keys.iter().filter(|shown| shown.is_commented_out && reader.asked_for()[&shown.name()].has_default) {
        let line = format!("{} = {}", shown.key, shown.value);
        assert_eq!(with(&shown.section, &line), with(&shown.section, ""), "{line}");
        tried += 1;
    }
    assert!(tried >= 6, "{tried}");
}

#[test]
fn what_is_followed_is_said_and_shown_by_a_test() {
    let (_, keys) = example();
    let said: Vec<_> = keys.iter().filter(|shown| shown.is_followed()).map(Shown::name).collect();
    let proved: Vec<_> = PROOFS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(said, proved);
    let mut code = String::new();
    for directory in ["src", "tests"] {
        read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut code);
    }
    for (key, test) in PROOFS {
        assert!(code.contains(&format!("fn {test}(")), "{key}: there is no test {test}");
    }
}

fn entry(shown: &Shown, takes: &Takes) -> String {
    let text = shown.text.strip_suffix(FOLLOWED).unwrap_or(&shown.text).trim_end();
    let text = text.strip_prefix("Required. ").unwrap_or(text);
    let default = match (takes.is_required, takes.has_default) {
        (true, _) => "*Required.*".to_owned(),
        (_, true) => format!("*Default:* `{}`.", shown.value),
        _ if shown.is_commented_out => "*Absent unless set.*".to_owned(),
        // The code sets it when nothing else is set in its place.
        _ => format!("*Default:* `{}`, unless something else takes its place.", shown.value),
    };
    let followed = if shown.is_followed() { " *Followed.*" } else { "" };
    format!("- **`{}`**: {text}<br>\n  *Takes* {}. {default}{followed}\n", shown.key, takes.expected)
}

/// The sections with what is said of them, and the keys.
fn example() -> (Vec<(String, String)>, Vec<Shown>) {
    let (mut sections, mut keys, mut comment) = (Vec::new(), Vec::new(), Vec::new());
    for line in EXAMPLE.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push((section.to_owned(), std::mem::take(&mut comment).join("\n")));
        } else if let Some((key, value)) = bare.split_once(" = ").filter(|(key, _)| is_key(key)) {
            let (section, _) = sections.last().unwrap();
            keys.push(Shown {
                section: section.clone(),
                key: key.to_owned(),
                value: value.to_owned(),
                is_commented_out: line.starts_with('#'),
                text: std::mem::take(&mut comment).join("\n  "),
            });
            assert!(!keys.last().unwrap().text.is_empty(), "{section}.{key} has no comment of its own");
        } else if line.is_empty() {
            comment.clear();
        } else {
            comment.push(bare);
        }
    }
    (sections, keys)
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn read_all(directory: &Path, code: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
