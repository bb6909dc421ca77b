//! Who asks, in both modes, told by real signatures.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lambic_front::{EnvironmentOrigin, Origin, Principal};
use lambic_wire::Request;
use lambic_wire::sigv4::{self, Credentials};

use crate::world::{Client, Reply, World, development, required};

const KEY: &str = "AKIDEXAMPLE";

fn credentials(id: &str, token: Option<&str>) -> Credentials {
    Credentials {
        access_key_id: id.to_owned(),
        secret_access_key: format!("secret of {id}"),
        session_token: token.map(str::to_owned),
    }
}

fn request(path: &str, body: &str) -> Request {
    let mut headers = http::HeaderMap::new();
    headers.insert("host", http::HeaderValue::from_static("127.0.0.1:4566"));
    Request {
        method: http::Method::POST,
        path: path.to_owned(),
        query: String::new(),
        headers,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// The request's bytes on the wire.
fn text(request: &Request) -> String {
    let question = if request.query.is_empty() { "" } else { "?" };
    let mut text = format!("POST {}{question}{} HTTP/1.1\r\n", request.path, request.query);
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    text + std::str::from_utf8(&request.body).unwrap()
}

impl World {
    fn now(&self) -> i64 {
        self.rt.now().seconds()
    }

    fn signed(&self, credentials: &Credentials, region: &str) -> Request {
        let mut request = request("/echo", "hello");
        sigv4::sign(&mut request, credentials, region, "fake", self.now());
        request
    }

    /// A world that requires signatures and knows one user.
    fn strict() -> World {
        let world = World::new(required());
        let principal = Principal {
            account: "111111111111".to_owned(),
            arn: "arn:aws:iam::111111111111:user/me".to_owned(),
            admin: false,
        };
        world.credentials.insert(credentials(KEY, None), principal);
        world
    }
}

fn refused(reply: &Reply, code: &str) {
    assert_eq!((reply.status, reply.error().1), (403, code), "{reply:?}");
    assert!(reply.header("x-amzn-requestid").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_signed_request_is_its_user_s() {
    let world = World::strict();
    for region in ["eu-west-1", "us-east-1", "eu-west-1"] {
        let reply = world.ask(&text(&world.signed(&credentials(KEY, None), region))).await;
        let json = reply.json();
        assert_eq!(json["account"], "111111111111");
        assert_eq!(json["principal"], "arn:aws:iam::111111111111:user/me");
        assert_eq!((json["region"].as_str(), json["body"].as_str()), (Some(region), Some("hello")));
    }
}

#[tokio::test(start_paused = true)]
async fn required_means_required() {
    let world = World::strict();
    refused(&world.ask(&text(&request("/echo", ""))).await, "MissingAuthenticationTokenException");
    let stranger = world.signed(&credentials("123456789012", None), "us-east-1");
    refused(&world.ask(&text(&stranger)).await, "UnrecognizedClientException");
    let mut thief = credentials(KEY, None);
    thief.secret_access_key = "guessed".to_owned();
    let reply = world.ask(&text(&world.signed(&thief, "us-east-1"))).await;
    refused(&reply, "InvalidSignatureException");
    let mut changed = world.signed(&credentials(KEY, None), "us-east-1");
    changed.body = Bytes::from_static(b"HELLO");
    refused(&world.ask(&text(&changed)).await, "InvalidSignatureException");
    let mut moved = world.signed(&credentials(KEY, None), "us-east-1");
    moved.path = "/wait".to_owned();
    refused(&world.ask(&text(&moved)).await, "InvalidSignatureException");
    let mut basic = request("/echo", "");
    basic.headers.insert("authorization", http::HeaderValue::from_static("Basic eDp5"));
    refused(&world.ask(&text(&basic)).await, "IncompleteSignatureException");
}

#[tokio::test(start_paused = true)]
async fn signatures_grow_old() {
    let world = World::strict();
    let signed = text(&world.signed(&credentials(KEY, None), "us-east-1"));
    world.rt.sleep(Duration::from_secs(14 * 60)).await;
    assert_eq!(world.ask(&signed).await.status, 200);
    world.rt.sleep(Duration::from_secs(2 * 60)).await;
    refused(&world.ask(&signed).await, "InvalidSignatureException");
}

#[tokio::test(start_paused = true)]
async fn presigned_requests() {
    let world = World::strict();
    let mut presigned = request("/echo", "");
    let user = credentials(KEY, None);
    sigv4::presign(&mut presigned, &user, "eu-west-1", "fake", world.now(), 60);
    let reply = world.ask(&text(&presigned)).await;
    assert_eq!((reply.status, reply.json()["region"].as_str()), (200, Some("eu-west-1")));
    world.rt.sleep(Duration::from_secs(61)).await;
    refused(&world.ask(&text(&presigned)).await, "InvalidSignatureException");
}

#[tokio::test(start_paused = true)]
async fn session_tokens_and_their_end() {
    let world = World::strict();
    let session = credentials("ASIASESSION", Some("token"));
    let principal = Principal::role_session("222222222222", "role", "function");
    let expires = world.rt.now().after(Duration::from_secs(3_600));
    world.credentials.insert_session(session.clone(), principal, expires);
    let json = world.ask(&text(&world.signed(&session, "us-east-1"))).await.json();
    assert_eq!(json["principal"], "arn:aws:sts::222222222222:assumed-role/role/function");
    for token in [None, Some("other")] {
        let wrong = credentials("ASIASESSION", token);
        let reply = world.ask(&text(&world.signed(&wrong, "us-east-1"))).await;
        refused(&reply, "UnrecognizedClientException");
    }
    // A user's key with a token that is none of its own.
    let odd = credentials(KEY, Some("token"));
    refused(
        &world.ask(&text(&world.signed(&odd, "us-east-1"))).await,
        "UnrecognizedClientException",
    );
    world.rt.sleep(Duration::from_secs(3_600)).await;
    let reply = world.ask(&text(&world.signed(&session, "us-east-1"))).await;
    refused(&reply, "ExpiredTokenException");
    world.credentials.remove("ASIASESSION");
    let reply = world.ask(&text(&world.signed(&session, "us-east-1"))).await;
    refused(&reply, "UnrecognizedClientException");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_secret_is_worth_nothing_at_once() {
    let world = World::strict();
    let old = credentials(KEY, None);
    assert_eq!(world.ask(&text(&world.signed(&old, "us-east-1"))).await.status, 200);
    let mut new = credentials(KEY, None);
    new.secret_access_key = "new".to_owned();
    world.credentials.insert(new.clone(), Principal::root("111111111111"));
    let reply = world.ask(&text(&world.signed(&old, "us-east-1"))).await;
    refused(&reply, "InvalidSignatureException");
    assert_eq!(world.ask(&text(&world.signed(&new, "us-east-1"))).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn chunked_payload_forms() {
    for world in [World::strict(), World::new(development())] {
        let mut request =
            request("/echo", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n");
        let form = http::HeaderValue::from_static("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        request.headers.insert("x-amz-content-sha256", form);
        let user = credentials(KEY, None);
        sigv4::sign(&mut request, &user, "us-east-1", "fake", world.now());
        assert_eq!(world.ask(&text(&request)).await.json()["body"], "hello");
        request.body = Bytes::from_static(b"zz\r\nhello");
        assert_eq!(world.ask(&text(&request)).await.status, 400);
    }
    let world = World::strict();
    let mut request = request("/echo", "anything");
    let form = http::HeaderValue::from_static("UNSIGNED-PAYLOAD");
    request.headers.insert("x-amz-content-sha256", form);
    sigv4::sign(&mut request, &credentials(KEY, None), "us-east-1", "fake", world.now());
    assert_eq!(world.ask(&text(&request)).await.json()["body"], "anything");
}

#[tokio::test(start_paused = true)]
async fn large_bodies_are_verified_too() {
    let world = World::strict();
    let mut big = request("/big", &"x".repeat(600_000));
    sigv4::sign(&mut big, &credentials(KEY, None), "us-east-1", "fake", world.now());
    assert_eq!(world.ask(&text(&big)).await.json()["bytes"], 600_000);
    big.body = Bytes::from("y".repeat(600_000));
    refused(&world.ask(&text(&big)).await, "InvalidSignatureException");
}

#[tokio::test(start_paused = true)]
async fn another_service_is_named_and_not_served() {
    let world = World::strict();
    let mut request = request("/echo", "");
    sigv4::sign(&mut request, &credentials(KEY, None), "us-east-1", "sqs", world.now());
    let reply = world.ask(&text(&request)).await;
    assert_eq!((reply.status, reply.error().1), (501, "NotImplementedException"));
    assert!(reply.error().2.contains("sqs"));
}

#[tokio::test(start_paused = true)]
async fn development_mode_believes_strangers() {
    let world = World::new(development());
    let account = async |id: &str| {
        let signed = world.signed(&credentials(id, None), "eu-central-1");
        let json = world.ask(&text(&signed)).await.json();
        assert_eq!(json["region"], "eu-central-1");
        json["account"].as_str().unwrap().to_owned()
    };
    assert_eq!(account("test").await, "000000000000");
    assert_eq!(account("123456789012").await, "123456789012");
    assert_eq!(account("1234567890123").await, "000000000000");
    assert_eq!(account("12345678901x").await, "000000000000");
    let unsigned = world.ask(&text(&request("/echo", ""))).await.json();
    assert_eq!(unsigned["account"], "000000000000");
    assert_eq!(unsigned["region"], "us-east-1");
    for authorization in ["Basic eDp5", "Bearer x", "AWS4-HMAC-SHA256 nonsense", ""] {
        let mut odd = request("/echo", "");
        odd.headers.insert("authorization", authorization.parse().unwrap());
        assert_eq!(world.ask(&text(&odd)).await.json()["account"], "000000000000");
    }
}

#[tokio::test(start_paused = true)]
async fn development_mode_takes_no_region_that_is_none() {
    let world = World::new(development());
    for region in ["EU", "a:b", "..", "%2f"] {
        let reply = world.ask(&text(&world.signed(&credentials("test", None), region))).await;
        refused(&reply, "InvalidSignatureException");
    }
}

#[tokio::test(start_paused = true)]
async fn development_mode_verifies_the_keys_it_knows() {
    let world = World::new(development());
    world.credentials.insert(credentials(KEY, None), Principal::root("333333333333"));
    let good = world.signed(&credentials(KEY, None), "us-east-1");
    assert_eq!(world.ask(&text(&good)).await.json()["account"], "333333333333");
    let mut thief = credentials(KEY, None);
    thief.secret_access_key = "guessed".to_owned();
    let reply = world.ask(&text(&world.signed(&thief, "us-east-1"))).await;
    refused(&reply, "InvalidSignatureException");
    let mut old = request("/echo", "");
    let later = world.now() + 60;
    old.query = format!("AWSAccessKeyId={KEY}&Signature=x&Expires={later}");
    refused(&world.ask(&text(&old)).await, "InvalidSignatureException");
}

#[tokio::test(start_paused = true)]
async fn development_mode_takes_version_2_addresses_of_strangers() {
    let world = World::new(development());
    let mut old = request("/echo", "");
    let later = world.now() + 60;
    old.query = format!("AWSAccessKeyId=444444444444&Signature=x&Expires={later}");
    assert_eq!(world.ask(&text(&old)).await.json()["account"], "444444444444");
    world.rt.sleep(Duration::from_secs(61)).await;
    refused(&world.ask(&text(&old)).await, "AccessDenied");
}

#[tokio::test(start_paused = true)]
async fn a_function_is_never_another_account() {
    let world = World::new(development());
    let origin = Origin::Environment(Arc::new(EnvironmentOrigin {
        name: "e".to_owned(),
        account: "555555555555".to_owned(),
        region: "ap-south-1".to_owned(),
    }));
    let mut inside: Client = world.connect_from(origin);
    for id in ["test", "555555555555"] {
        inside.send(&text(&world.signed(&credentials(id, None), "us-east-1"))).await;
        assert_eq!(inside.reply().await.json()["account"], "555555555555");
    }
    inside.send(&text(&request("/echo", ""))).await;
    let json = inside.reply().await.json();
    assert_eq!(json["account"], "555555555555");
    assert_eq!(json["region"], "ap-south-1");
    inside.send(&text(&world.signed(&credentials("666666666666", None), "us-east-1"))).await;
    refused(&inside.reply().await, "UnrecognizedClientException");
}
