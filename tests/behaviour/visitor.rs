//! Somebody who visits the pages, byte by byte: a browser would mend half of what the tests send.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{World, within};

/// Where browsers find the pages of most tests. Nothing is there: a visitor connects to the server itself.
pub(crate) const PUBLIC_URL: &str = "https://tickets.example.com";

/// In place of a status: the connection was closed without an answer.
pub(crate) const CUT: u16 = 0;

/// A browser's cookies, and nothing else of it.
#[derive(Clone, Default)]
pub(crate) struct Visitor {
    pub(crate) cookies: BTreeMap<String, String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// A sign-in that SuperOffice waits for.
pub(crate) struct Begun {
    pub(crate) authorization_url: String,
    pub(crate) state: String,
}

impl Visitor {
    pub(crate) async fn get(&mut self, world: &World, target: &str) -> Answer {
        self.send(world, "GET", target, "", "").await
    }

    /// Presses the first page's button.
    pub(crate) async fn begin(&mut self, world: &World, form: &str) -> Begun {
        let answer = self.post(world, form).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        let authorization_url = answer.header("location").unwrap().to_owned();
        let state = parameter(&authorization_url, "state").unwrap();
        Begun { authorization_url, state }
    }

    pub(crate) async fn post(&mut self, world: &World, form: &str) -> Answer {
        let headers = "content-type: application/x-www-form-urlencoded\r\nsec-fetch-site: same-origin\r\n";
        self.send(world, "POST", "/onboarding/start", headers, form).await
    }

    pub(crate) async fn send(
        &mut self,
        world: &World,
        method: &str,
        target: &str,
        headers: &str,
        body: &str,
    ) -> Answer {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = if cookies.is_empty() { String::new() } else { format!("cookie: {}\r\n", cookies.join("; ")) };
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nhost: tickets.example.com\r\n");
        let request = format!("{head}{headers}{cookies}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
        let answer = raw(world, request.as_bytes()).await;
        for (_, cookie) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The reference that a page of a failure shows.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.body.split_once("<code>")?.1.split_once("</code>").map(|(reason, _)| reason)
    }

    /// The text of the page's one heading.
    pub(crate) fn heading(&self) -> &str {
        let [_, after] = self.body.split("<h1").collect::<Vec<_>>()[..] else { panic!("one heading: {}", self.body) };
        after.split_once('>').unwrap().1.split_once("</h1>").unwrap().0
    }
}

/// What the server answers to these bytes, up to the end of the connection.
pub(crate) async fn raw(world: &World, request: &[u8]) -> Answer {
    raw_at(world.pages(), request).await
}

/// The same of another port.
pub(crate) async fn raw_at(address: SocketAddr, request: &[u8]) -> Answer {
    let answer = within(async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        // A server that refuses a head closes while the rest of it is on its way.
        let _refused = socket.write_all(request).await;
        let mut answer = Vec::new();
        let _reset = socket.read_to_end(&mut answer).await;
        answer
    })
    .await;
    let answer = String::from_utf8(answer).unwrap();
    if answer.is_empty() {
        return Answer { status: CUT, headers: Vec::new(), body: answer };
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

/// A parameter of a URL's query.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let url: url::Url = url.parse().unwrap();
    url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// What a request for a URL of the pages asks the server for.
pub(crate) fn target(url: &str) -> String {
    url.strip_prefix(PUBLIC_URL).unwrap_or_else(|| panic!("{url} is not of the pages")).to_owned()
}
