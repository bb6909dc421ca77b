//! Operations: errors, authorization, faults, clients that hang up, browsers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::world::{World, development};

#[tokio::test(start_paused = true)]
async fn errors_are_printed_as_aws_prints_them() {
    let world = World::new(development());
    let reply = world.ask("GET /echo?bad HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(
        reply.error(),
        (400, "ValidationException", "1 validation error detected: bad query".to_owned())
    );
    assert!(reply.header("x-amzn-requestid").is_some());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    for path in ["/nowhere", "/nobody"] {
        let reply = world.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(reply.error(), (404, "UnknownOperationException", String::new()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_caller_s_trace_is_passed_on() {
    let world = World::new(development());
    for (header, seen) in [("X-Amzn-Trace-Id: Root=1-2-3\r\n", "\"Root=1-2-3\""), ("", "null")] {
        let reply =
            world.ask(&format!("GET /echo HTTP/1.1\r\nHost: localhost\r\n{header}\r\n")).await;
        let text = String::from_utf8(reply.body).unwrap();
        assert!(text.contains(&format!("\"trace\":{seen}")), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_account_is_denied() {
    let world = World::new(development());
    let reply = world.ask("GET /foreign HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let text = "User: arn:aws:iam::000000000000:root is not authorized to perform: \
                fake:GetForeignThing on resource: arn:aws:fake:us-east-1:999999999999:foreign \
                because no resource-based policy allows the fake:GetForeignThing action";
    assert_eq!(reply.error(), (403, "AccessDeniedException", text.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_policy_of_a_resource_is_obeyed() {
    let world = World::new(development());
    let ask = async |query: &str| {
        world.ask(&format!("GET /foreign?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    };
    let (own, other) = ("000000000000", "999999999999");
    for (query, status) in [
        (format!("{other}=open"), 200),
        (format!("{other}=closed"), 403),
        (format!("{own}=foreign"), 200),
        (format!("{own}=closed"), 403),
    ] {
        assert_eq!(ask(&query).await.status, status, "{query}");
    }
    let denied = ask(&format!("{own}=closed")).await.error().2;
    assert!(
        denied.ends_with(":closed with an explicit deny in a resource-based policy"),
        "{denied}"
    );
    // Others are not told that there is something that denies.
    let denied = ask(&format!("{other}=closed")).await.error().2;
    assert!(denied.ends_with("allows the fake:GetForeignThing action"), "{denied}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_500_and_harms_nobody_else() {
    let world = World::new(development());
    let mut client = world.connect();
    client.send("GET /panic HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.error().1), (500, "ServiceException"));
    client.send("GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
    assert_eq!(world.front.requests_in_flight(), 0);
}

const WAIT: &str = "POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_cancels_nothing() {
    let world = World::new(development());
    let mut client = world.connect();
    client.send(WAIT).await;
    world.fake.begun_signal.notified().await;
    drop(client);
    world.rt.sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(world.front.requests_in_flight(), 1);
    world.fake.gate.notify_one();
    world.fake.ended_signal.notified().await;
    world.rt.sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(world.front.requests_in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_cancels_nothing() {
    let world = World::new(development());
    let (mut ours, theirs) = tokio::io::duplex(1_024);
    let front = world.front.clone();
    let origin = lambic_front::Origin::Remote(crate::world::loopback());
    let mut connection = Box::pin(async move { front.serve_connection(theirs, origin).await });
    tokio::io::AsyncWriteExt::write_all(&mut ours, WAIT.as_bytes()).await.unwrap();
    tokio::select! {
        () = connection.as_mut() => panic!("the connection is open"),
        () = world.fake.begun_signal.notified() => {}
    }
    drop(connection);
    assert_eq!(world.front.requests_in_flight(), 1);
    world.fake.gate.notify_one();
    world.fake.ended_signal.notified().await;
    assert_eq!(world.fake.ended.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_within_its_body_starts_nothing() {
    let world = World::new(development());
    let mut client = world.connect();
    client.send("POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhi").await;
    drop(client);
    world.rt.sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(world.fake.begun.load(Ordering::SeqCst), 0);
    assert_eq!(world.front.requests_in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn web_pages_are_kept_out_in_development_mode() {
    let world = World::new(development());
    for headers in [
        "Host: evil.example:4566",
        "Host: 127.0.0.1:4566\r\nOrigin: https://evil.example",
        "Host: 127.0.0.1:4566\r\nSec-Fetch-Site: cross-site",
    ] {
        let reply = world.ask(&format!("POST /echo HTTP/1.1\r\n{headers}\r\n\r\n")).await;
        assert_eq!((reply.status, reply.error().1), (403, "AccessDeniedException"), "{headers}");
    }
    let preflight = "OPTIONS /echo HTTP/1.1\r\nHost: 127.0.0.1:4566\r\n\
                     Origin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n";
    let reply = world.ask(preflight).await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    let rebound = "GET /_lambic/health HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(world.ask(rebound).await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn in_process_calls_go_the_same_way() {
    use lambic_front::{Call, Principal, Service};
    let world = World::new(development());
    let principal = Arc::new(Principal::root("123456789012"));
    let call = Call::in_process(&world.rt, "fake", principal, "eu-west-1", "http://x:1");
    let request = lambic_wire::Request {
        method: http::Method::GET,
        path: "/echo".to_owned(),
        query: String::new(),
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    let response = world.fake.handle(&call, request).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(response.body.whole().unwrap()).unwrap();
    assert_eq!(json["account"], "123456789012");
    assert_eq!(json["endpoint"], "http://x:1");
}
