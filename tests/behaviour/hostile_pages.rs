//! What the pages make of requests that nobody means well with.

use futures_util::future::join_all;
use superoffice_sandbox::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::log::Log;
use crate::visitor::{Answer, Begun, CUT, PUBLIC_URL, Visitor, parameter, raw, target};
use crate::world::{World, reason, within};

const NEWCOMER: &str = "Cust777";
const ADMINISTRATOR: &str = "admin@cust777.example.com";
const EVIL: &str = "evil.example";

/// Where a visitor could be sent by mistake. `E` is the attacker's host.
const TARGETS: [&str; 34] = [
    "https://E",
    "http://E/",
    "//E",
    "///E",
    "////E/%2e%2e",
    "/\\E",
    "\\\\E",
    "\\/E",
    "/%2f%2fE",
    "%2f%2fE",
    "%5c%5cE",
    "/%5cE",
    "https:E",
    "https:/E",
    "https:///E",
    "https%3a%2f%2fE",
    "hTTps://E",
    "javascript:alert(1)//E",
    "data:text/html,E",
    "//E@tickets.example.com",
    "https://tickets.example.com@E",
    "https://tickets.example.com.E",
    "https://tickets.example.com%40E",
    "https://tickets.example.com%00.E",
    "https://tickets.example.com%0d%0a.E",
    "/onboarding/callback%0d%0aLocation:%20https://E",
    "/onboarding/callback/../../E",
    "%E3%80%82E",
    "https://tickets.example.com%23@E",
    "https://tickets.example.com%3F.E",
    "%09//E",
    "%20https://E",
    "https://tickets.example.com:443@E",
    "%EF%BC%8F%EF%BC%8FE",
];

/// Parameters by which applications let themselves be told where to redirect to.
const REDIRECTORS: [&str; 8] =
    ["next", "redirect_uri", "redirect", "return_to", "returnUrl", "url", "RelayState", "post_logout_redirect_uri"];

async fn world() -> World {
    let world = World::builder().pages(PUBLIC_URL).start().await;
    world.sandbox.add_tenant(NEWCOMER);
    world
}

/// Whether an answer sends anybody anywhere, or mentions the attacker's host where a browser looks.
fn leads_astray(answer: &Answer) -> bool {
    answer.header("location").is_some()
        || answer.header("refresh").is_some()
        || answer.header("set-cookie").is_some()
        || answer.headers.iter().any(|(_, value)| value.contains(EVIL))
        || answer.body.contains("href=\"http")
        || answer.body.contains("action=\"http")
        || answer.body.contains("<script")
}

#[tokio::test]
async fn no_redirect_leaves_for_where_a_request_says() {
    let world = world().await;
    let (mut tried, mut accepted) = (0, Vec::new());
    let mut judge = |what: String, status: &[u16], answer: &Answer| {
        tried += 1;
        if leads_astray(answer) || !status.contains(&answer.status) {
            accepted.push(format!("{what}: {answer:?}"));
        }
    };
    let mut visitor = Visitor::default();
    for (index, attempt) in TARGETS.iter().enumerate() {
        let attempt = attempt.replace('E', EVIL);
        let redirector = REDIRECTORS[index % REDIRECTORS.len()];
        for query in [
            format!("{redirector}={attempt}"),
            format!("tenant={attempt}"),
            format!("tenant=Cust777&{redirector}={attempt}"),
        ] {
            judge(query.clone(), &[400], &visitor.get(&world, &format!("/onboarding/start?{query}")).await);
            judge(format!("POST {query}"), &[400], &visitor.post(&world, &query).await);
        }
        let callback = format!("/onboarding/callback?{redirector}={attempt}");
        judge(callback.clone(), &[400], &visitor.get(&world, &callback).await);
        let done = format!("/onboarding/done?{redirector}={attempt}");
        judge(done.clone(), &[400, 404], &visitor.get(&world, &done).await);
        // As a path, and as the whole target.
        judge(attempt.clone(), &[400, 404], &visitor.get(&world, &format!("/{}", attempt.replace(' ', ""))).await);
    }
    println!("{tried} hostile redirects, {} accepted", accepted.len());
    assert!(tried >= 100 && accepted.is_empty(), "{accepted:#?}");
}

#[tokio::test]
async fn a_sign_in_ends_nowhere_else_whatever_else_its_requests_say() {
    let world = world().await;
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let headers = [
        format!("x-forwarded-host: {EVIL}\r\n"),
        format!("x-forwarded-proto: http\r\nx-forwarded-host: {EVIL}\r\nx-forwarded-port: 666\r\n"),
        format!("forwarded: host={EVIL};proto=http\r\n"),
        format!("x-original-url: https://{EVIL}/\r\nx-rewrite-url: //{EVIL}\r\n"),
        format!("x-forwarded-prefix: //{EVIL}\r\nx-http-method-override: PUT\r\n"),
        format!("referer: https://{EVIL}/\r\norigin: https://{EVIL}\r\n"),
    ];
    for headers in headers {
        for target_of_request in
            ["/onboarding/start", &format!("http://{EVIL}/onboarding/start"), "/onboarding/start?next=//E"]
        {
            let mut visitor = Visitor::default();
            let headers = format!("{form}{headers}");
            let answer = visitor.send(&world, "POST", target_of_request, &headers, "").await;
            let url = answer.header("location").unwrap();
            assert!(url.starts_with(world.sandbox.base_url()) && !url.contains(EVIL), "{url}");
            assert_eq!(parameter(url, "redirect_uri").unwrap(), format!("{PUBLIC_URL}/onboarding/callback"));
            // OAuth has clients ignore parameters that they do not know; they change nothing.
            let redirect = target(&world.sandbox.approve(url, ADMINISTRATOR).unwrap());
            let state = parameter(url, "state").unwrap();
            let extended = format!("{redirect}&next=//{EVIL}&redirect_uri=https://{EVIL}&session_state=x&scope=openid");
            let answer = visitor.send(&world, "GET", &extended, &headers, "").await;
            assert_eq!(answer.header("location").unwrap(), format!("/onboarding/done?sign_in={}", &state[..16]));
        }
    }
}

#[tokio::test]
async fn no_forged_callback_ends_a_sign_in() {
    let world = world().await;
    let log = Log::start();
    let mut visitor = Visitor::default();
    let begun = visitor.begin(&world, "").await;
    let other = Visitor::default().begin(&world, "").await;
    let redirect = world.sandbox.approve(&begun.authorization_url, ADMINISTRATOR).unwrap();
    let code = parameter(&redirect, "code").unwrap();
    let callbacks = forged_callbacks(&begun, &other, &code);
    let (mut accepted, mut with_page) = (Vec::new(), 0);
    for callback in &callbacks {
        let answer = visitor.get(&world, &format!("/onboarding/callback{callback}")).await;
        if leads_astray(&answer) || !matches!(answer.status, 400 | 403 | 404 | 410 | 414 | 431) {
            accepted.push(format!("{callback}: {answer:?}"));
        }
        // What is no HTTP does not come as far as to a page.
        assert!(answer.body.is_empty() || answer.heading().len() > 5, "{callback}: {answer:?}");
        with_page += usize::from(!answer.body.is_empty());
    }
    println!("{} forged callbacks ({with_page} refused with a page), {} accepted", callbacks.len(), accepted.len());
    assert!(with_page >= 100 && accepted.is_empty(), "{accepted:#?}");
    assert_eq!(world.sandbox.requests(Endpoint::Tokens), 0, "nothing was sent to SuperOffice");
    assert_eq!(reason(&world.ticket(NEWCOMER).await.unwrap_err()).1, "TENANT_NOT_REGISTERED");
    for secret in [&begun.state, &code, &other.state] {
        assert_eq!(log.lines_with(secret), [] as [serde_json::Value; 0]);
    }
    drop(log);

    let answer = visitor.get(&world, &target(&redirect)).await;
    assert_eq!(answer.status, 303, "and the true one still counts: {}", answer.body);
}

/// Callbacks that look like the sign-in's own, which its own browser is made to send.
fn forged_callbacks(begun: &Begun, other: &Begun, code: &str) -> Vec<String> {
    let (state, others) = (begun.state.as_str(), other.state.as_str());
    let mut callbacks: Vec<String> = Vec::new();
    for forged in forged_states(state, others) {
        callbacks.push(format!("?state={forged}&code={code}"));
        callbacks.push(format!("?state={forged}&error=access_denied&error_description=%3Ch1%3E{EVIL}"));
    }
    callbacks.extend([
        String::new(),
        "?".to_owned(),
        "?&&&".to_owned(),
        "?=".to_owned(),
        format!("?state={state}"),
        format!("?code={code}"),
        format!("?state={state}&code="),
        format!("?state={state}&error="),
        format!("?state={state}&code={code}&code={code}"),
        format!("?state={state}&code={code}&code=x"),
        format!("?state={state}&state={state}&code={code}"),
        format!("?state={others}&state={state}&code={code}"),
        format!("?state={state}&code={code}&state="),
        format!("?state={state}&code={code}&error=access_denied"),
        format!("?state={state}&code={code}&%63ode=x"),
        format!("?state={state}&code={code}&iss=https://{EVIL}"),
        format!("?state={state}&code={code}&iss=https://sod.superoffice.com."),
        format!("?state={state}&code={code}&iss=a&iss=a"),
        format!("?state={state}&code=%00"),
        format!("?state={state}&code={code}%0d%0a"),
        format!("?state={state}&code={code}%20"),
        format!("?state={state}&code=%C3%A5"),
        format!("?state={state}&code={}", "c".repeat(513)),
        format!("?state={state}&code={}", "c".repeat(5_000)),
        format!("?State={state}&Code={code}"),
        format!("?state[]={state}&code[]={code}"),
        format!("?state.={state}&code.={code}"),
        format!("?%20state={state}&code={code}"),
        format!("?state%00={state}&code={code}"),
        format!("?state={state};code={code}"),
        format!("?state={state}%26code={code}"),
        format!("%3fstate={state}&code={code}"),
        format!("/?state={state}&code={code}"),
        format!("/..;/callback?state={state}&code={code}"),
        format!(";jsessionid=x?state={state}&code={code}"),
        format!("%2e?state={state}&code={code}"),
        format!("//{EVIL}?state={state}&code={code}"),
        format!("?#state={state}&code={code}"),
    ]);
    callbacks
}

fn forged_states(state: &str, others: &str) -> Vec<String> {
    let last = if state.ends_with('A') { 'B' } else { 'A' };
    let mut states: Vec<String> = [
        "",
        "null",
        "undefined",
        "0",
        "*",
        "%",
        "%2",
        "%zz",
        "%00",
        "%0d%0a",
        "%c0%ae",
        "%ff",
        "%25",
        "..%2f",
        "' or 1=1--",
        "{}",
        "[]",
        "<script>alert(1)</script>",
        "\u{202e}",
        "%F0%9F%8E%AB",
        "_",
        "state",
        "__Host-ticketd-",
    ]
    .map(|text| text.replace(' ', "+").chars().filter(char::is_ascii).collect())
    .to_vec();
    states.extend([
        others.to_owned(),
        state[..42].to_owned(),
        state[..16].to_owned(),
        state[1..].to_owned(),
        format!("{}{last}", &state[..42]),
        format!("{last}{}", &state[1..]),
        format!("{state}A"),
        format!("{state}="),
        format!("{state}%3D%3D"),
        format!("{state}%20"),
        format!("+{state}"),
        format!("{state}%00"),
        format!("{state}%0a"),
        format!("{state}%0d%0aSet-Cookie:%20a=b"),
        format!("{state}%2C{others}"),
        format!("{state}%26code%3Dx"),
        format!("{state};"),
        format!("\"{state}\""),
        format!("%22{state}%22"),
        state.to_ascii_uppercase(),
        state.to_ascii_lowercase(),
        state.chars().rev().collect(),
        format!("{}{}", &state[..16], &others[16..]),
        format!("{}{}", &others[..16], &state[16..]),
        format!("{state}{state}"),
        "A".repeat(43),
        "A".repeat(65),
        "A".repeat(4_000),
        "A".repeat(9_000),
        "%41".repeat(1_000),
    ]);
    states
}

/// A connection to the pages on which this has been said.
async fn connection(world: &World, said: &str) -> TcpStream {
    let mut socket = TcpStream::connect(world.pages()).await.unwrap();
    socket.write_all(said.as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn a_connection_that_says_nothing_more_is_closed() {
    let world = world().await;
    let ask = "GET /onboarding/start HTTP/1.1\r\nhost: x\r\n\r\n";
    let begun = tokio::time::Instant::now();
    let closed = ["", "GET", &ask[..40], ask].map(async |said| {
        let mut answer = String::new();
        let _cut = connection(&world, said).await.read_to_string(&mut answer).await;
        answer
    });
    let answers = within(join_all(closed)).await;
    println!("connections that say nothing more are closed after {:.1} s", begun.elapsed().as_secs_f32());
    assert!(answers[0].is_empty() && !answers[2].starts_with("HTTP/1.1 200") && answers[3].starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_without_a_request_do_not_hold_up_the_end() {
    let world = world().await;
    let mut idle = connection(&world, "GET /onboarding/start HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let silent = connection(&world, "").await;
    let mut first = [0; 15];
    within(idle.read_exact(&mut first)).await.unwrap();
    assert_eq!(first, *b"HTTP/1.1 200 OK");
    drop(within(Box::pin(world.restart())).await);
    drop((idle, silent));
}

#[tokio::test]
async fn nonsense_on_the_wire_is_answered_or_cut_and_harms_nobody() {
    let world = world().await;
    let long = "a".repeat(20_000);
    let many = "a: b\r\n".repeat(100);
    let host = "host: tickets.example.com\r\nconnection: close\r\n";
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let requests: Vec<(Vec<u8>, &[u16])> = vec![
        (format!("GET http://user@{EVIL}/onboarding/start HTTP/1.1\r\n{host}\r\n").into(), &[200, 400]),
        (format!("OPTIONS * HTTP/1.1\r\n{host}\r\n").into(), &[404, 405]),
        (format!("CONNECT {EVIL}:443 HTTP/1.1\r\n{host}\r\n").into(), &[404, 405]),
        (format!("TRACE /onboarding/start HTTP/1.1\r\n{host}\r\n").into(), &[405]),
        (format!("FOO /onboarding/callback HTTP/1.1\r\n{host}\r\n").into(), &[405]),
        (format!("GET //{EVIL}/%2f.. HTTP/1.1\r\n{host}\r\n").into(), &[404]),
        (format!("GET /onboarding/start?{long} HTTP/1.1\r\n{host}\r\n").into(), &[400, 414, 431]),
        (format!("GET /onboarding/start HTTP/1.1\r\n{host}x: {long}\r\n\r\n").into(), &[431]),
        (format!("GET /onboarding/start HTTP/1.1\r\n{host}{many}\r\n").into(), &[431]),
        (
            format!("POST /onboarding/start HTTP/1.1\r\n{host}{form}content-length: 20000\r\n\r\n{long}").into(),
            &[400, 413],
        ),
        (
            format!("POST /onboarding/start HTTP/1.1\r\n{host}{form}transfer-encoding: chunked\r\n\r\nzz\r\n").into(),
            &[400],
        ),
        ([b"GET /onboarding/start?tenant=\xff\xfe HTTP/1.1\r\n", host.as_bytes(), b"\r\n"].concat(), &[400]),
        ([b"GET /onboarding/start HTTP/1.1\r\ncookie: \xff=\xff\r\n", host.as_bytes(), b"\r\n"].concat(), &[200]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[CUT, 400, 505]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[CUT, 400]),
        (format!("GET /onboarding/start HTTP/1.1\r\n{host}\r\n").into(), &[200]),
    ];
    for (request, expected) in requests {
        let answer = raw(&world, &request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
        assert!(expected.contains(&answer.status), "{shown}: {answer:?}");
        assert!(!leads_astray(&answer), "{shown}: {answer:?}");
    }
}
