//! Where ticketd is found, and what stands before it.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;

#[test]
fn redirect_uris_are_kept_letter_for_letter_and_have_to_be_protected() {
    let files = Files::new();
    let load = |uris: &str| parse(&files.toml("").replace("[store]", &format!("redirect_uris = {uris}\n[store]")), &[]);
    assert_eq!(load("[\"https://a.example/\"]").unwrap().config.superoffice.redirect_uris, ["https://a.example/"]);
    let given = "[\"https://A.example:443/x?y=%41\", \"http://127.0.0.1:8080/in\", \"http://localhost/in\"]";
    let kept = load(given).unwrap().config.superoffice.redirect_uris;
    assert_eq!(format!("{kept:?}"), given);
    for wrong in [
        "http://a.example/",
        "http://127.0.0.1.a.example/",
        "javascript:alert(1)",
        "https://a.example/#f",
        "https://c4nary5ecret@a.example/",
        "https://a.example/ x",
        "https://",
        "/signed-in",
        "",
        &format!("https://a.example/{}", "x".repeat(2_048)),
    ] {
        let error = load(&format!("[{wrong:?}]")).unwrap_err().to_string();
        assert!(error.contains("superoffice.redirect_uris") && !error.contains(CANARY), "{wrong}: {error}");
    }
    assert!(load("[]").is_err() && load("\"https://a.example/\"").is_err());
    let environment = [("TICKETD_SUPEROFFICE_REDIRECT_URIS", "https://a.example/, http://[::1]:1/in")];
    let config = parse(&files.toml(""), &environment).unwrap().config;
    assert_eq!(config.superoffice.redirect_uris, ["https://a.example/", "http://[::1]:1/in"]);
}

#[test]
fn proxies_are_networks_and_there_may_be_none() {
    let files = Files::new();
    let load = |networks: &str| {
        let text = files.toml(&format!("[server]\nallow_unidentified_callers = true\nproxy_networks = {networks}"));
        parse(&text, &[]).map(|loaded| loaded.config.server.proxy_networks)
    };
    assert_eq!(load("[]").unwrap(), []);
    let networks = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"];
    assert_eq!(load(&format!("{networks:?}")).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), networks);
    for wrong in ["[\"10.0.0.0\"]", "[\"10.0.0.0/33\"]", "[\"example.com/8\"]", "\"10.0.0.0/8\"", "[8]"] {
        let error = load(wrong).unwrap_err().to_string();
        assert!(error.contains("server.proxy_networks") && error.contains("a list of networks"), "{wrong}: {error}");
    }
    let text = files.toml("[server]\nallow_unidentified_callers = true");
    for (variable, count) in [("", 0), ("10.0.0.0/8, fd00::/8", 2)] {
        let loaded = parse(&text, &[("TICKETD_SERVER_PROXY_NETWORKS", variable)]).unwrap();
        assert_eq!(loaded.config.server.proxy_networks.len(), count, "{variable}");
    }
}

#[test]
fn a_custom_base_url_needs_the_switch() {
    let files = Files::new();
    let switch = ("TICKETD_SUPEROFFICE_ALLOW_CUSTOM_BASE_URL", "true");
    for url in ["http://127.0.0.1:8400", "https://localhost:8400", "http://[::1]:8400/"] {
        let config = parse(&files.toml(""), &[switch, ("TICKETD_SUPEROFFICE_BASE_URL", url)]).unwrap().config;
        assert!(config.superoffice.development.unwrap().base_url.as_str().starts_with(url));
    }
}

#[test]
fn pages_are_served_where_the_address_and_the_public_url_say() {
    let files = Files::new();
    assert!(parse(&files.toml("[http]"), &[]).unwrap().config.http.is_none());
    let address = ("TICKETD_HTTP_ADDRESS", "0.0.0.0:8085");
    let public_url = ("TICKETD_HTTP_PUBLIC_URL", "https://tickets.example.com/");
    let pages = parse(&files.toml("[http]\nmax_connections = 9"), &[address, public_url]).unwrap().config.http.unwrap();
    assert_eq!(pages.address, SocketAddr::from(([0, 0, 0, 0], 8085)));
    assert_eq!(pages.public_url.redirect_uri(), "https://tickets.example.com/onboarding/callback");
    assert_eq!((pages.max_connections, pages.request_timeout), (9, Duration::from_secs(30)));
}

#[test]
fn the_admin_port_is_where_its_address_says_also_beyond_this_machine() {
    let files = Files::new();
    assert!(parse(&files.toml("[admin]"), &[]).unwrap().config.admin.is_none());
    let admin = |text: &str| parse(&files.toml(text), &[]).map(|loaded| loaded.config.admin.unwrap().address);
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 8082));
    assert_eq!(admin("[admin]\naddress = \"0.0.0.0:8082\"").unwrap(), everywhere);
    let variable = [("TICKETD_ADMIN_ADDRESS", "0.0.0.0:8082")];
    assert_eq!(parse(&files.toml(""), &variable).unwrap().config.admin.unwrap().address, everywhere);
    let error = admin("[admin]\naddress = \"8082\"").unwrap_err().to_string();
    assert!(error.contains("admin.address (line 10): expected"), "{error}");
}
