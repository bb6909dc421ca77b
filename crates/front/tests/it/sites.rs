//! Sites: told by their host, bounded like everything else, and free of what guards the API.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use lambic_front::{BoxFuture, SiteCall, Sites, recorded};
use lambic_wire::event_stream::Pieces;
use lambic_wire::sigv4::{self, Credentials};
use lambic_wire::{Arn, Body, Error, Request, Response};
use serde_json::json;

use crate::world::{BODY_BYTES_MAX, World, development, required};

/// Every host below `site.test`.
pub(crate) struct Site;

/// One piece, and then nothing more.
struct CutShort(Option<Bytes>);

impl Pieces for CutShort {
    fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Poll::Ready(self.0.take())
    }

    fn is_cut_short(&self) -> bool {
        true
    }
}

impl Sites for Site {
    fn has(&self, host: &str) -> bool {
        host.ends_with(".site.test")
    }

    fn operation_name(&self) -> &'static str {
        "VisitSite"
    }

    fn body_bytes_max(&self) -> usize {
        BODY_BYTES_MAX
    }

    fn handle<'a>(
        &'a self,
        call: &'a SiteCall,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, Error>> {
        Box::pin(async move {
            match request.path.as_str() {
                "/panic" => panic!("asked to"),
                "/refuse" => Err(Error::new("Refused", 418, "no")),
                "/cut" => {
                    let principal = Arc::new(lambic_front::Principal::root("111111111111"));
                    let call = call.call("fake", principal, "us-east-1");
                    let resource = Arn::new("fake", "us-east-1", "111111111111", "site");
                    let pieces = Box::new(CutShort(Some(Bytes::from_static(b"half"))));
                    let response =
                        Response { status: 200, headers: Vec::new(), body: Body::Pieces(pieces) };
                    recorded(&call, "VisitSite", resource, async { Ok(response) }).await
                }
                _ => {
                    let (request, signer) = call.signer(request).await?;
                    let body = json!({
                        "host": call.host,
                        "source": call.source_ip(),
                        "body": String::from_utf8_lossy(&request.body),
                        "signer": signer.as_ref().map(|signer| &signer.principal.arn),
                        "scope": signer.map(|signer| format!("{}/{}", signer.region, signer.service)),
                    });
                    Ok(Response::json(200, Bytes::from(body.to_string())))
                }
            }
        })
    }

    fn refusal(&self, error: &Error) -> Response {
        let text = format!("<{}>", error.message);
        let body = Body::Whole(Bytes::from(text));
        Response { status: error.status, headers: Vec::new(), body }
    }
}

fn post(host: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn the_host_decides_and_pages_of_other_sites_are_welcome() {
    let world = World::new(development());
    let origin = "Origin: https://elsewhere.example\r\nSec-Fetch-Site: cross-site\r\n";
    let reply = world.ask(&post("A.site.test:4566", "/x", origin, "hello")).await;
    let expected = json!({
        "host": "a.site.test", "source": "127.0.0.1", "body": "hello", "signer": null, "scope": null,
    });
    assert_eq!((reply.status, reply.json()), (200, expected));
    assert!(reply.header("x-amzn-requestid").is_some());
    // Paths that are the front's elsewhere are the site's here.
    let reply = world.ask(&post("a.site.test", "/_lambic/health", "", "")).await;
    assert_eq!(reply.json()["host"], "a.site.test");
    // All other names stay what they were.
    assert_eq!(world.ask(&post("site.test", "/echo", "", "")).await.status, 403);
    assert_eq!(world.ask(&post("localhost", "/echo", "", "")).await.status, 200);
    let two = "Host: a.site.test\r\n";
    assert_eq!(world.ask(&post("localhost", "/echo", two, "")).await.status, 403);
}

#[tokio::test]
async fn refusals_are_the_site_s() {
    let world = World::new(development());
    let reply = world.ask(&post("a.site.test", "/refuse", "", "")).await;
    assert_eq!((reply.status, &reply.body[..]), (418, &b"<no>"[..]));
    let reply = world.ask(&post("a.site.test", "/panic", "", "")).await;
    assert_eq!((reply.status, &reply.body[..]), (500, &b"<An internal error occurred.>"[..]));
    let long = "x".repeat(BODY_BYTES_MAX + 1);
    let reply = world.ask(&post("a.site.test", "/", "", &long)).await;
    assert_eq!(reply.status, 413);
    assert_eq!(
        String::from_utf8(reply.body).unwrap(),
        "<Request must be smaller than 1000 bytes for the VisitSite operation>"
    );
}

#[tokio::test]
async fn the_limit_of_requests_holds_for_sites() {
    let mut config = development();
    config.limits.requests_in_flight_max = 0;
    let world = World::new(config);
    let reply = world.ask(&post("a.site.test", "/", "", "")).await;
    assert_eq!(reply.status, 429);
    assert_eq!(&reply.body[..], b"<Too many requests are being served.>");
}

#[tokio::test]
async fn signatures_are_verified_when_the_site_asks() {
    let world = World::new(required());
    let key = Credentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: None,
    };
    world.credentials.insert(key.clone(), lambic_front::Principal::root("111111111111"));
    // Nobody demands one.
    assert_eq!(world.ask(&post("a.site.test", "/", "", "")).await.json()["signer"], json!(null));
    let ask = async |key: &Credentials, body: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert("host", http::HeaderValue::from_static("a.site.test"));
        let mut request = Request {
            method: http::Method::POST,
            path: "/".to_owned(),
            query: String::new(),
            headers,
            body: Bytes::from_static(b"hello"),
        };
        sigv4::sign(&mut request, key, "eu-west-1", "fake", world.rt.now().seconds());
        request.headers.remove("host");
        let named = request.headers.iter();
        let headers: String =
            named.map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
        world.ask(&post("a.site.test", "/", &headers, body)).await
    };
    let reply = ask(&key, "hello").await;
    assert_eq!(reply.json()["signer"], "arn:aws:iam::111111111111:root");
    assert_eq!(reply.json()["scope"], "eu-west-1/fake");
    assert_eq!(ask(&key, "HELLO").await.status, 403);
    let stranger = Credentials { access_key_id: "AKIDOTHER".to_owned(), ..key };
    assert_eq!(ask(&stranger, "hello").await.status, 403);
}

#[tokio::test]
async fn what_is_cut_short_looks_so() {
    let world = World::new(development());
    let mut client = world.connect();
    client.send(&post("a.site.test", "/cut", "", "")).await;
    client.head_of_chunks().await;
    assert_eq!(client.chunk().await, b"half");
    // Without the last chunk.
    assert!(client.closed().await.is_empty());
    assert_eq!(world.front.requests_in_flight(), 0);
    let counted = "operation=\"VisitSite\",status=\"200\"} 1";
    assert!(world.front.metrics().render().contains(counted));
}
