use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("superoffice-sandbox-test-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn sandbox(scratch: &Scratch) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_superoffice-sandbox"));
    command.arg("--write-config").arg(&scratch.0).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The lines up to the last one that it prints when it is ready.
fn read_guide(child: &mut Child) -> String {
    let mut guide = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        guide += &line;
        guide.push('\n');
        if line.contains("ticketd serve") {
            break;
        }
    }
    guide
}

#[test]
fn it_prints_how_to_use_it_and_ends_on_sigterm_and_sigint() {
    for signal in ["-TERM", "-INT"] {
        let scratch = Scratch::new(signal);
        let mut child = sandbox(&scratch)
            .args(["--listen", "127.0.0.1:0", "--tls", "--tenant", "Cust1", "--tenant", "Cust2=App-token"])
            .args(["--knob", "slow=5ms,times=1", "--set", "ticket_life=20s", "--clock-offset", "-90s"])
            .spawn()
            .unwrap();
        let guide = read_guide(&mut child);
        for part in ["https://127.0.0.1:", "curl -s --cacert", "/api/state/Cust1", "App-token", "jwks"] {
            assert!(guide.contains(part), "{part} is missing in\n{guide}");
        }
        let read = |name: &str| std::fs::read_to_string(scratch.0.join(name)).unwrap();
        let configuration = read("ticketd.toml");
        for key in [
            "environment",
            "client_id",
            "client_secret_file",
            "signing_key_files",
            "sealing_key_files",
            "base_url",
            "extra_ca_file",
        ] {
            assert!(configuration.contains(&format!("\n{key} = ")), "{key} is missing in\n{configuration}");
        }
        assert_eq!(read("tenants/Cust2"), "App-token");
        assert!(read("private-key.pem").contains("BEGIN PRIVATE KEY") && read("ca.pem").contains("BEGIN CERTIFICATE"));

        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn the_printed_lines_work_when_pasted() {
    let guide = the_printed_lines_work_with("paste", &[]);
    assert!(!guide.contains("/etc/hosts"), "{guide}");
}

#[test]
fn they_work_with_superoffices_own_names() {
    let names = ["--tls", "--tls-name", "sod.superoffice.com", "--tls-name", "sod2.superoffice.com"];
    let guide = the_printed_lines_work_with("names", &names);
    for part in [
        "login host      https://sod.superoffice.com\n",
        "tenant hosts    https://sod2.superoffice.com https://127.0.0.1:",
        "\n  127.0.0.1 sod.superoffice.com\n  127.0.0.1 sod2.superoffice.com\n",
        "/ca.pem ticketd serve",
    ] {
        assert!(guide.contains(part), "{part} is missing in\n{guide}");
    }
}

fn the_printed_lines_work_with(name: &str, arguments: &[&str]) -> String {
    let scratch = Scratch::new(name);
    let mut child = sandbox(&scratch).args(["--listen", "127.0.0.1:0"]).args(arguments).spawn().unwrap();
    let guide = read_guide(&mut child);
    let lines: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let script = lines
        .iter()
        .filter(|line| line.starts_with("curl") || line.starts_with("T=") || line.starts_with("S="))
        .fold(String::new(), |all, line| all + line + "\necho\n");
    let output = Command::new("sh").args(["-euc", &script]).output();
    child.kill().unwrap();
    child.wait().unwrap();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["\"keys\":", "\"State\":\"Running\"", "\"IsSuccessful\":true", "\"refresh_token\":", "\"exchanges\":1"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let configuration = std::fs::read_to_string(scratch.0.join("ticketd.toml")).unwrap();
    assert_eq!(configuration.contains("\nbase_url = "), !guide.contains("/etc/hosts"), "{configuration}");
    guide
}

#[test]
fn it_refuses_addresses_that_others_can_reach() {
    let scratch = Scratch::new("refuse");
    let mut child = sandbox(&scratch).args(["--listen", "0.0.0.0:0"]).spawn().unwrap();
    assert!(!child.wait().unwrap().success());
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut error).unwrap();
    assert!(error.contains("0.0.0.0:0 is not a loopback address"), "{error}");
}
