//! The forms that SuperOffice has been seen in, or may be in: a ticket is issued in each.

use std::time::Duration;

use superoffice_sandbox::{Settings, ThrowawayPartnerKey};
use ticketd::grpc::proto::TenantState;

use crate::world::{TENANT, World};

/// Another form that SuperOffice has been seen in.
type Change = fn(&mut Settings);

#[tokio::test]
async fn whatever_form_superoffice_is_in_a_ticket_is_issued() {
    let forms: [(&str, Change); 7] = [
        ("as it is", |_| {}),
        ("a JWT without kid", |settings| settings.jwt_with_kid = false),
        ("iat as a string", |settings| settings.iat_as_string = true),
        ("system_token as a string", |settings| settings.system_token_as_array = false),
        ("no webapi_url claim", |settings| settings.webapi_url_claim = false),
        ("null members left out", |settings| settings.omit_null_members = true),
        ("a JWT that lives for seconds", |settings| settings.jwt_life = Duration::from_secs(5)),
    ];
    let world = World::start().await;
    for (number, (form, change)) in forms.into_iter().enumerate() {
        let tenant = format!("Cust{number}");
        world.add_tenant(&tenant).await;
        let mut settings = Settings::default();
        change(&mut settings);
        world.sandbox.change_settings(|current| *current = settings);
        let ticket = world.ticket(&tenant).await.expect(form);
        assert_eq!(ticket.tenant_state(), TenantState::Running, "{form}");
        assert!(ticket.webapi_url.ends_with(&format!("/{tenant}/api/")), "{form}: {}", ticket.webapi_url);
    }
}

#[tokio::test]
async fn tls_and_either_size_of_key_are_fine() {
    for tls in [false, true] {
        for key in [ThrowawayPartnerKey::Bits1024, ThrowawayPartnerKey::Bits2048] {
            let world = World::builder().sandbox(|builder| builder.tls(tls).throwaway_partner_key(key)).start().await;
            let ticket = world.ticket(TENANT).await.unwrap();
            assert_eq!(ticket.webapi_url.starts_with("https://"), tls, "{}", ticket.webapi_url);
        }
    }
}

#[tokio::test]
async fn a_tenants_case_means_nothing_to_either_side() {
    let world = World::start().await;
    let tenant = world.sandbox.add_tenant("Cust777");
    world.put_tenant("CUST777", &tenant.system_user_token, false).await;
    let ticket = world.ticket("cUSt777").await.unwrap();
    assert_eq!(ticket.context_identifier, "CUST777", "as it was registered");
    assert_eq!(ticket.webapi_url, tenant.webapi_url, "as SuperOffice spells it");
    assert_eq!(world.ticket("cust777").await.unwrap().fingerprint, ticket.fingerprint);
    assert_eq!(world.sandbox.exchanges("Cust777"), 1);
}
