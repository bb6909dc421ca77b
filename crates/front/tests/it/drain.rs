//! Real listeners: who may listen, and how they end.

use std::sync::Arc;

use lambic_front::{AuthMode, EnvironmentOrigin, ListenError, Origin};
use lambic_rt::TaskKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, development};

#[test]
fn development_mode_is_for_loopback_only() {
    for good in ["127.0.0.1:4566", "127.9.9.9:1", "[::1]:4566", "[::ffff:127.0.0.1]:1"] {
        assert!(AuthMode::development(good.parse().unwrap()).is_ok(), "{good}");
    }
    for bad in ["0.0.0.0:4566", "[::]:4566", "192.168.0.1:4566", "[::ffff:10.0.0.1]:1"] {
        let error = AuthMode::development(bad.parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains(bad), "{error}");
    }
}

#[tokio::test]
async fn development_mode_refuses_a_listener_that_others_reach() {
    let world = World::new(development());
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let served = world.front.serve_listener(listener, world.rt.shutdown()).await;
    assert!(matches!(served, Err(ListenError::NotLoopback(_))), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn development_mode_refuses_peers_from_elsewhere() {
    let world = World::new(development());
    let origin = Origin::Remote("10.1.2.3:99".parse().unwrap());
    assert!(world.connect_from(origin).closed().await.is_empty());
}

const WAIT: &[u8] = b"POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn a_listener_drains() {
    let world = World::new(development());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (front, shutdown) = (world.front.clone(), world.rt.shutdown());
    let serving = async move { front.serve_listener(listener, shutdown).await };
    let serving = world.rt.spawn("listener", TaskKind::Essential, serving);

    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(WAIT).await.unwrap();
    world.fake.begun_signal.notified().await;
    world.rt.shutdown_sender().stop();

    // The idle one is closed at once, the busy one is answered first.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    world.fake.gate.notify_one();
    busy.read_to_end(&mut rest).await.unwrap();
    assert!(rest.starts_with(b"HTTP/1.1 200"));
    let drained = serving.await.unwrap().unwrap();
    assert_eq!((drained.requests_abandoned, drained.connections_abandoned), (0, 0));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn draining_waits_for_operations_whose_client_has_gone_and_not_for_ever() {
    let mut config = development();
    config.limits.drain_ms_max = 200;
    let world = World::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (front, shutdown) = (world.front.clone(), world.rt.shutdown());
    let serving = async move { front.serve_listener(listener, shutdown).await };
    let serving = world.rt.spawn("listener", TaskKind::Essential, serving);
    let mut gone = TcpStream::connect(address).await.unwrap();
    gone.write_all(WAIT).await.unwrap();
    world.fake.begun_signal.notified().await;
    drop(gone);
    world.rt.shutdown_sender().stop();
    assert_eq!(serving.await.unwrap().unwrap().requests_abandoned, 1);
}

#[tokio::test]
async fn a_reset_connection_cancels_nothing() {
    let world = World::new(development());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (front, shutdown) = (world.front.clone(), world.rt.shutdown());
    let serving = async move { front.serve_listener(listener, shutdown).await };
    let serving = world.rt.spawn("listener", TaskKind::Essential, serving);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(WAIT).await.unwrap();
    world.fake.begun_signal.notified().await;
    // Closing without waiting to have sent everything resets the connection.
    client.set_zero_linger().unwrap();
    drop(client);
    world.fake.gate.notify_one();
    world.fake.ended_signal.notified().await;
    world.rt.shutdown_sender().stop();
    let drained = serving.await.unwrap().unwrap();
    assert_eq!((drained.requests_abandoned, drained.connections_abandoned), (0, 0));
}

#[tokio::test]
async fn environments_have_connections_of_their_own() {
    let mut config = development();
    config.limits.environment_connections_max = 1;
    let world = World::new(config);
    let environment = Arc::new(EnvironmentOrigin {
        name: "e".to_owned(),
        account: "111111111111".to_owned(),
        region: "eu-west-1".to_owned(),
    });
    let connect = || world.connect_from(Origin::Environment(environment.clone()));
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");

    let mut first = connect();
    first.send(&ask("/echo")).await;
    let reply = first.reply().await;
    let text = String::from_utf8(reply.body).unwrap();
    assert!(text.contains("\"account\":\"111111111111\""), "{text}");
    assert!(text.contains("\"region\":\"eu-west-1\""), "{text}");

    let mut second = connect();
    second.send(&ask("/echo")).await;
    assert_eq!(second.reply().await.status, 429);
    // What functions use up is not missing outside.
    assert_eq!(world.ask(&ask("/echo")).await.status, 200);
    // The figures are not for functions.
    first.send(&ask("/metrics")).await;
    assert_eq!(first.reply().await.status, 404);
    // A function that is finishing still gets its answer.
    world.rt.shutdown_sender().stop();
    first.send(&ask("/echo")).await;
    assert_eq!(first.reply().await.status, 200);
}
