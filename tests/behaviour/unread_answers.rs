use std::time::Duration;

use tokio::net::TcpStream;
use tonic::Code;

use crate::world::{TENANT, World, reason, within};

#[tokio::test]
async fn an_answer_keeps_its_place_until_it_is_read_and_is_not_kept_for_long() {
    let world = World::builder().config(|config| config.server.max_calls = 1).start().await;
    world.ticket(TENANT).await.unwrap();
    let socket = TcpStream::connect(world.address()).await.unwrap();
    let unreading = h2::client::Builder::new().initial_window_size(0).handshake::<_, &[u8]>(socket);
    let (mut client, connection) = unreading.await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://ticketd/superoffice.ticket.v1.TenantService/ListTenants")
        .header("content-type", "application/grpc");
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(&b"\0\0\0\0\0"[..], true).unwrap();
    let answer = within(answer).await.unwrap();
    assert_eq!(answer.status(), 200);

    let refused = world.ticket(TENANT).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::ResourceExhausted, "OVERLOADED".to_owned()));
    world.clock.advance(Duration::from_secs(30));
    drop(within(connection).await);
    world.ticket(TENANT).await.expect("the place is free again");
}
