mod keys;
mod policies;
mod running;
mod tenants;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use clap::CommandFactory;
use tempfile::TempDir;

use super::*;

const STRONG_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/selfmade2048.pkcs8.pem");
const SEALING_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/sealing.key");
const WEAK_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/selfmade1024.pkcs8.pem");
const JWT: &[u8] = include_bytes!("../../tests/fixtures/verify/system-user.jwt");
const JWKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/verify/jwks.json");

/// What came of a command.
struct Outcome {
    failure: Option<Failure>,
    output: String,
    errors: String,
}

impl Outcome {
    fn succeeded(self) -> String {
        assert!(self.failure.is_none(), "{:?}", self.failure);
        self.output
    }

    fn failed(self) -> String {
        assert_eq!(self.output, "");
        match self.failure {
            Some(Failure::Failed(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    fn misused(self) -> String {
        assert_eq!(self.output, "");
        match self.failure {
            Some(Failure::Usage(message)) => message,
            other => panic!("{other:?}"),
        }
    }
}

fn ticketd(arguments: &[&str], input: &[u8]) -> Outcome {
    ticketd_in(&Terminal::No, arguments, input)
}

enum Terminal {
    Yes,
    No,
}

fn ticketd_in(terminal: &Terminal, arguments: &[&str], mut input: &[u8]) -> Outcome {
    let arguments = Arguments::try_parse_from([&["ticketd"], arguments].concat()).unwrap();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut input,
        output: &mut output,
        errors: &mut errors,
        output_is_terminal: matches!(terminal, Terminal::Yes),
        errors_is_terminal: false,
        environment: Vec::<(OsString, OsString)>::new(),
    };
    let failure = execute(arguments, &mut console).err();
    Outcome { failure, output: String::from_utf8(output).unwrap(), errors: String::from_utf8(errors).unwrap() }
}

/// A directory with a configuration that works.
fn configured() -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let root = directory.path();
    let secret = |name: &str, content: &[u8]| {
        let path = root.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let config = format!(
        "[superoffice]\nenvironment = \"sod\"\nclient_id = \"0123456789abcdef\"\nclient_secret_file = {:?}\nsigning_key_files = [{:?}]\n[store]\nsealing_key_files = [{:?}]\nurl = \"sqlite://{}\"\n[server]\nallow_unidentified_callers = true\n",
        secret("client-secret", b"c4nary5ecret"),
        secret("key.pem", &fs::read(WEAK_KEY).unwrap()),
        secret("sealing.key", &fs::read(SEALING_KEY).unwrap()),
        root.join("ticketd.db").display(),
    );
    let file = root.join("ticketd.toml");
    fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn no_option_takes_a_secret_as_its_value() {
    fn check(command: &clap::Command) {
        for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
            let name = argument.get_id().as_str();
            let sounds_secret =
                ["secret", "token", "passphrase", "password", "jwt", "key"].iter().any(|word| name.contains(word));
            assert!(!sounds_secret || name.ends_with("_file"), "{} {name}", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }
    check(&Arguments::command());
}

#[test]
fn every_command_shows_an_example_of_itself() {
    fn check(command: &mut clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let subcommands: Vec<_> = command.get_subcommands_mut().collect();
        if subcommands.is_empty() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n") && help.contains(path.trim()), "{path}:\n{help}");
            assert!(help.lines().all(|line| line.len() <= 120 || line.starts_with("Usage: ")), "{path}:\n{help}");
        } else {
            for command in subcommands {
                check(command, &path);
            }
        }
    }
    let mut arguments = Arguments::command();
    arguments.build();
    check(&mut arguments, "");
}

#[test]
fn a_configuration_is_checked() {
    let (directory, config) = configured();
    let outcome = ticketd(&["check-config", "--config", &config], b"");
    assert!(outcome.errors.contains("ticketd: warning: superoffice.signing_key_files: "), "{}", outcome.errors);
    assert!(outcome.errors.contains("has 1024 bits"), "{}", outcome.errors);
    assert!(outcome.succeeded().starts_with("The configuration is good.\n"));

    let wrong = directory.path().join("wrong.toml");
    fs::write(&wrong, "[superoffice]\nenvironment = \"prod\"\n[tickets]\nlifetime = 6\n").unwrap();
    let message = ticketd(&["check-config", "--config", wrong.to_str().unwrap()], b"").misused();
    assert!(message.lines().count() >= 5, "{message}");
    assert!(message.contains("superoffice.environment (line 2): expected "), "{message}");
}

#[test]
fn a_closed_output_is_no_error_and_failures_stay_on_their_lines() {
    let mut errors = Vec::new();
    let mut console = Console {
        input: &mut std::io::empty(),
        output: &mut std::io::sink(),
        errors: &mut errors,
        output_is_terminal: false,
        errors_is_terminal: false,
        environment: Vec::new(),
    };
    let closed = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    assert_eq!(closed.report(&mut console), ExitCode::SUCCESS);
    let code = Failure::Usage("one\ntwo \u{1b}[2J".to_owned()).report(&mut console);
    assert_eq!(code, ExitCode::from(64));
    assert_eq!(String::from_utf8(errors).unwrap(), "ticketd: one\nticketd: two \\u001b[2J\n");
}
