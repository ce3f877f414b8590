//! Exchanges go over JSON or SOAP, and whatever SuperOffice does ends the same over both.

use std::time::Duration;

use superoffice_sandbox::Behaviour::Status;
use superoffice_sandbox::Endpoint::{Exchange, SoapExchange};
use superoffice_sandbox::{Behaviour, Settings, WrongTenant};
use ticketd::superoffice::ExchangeTransport::{self, Rest, RestThenSoap, Soap};
use tonic::Code;

use crate::faults::{Fault, Outcome, at_once, check_all, cold, faults_of_the_exchange};
use crate::world::{TENANT, World, reason};

/// No key of the sandbox's partner.
const OTHER_PUBLIC_KEY: &str = include_str!("../../sandbox/keys/throwaway-partner-1024.public.pem");

async fn world(over: ExchangeTransport) -> World {
    World::builder().config(move |config| config.superoffice.exchange = over).start().await
}

#[tokio::test]
async fn a_ticket_is_the_same_over_both() {
    for (over, over_rest, over_soap) in [(Rest, 1, 0), (Soap, 0, 1), (RestThenSoap, 1, 0)] {
        let world = world(over).await;
        let ticket = world.ticket(TENANT).await.unwrap();
        assert!(ticket.ticket.starts_with("7T:"), "{over:?}");
        assert_eq!(ticket.webapi_url, format!("{}/{TENANT}/api/", world.sandbox.host_urls()[0]), "{over:?}");
        assert_eq!(world.ticket("cust12345").await.unwrap().fingerprint, ticket.fingerprint, "{over:?}");
        assert_eq!(world.sandbox.exchanges(TENANT), 1, "{over:?}");
        let requests = (world.sandbox.requests(Exchange), world.sandbox.requests(SoapExchange));
        assert_eq!(requests, (over_rest, over_soap), "{over:?}");
    }
}

/// SOAP works throughout, so whatever would go on to it in error would bring a ticket.
#[tokio::test]
async fn soap_follows_rest_where_nothing_can_have_been_made_and_nowhere_else() {
    let mut rows = faults_of_the_exchange();
    rows.retain(|row| !matches!(row.fault, Fault::At(Exchange, Status(404))));
    rows.extend([404, 405, 501].map(|status| at_once(Fault::At(Exchange, Status(status)), Outcome::Issued)));
    check_all(rows.into_iter().map(|row| row.over(RestThenSoap)).collect(), cold).await;
}

#[tokio::test]
async fn going_on_to_soap_is_one_exchange() {
    let world = world(RestThenSoap).await;
    world.sandbox.set_behaviour(Status(404).at(Exchange));
    world.ticket(TENANT).await.unwrap();
    let requests = (world.sandbox.requests(Exchange), world.sandbox.requests(SoapExchange));
    assert_eq!((requests, world.sandbox.exchanges(TENANT)), ((1, 1), 1));

    world.add_tenant("Cust2").await;
    world.sandbox.set_behaviour(Status(404).at(SoapExchange).times(1));
    let refused = world.ticket("Cust2").await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "EXCHANGE_REFUSED".to_owned()), "as REST alone says");
}

#[tokio::test]
async fn another_tenants_token_is_refused_over_both() {
    for over in [Rest, Soap] {
        let world = world(over).await;
        let mut refused = 0;
        for variant in WrongTenant::ALL {
            let tenant = format!("Cust{}", 100 + refused);
            world.add_tenant(&tenant).await;
            // Nothing but a serial pinned before tells another database of the same tenant.
            world.ticket(&tenant).await.unwrap();
            world.clock.advance(Duration::from_hours(6));
            let wrong = world.sandbox.set_behaviour(Behaviour::WrongTenant(variant));
            let (code, reason) = reason(&world.ticket(&tenant).await.unwrap_err());
            let expected = ["UPSTREAM_TENANT_MISMATCH", "UPSTREAM_TOKEN_INVALID"];
            assert!(code == Code::Internal && expected.contains(&reason.as_str()), "{over:?} {variant:?}: {reason}");
            assert_eq!(world.sandbox.exchanges(&tenant), 2, "{over:?} {variant:?}");
            world.sandbox.clear_behaviour(wrong);
            refused += 1;
        }
        println!("{refused} of {} variants refused over {over:?}", WrongTenant::ALL.len());
    }
}

/// A refusal may come as an answer of status 200 or with a status of its own, which over SOAP is a fault.
#[tokio::test]
async fn a_refusal_is_understood_in_every_form_of_both() {
    for over in [Rest, Soap] {
        for refusal_status in [200, 400, 403] {
            let start = || async {
                let world = world(over).await;
                world.sandbox.change_settings(|settings| {
                    *settings = Settings { refusal_status, unknown_token_status: refusal_status, ..settings.clone() };
                });
                world
            };
            let refused = |world: World| async move { reason(&world.ticket(TENANT).await.unwrap_err()) };

            let world = start().await;
            world.sandbox.replace_partner_public_key(OTHER_PUBLIC_KEY).unwrap();
            let expected = (Code::FailedPrecondition, "SIGNING_KEY_REJECTED".to_owned());
            assert_eq!(refused(world).await, expected, "{over:?} {refusal_status}");

            let world = start().await;
            world.put_tenant(TENANT, "Application Name-0000000000", false).await;
            let expected = (Code::FailedPrecondition, "EXCHANGE_REFUSED".to_owned());
            assert_eq!(refused(world).await, expected, "{over:?} {refusal_status}");
        }
    }
}

#[tokio::test]
async fn members_without_a_value_may_be_left_out_of_both() {
    for over in [Rest, Soap] {
        let world = world(over).await;
        world.sandbox.change_settings(|settings| settings.omit_null_members = true);
        assert!(world.ticket(TENANT).await.is_ok(), "{over:?}");
    }
}

/// What stands in a request stands in it as text, whatever an application or tenant is called.
#[tokio::test]
async fn a_name_full_of_markup_is_exchanged_over_both() {
    for over in [Rest, Soap] {
        let world = world(over).await;
        let token = "</p:SignedSystemToken>]]> & \"Ø漢\" <!-- &amp;-8k8Q7DmBgo";
        world.sandbox.add_tenant_with_token(TENANT, token);
        world.put_tenant(TENANT, token, false).await;
        assert!(world.ticket(TENANT).await.is_ok(), "{over:?}");
    }
}
