//! What operators see of tenants, and what they may paste where it does not belong.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::form_urlencoded::byte_serialize;

use crate::rig::{Process, Rig, within};

/// Everything that there is to see, once there is something to see.
pub(crate) async fn looked_at(rig: &Rig, process: &Process) {
    for target in
        ["/", "/status.json?limit=1000", "/livez", "/readyz", "/metrics", "/tenants/Cust1", "/tenants/Renewed1"]
    {
        ask(rig, process, target, "").await;
    }
    let mut target = "/?prefix=trouble".to_owned();
    for number in 0..20 {
        ask(rig, process, &format!("/tenants/Trouble{number}"), "").await;
        let page = ask(rig, process, &target, "").await;
        let Some((_, next)) = page.split_once("class=\"button\" href=\"") else { return };
        target = next.split('#').next().unwrap().replace("&amp;", "&");
    }
}

/// In the search, in a tenant's place, in names and values of the query, and in headers.
pub(crate) async fn with_secrets_in_wrong_places(rig: &Rig, process: &Process) {
    for (_, secret) in rig.secrets() {
        let short: String = secret.chars().take(1_000).collect();
        let encoded: String = byte_serialize(short.as_bytes()).collect();
        let line: String = short.chars().filter(char::is_ascii_graphic).collect();
        for target in [
            format!("/?prefix={encoded}"),
            format!("/?after={encoded}&limit={encoded}"),
            format!("/status.json?{encoded}={encoded}&prefix={encoded}"),
            format!("/tenants/{encoded}"),
            format!("/{encoded}"),
        ] {
            ask(rig, process, &target, "").await;
        }
        ask(rig, process, "/", &format!("authorization: Bearer {line}\r\ncookie: {line}\r\nreferer: {line}\r\n")).await;
    }
}

async fn ask(rig: &Rig, process: &Process, target: &str, headers: &str) -> String {
    let address = process.admin.as_ref().expect("this process has an admin port");
    let request = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n");
    let answer = within(async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A head that is refused is not read to its end.
        let _reset = socket.read_to_end(&mut answer).await;
        answer
    })
    .await;
    rig.channels.note("admin port", &answer);
    String::from_utf8_lossy(&answer).into_owned()
}
