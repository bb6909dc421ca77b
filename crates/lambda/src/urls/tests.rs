//! Requests to URLs, from the front's hand to a runner that does what the request says.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method};
use lambic_front::{AuthMode, CredentialTable, Front, FrontConfig, Origin};
use lambic_rt::Rt;
use lambic_store::{Store, Transaction};
use lambic_wire::sigv4::{self, Credentials};
use serde_json::{Value, json};

use super::*;
use crate::invoke::streamed::{End, Part, StreamedAnswer};
use crate::invoke::{Answer, Invocation, Provision};
use crate::ops::testing::Harness;
use crate::policy::Document;
use crate::service::{ControlConfig, Runner};
use crate::state::function::FunctionRecord;
use crate::state::version::Version;

/// Answers what the event's path names: `/answer` its body, `/event` the event, `/fail` and `/busy`
/// neither, `/arn` the ARN and the version that were invoked.
struct Mirror;

impl Mirror {
    fn answer(version: &Version, invocation: &Invocation) -> Result<Answer, Error> {
        let event: Value = serde_json::from_slice(&invocation.payload).unwrap();
        let mut answer = Answer {
            payload: invocation.payload.clone(),
            function_error: None,
            log_tail: None,
            executed_version: version.version.clone(),
        };
        match event["rawPath"].as_str().unwrap() {
            "/answer" => answer.payload = body_of(&event),
            "/fail" => answer.function_error = Some("Unhandled"),
            "/busy" => {
                return Err(Error::new("TooManyRequestsException", 429, "Rate Exceeded.")
                    .with_header("retry-after", "1"));
            }
            "/arn" => {
                let seen = json!([invocation.invoked_arn, version.version, invocation.trace_id]);
                answer.payload = Bytes::from(seen.to_string());
            }
            _ => {}
        }
        Ok(answer)
    }
}

fn body_of(event: &Value) -> Bytes {
    let text = event["body"].as_str().unwrap();
    match event["isBase64Encoded"].as_bool().unwrap() {
        true => Bytes::from(STANDARD.decode(text).unwrap()),
        false => Bytes::from(text.to_owned()),
    }
}

impl Runner for Mirror {
    fn invoke<'a>(
        &'a self,
        version: Arc<Version>,
        invocation: Invocation,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move { Mirror::answer(&version, &invocation) })
    }

    /// The answer byte by byte; it is one with a head if it begins with `{`.
    fn invoke_streamed<'a>(
        &'a self,
        version: Arc<Version>,
        invocation: Invocation,
    ) -> BoxFuture<'a, Result<StreamedAnswer, Error>> {
        Box::pin(async move {
            let answer = Mirror::answer(&version, &invocation)?;
            let bytes = if answer.function_error.is_some() { Bytes::new() } else { answer.payload };
            let with_head = bytes.starts_with(b"{");
            let kind = "application/vnd.awslambda.http-integration-response";
            let pieces: Vec<Part> =
                bytes.chunks(1).map(|byte| Part::Piece(Bytes::copy_from_slice(byte))).collect();
            let error_code = answer.function_error.map(str::to_owned);
            let end = Part::End(End { error_code, ..End::default() });
            Ok(StreamedAnswer {
                content_type: with_head.then(|| kind.to_owned()),
                ..StreamedAnswer::of("$LATEST", pieces.into_iter().chain([end]))
            })
        })
    }

    fn follow(&self, _: &str, _: Option<&FunctionRecord>) {}

    fn provision(&self, _: &Arc<Version>, _: u32) {}

    fn provisioned(&self, _: &Arc<Version>) -> Provision {
        Provision { available: 0, fails: false }
    }
}

/// A function `hello` whose URL wants signatures.
struct World {
    harness: Harness,
    front: Arc<Front>,
    host: String,
}

/// What comes back: status, headers, body.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

const URL: &str = "/2021-10-31/functions/hello/url";

impl World {
    async fn new(settings: Value) -> World {
        let rt = Rt::real();
        let store = Store::in_memory(rt.clone()).unwrap();
        let config = ControlConfig { settle_after: Duration::ZERO, ..ControlConfig::default() };
        let lambda = Lambda::new(config, rt.clone(), store, Arc::new(Mirror)).await.unwrap();
        let harness = Harness::of(lambda, rt.clone());
        harness.create("hello").await;
        let mut body = json!({"AuthType": "AWS_IAM"});
        for (name, value) in settings.as_object().unwrap() {
            body[name] = value.clone();
        }
        let created = harness.post(URL, &body).await.json();
        let host = created["FunctionUrl"].as_str().unwrap();
        let host = host.strip_prefix("http://").unwrap().strip_suffix(":4566/").unwrap().to_owned();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 4_566));
        let front = Front::new(
            FrontConfig::new(AuthMode::development(loopback).unwrap()),
            rt,
            Arc::new(CredentialTable::new()),
            vec![harness.lambda.clone()],
            Vec::new(),
            vec![harness.lambda.clone()],
        );
        World { harness, front, host }
    }

    /// One more statement in the function's policy.
    async fn allow(&self, action: &str, principal: &str, key: &str, value: &str) {
        let principal = match principal {
            "*" => json!("*"),
            account => json!({"AWS": account}),
        };
        let statement = json!({
            "Sid": action,
            "Effect": "Allow",
            "Principal": principal,
            "Action": format!("lambda:{action}"),
            "Resource": "arn:aws:lambda:us-east-1:000000000000:function:hello",
            "Condition": {"StringEquals": {key: value}},
        });
        let lambda = &self.harness.lambda;
        let table = lambda.store.table::<FunctionRecord>();
        let stored = table.get(&["000000000000", "us-east-1", "hello"]).await.unwrap().unwrap();
        let mut record = stored.value.clone();
        let settings = record.qualified.entry(LATEST.to_owned()).or_default();
        settings.policy = Some(match settings.policy.take() {
            Some(policy) => policy.with(statement),
            None => Document::with_first(statement),
        });
        let mut transaction = Transaction::new();
        transaction.replace(&stored, &record);
        let revision = lambda.store.commit(transaction).await.unwrap();
        lambda.catalog.caught_up(revision).await;
    }

    fn request(&self, method: Method, path: &str, body: &[u8]) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(&self.host).unwrap());
        headers.insert("content-type", HeaderValue::from_static("text/plain"));
        let body = Bytes::copy_from_slice(body);
        Request { method, path: path.to_owned(), query: String::new(), headers, body }
    }

    fn sign(&self, request: &mut Request, account: &str, region: &str, service: &str) {
        let credentials = Credentials {
            access_key_id: account.to_owned(),
            secret_access_key: "any".to_owned(),
            session_token: None,
        };
        let now = Rt::real().now().seconds();
        sigv4::sign(request, &credentials, region, service, now);
    }

    /// Signed by the function's own account.
    async fn ask(&self, path: &str, body: &[u8]) -> Seen {
        let mut request = self.request(Method::POST, path, body);
        self.sign(&mut request, "000000000000", "us-east-1", "lambda");
        self.send(request).await
    }

    async fn send(&self, request: Request) -> Seen {
        let peer = Origin::Remote(SocketAddr::from(([192, 0, 2, 1], 1)));
        let site = SiteCall::new(&self.front, peer, &self.host);
        let lambda = &*self.harness.lambda;
        let handled = Sites::handle(lambda, &site, request).await;
        let response = handled.unwrap_or_else(|error| lambda.refusal(&error));
        let headers = response.headers.iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let headers = headers.collect();
        let body = match response.body {
            Body::Whole(bytes) => bytes.to_vec(),
            Body::Pieces(mut pieces) => {
                let mut all = Vec::new();
                while let Some(piece) = poll_fn(|context| pieces.poll_piece(context)).await {
                    all.extend_from_slice(&piece);
                }
                all
            }
        };
        Seen { status: response.status, headers, body }
    }
}

#[tokio::test]
async fn a_request_is_an_event_and_an_answer_a_response() {
    let world = World::new(json!({})).await;
    let event = world.ask("/event", b"hi").await;
    assert_eq!((event.status, event.header("content-type")), (200, Some("application/json")));
    let event = event.json();
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("hi"), &json!(false)));
    let context = &event["requestContext"];
    assert_eq!(context["domainName"], world.host.as_str());
    assert_eq!(context["http"]["sourceIp"], "192.0.2.1");
    assert_eq!(context["authorizer"]["iam"]["userArn"], "arn:aws:iam::000000000000:root");
    let answer = json!({"statusCode": 201, "headers": {"X-A": "b"}, "body": "made"}).to_string();
    let reply = world.ask("/answer", answer.as_bytes()).await;
    assert_eq!((reply.status, reply.header("x-a"), reply.text()), (201, Some("b"), "made"));
}

#[tokio::test]
async fn traces_go_on() {
    let world = World::new(json!({})).await;
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let mut request = world.request(Method::GET, "/arn", b"");
    request.headers.insert(TRACE, HeaderValue::from_str(&format!("{root};Sampled=1")).unwrap());
    world.sign(&mut request, "000000000000", "us-east-1", "lambda");
    let reply = world.send(request).await;
    let sent = format!("{root};Sampled=1");
    assert_eq!(reply.json()[2], sent.as_str());
    assert_eq!(reply.header("x-amzn-trace-id"), Some(sent.as_str()));
    let reply = world.ask("/arn", b"").await;
    let made = reply.header("x-amzn-trace-id").unwrap();
    assert!(made.starts_with("Root=1-") && made.len() == root.len(), "{made}");
    assert_eq!(reply.json()[2], made);
    let event = world.ask("/event", b"").await.json();
    assert!(event["headers"]["x-amzn-trace-id"].as_str().unwrap().starts_with("Root=1-"));
}

#[tokio::test]
async fn what_goes_wrong_is_told_as_aws_tells_it() {
    let world = World::new(json!({})).await;
    for (path, body) in
        [("/fail", &b""[..]), ("/answer", b"no json"), ("/answer", b"{\"statusCode\": 1}")]
    {
        let reply = world.ask(path, body).await;
        assert_eq!((reply.status, reply.text()), (502, "Internal Server Error"), "{path}");
    }
    let reply = world.ask("/busy", b"").await;
    assert_eq!((reply.status, reply.text()), (429, r#"{"Message":"Rate Exceeded."}"#));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.header("x-amzn-errortype"), Some("TooManyRequestsException"));
    // Base64 makes it larger than an event may be.
    let mut request = world.request(Method::POST, "/event", &vec![0; 5 * 1024 * 1024]);
    request.headers.remove("content-type");
    world.sign(&mut request, "000000000000", "us-east-1", "lambda");
    let reply = world.send(request).await;
    assert_eq!(reply.status, 413);
    assert!(reply.json()["Message"].as_str().unwrap().contains("6291456"));
}

#[tokio::test]
async fn who_has_not_signed_rightly_is_kept_out() {
    let world = World::new(json!({})).await;
    let unsigned = world.send(world.request(Method::GET, "/event", b"")).await;
    assert_eq!(unsigned.status, 403);
    assert_eq!(
        unsigned.text(),
        "{\"Message\":\"Forbidden. For troubleshooting Function URL authorization issues, see: \
         https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html\"}"
    );
    assert_eq!(unsigned.header("x-amzn-errortype"), Some("AccessDeniedException"));
    for (account, region, service) in [
        ("111111111111", "us-east-1", "lambda"),
        ("000000000000", "eu-west-1", "lambda"),
        ("000000000000", "us-east-1", "s3"),
    ] {
        let mut request = world.request(Method::GET, "/event", b"");
        world.sign(&mut request, account, region, service);
        assert_eq!(world.send(request).await.status, 403, "{account} {region} {service}");
    }
}

#[tokio::test]
async fn without_a_signature_the_policy_decides() {
    let world = World::new(json!({"AuthType": "NONE"})).await;
    let ask = async || world.send(world.request(Method::GET, "/event", b"")).await;
    assert_eq!(ask().await.status, 403);
    world.allow("InvokeFunctionUrl", "*", "lambda:FunctionUrlAuthType", "NONE").await;
    // The second of the two is missing.
    assert_eq!(ask().await.status, 403);
    world.allow("InvokeFunction", "*", "lambda:InvokedViaFunctionUrl", "true").await;
    let reply = ask().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["requestContext"]["accountId"], "anonymous");
    // What looks like a signature is the function's own business here.
    let mut request = world.request(Method::GET, "/event", b"");
    request.headers.insert("authorization", HeaderValue::from_static("AWS4-HMAC-SHA256 nonsense"));
    let reply = world.send(request).await;
    assert_eq!(reply.json()["headers"]["authorization"], "AWS4-HMAC-SHA256 nonsense");
    // These statements are about NONE.
    world.harness.put(URL, &json!({"AuthType": "AWS_IAM"})).await;
    assert_eq!(ask().await.status, 403);
}

#[tokio::test]
async fn another_account_needs_a_statement() {
    let world = World::new(json!({})).await;
    let ask = async || {
        let mut request = world.request(Method::GET, "/event", b"");
        world.sign(&mut request, "111111111111", "us-east-1", "lambda");
        world.send(request).await
    };
    assert_eq!(ask().await.status, 403);
    let (account, key) = ("111111111111", "lambda:FunctionUrlAuthType");
    world.allow("InvokeFunctionUrl", account, key, "AWS_IAM").await;
    world.allow("InvokeFunction", account, "lambda:InvokedViaFunctionUrl", "true").await;
    let reply = ask().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["requestContext"]["accountId"], "111111111111");
}

#[tokio::test]
async fn names_that_nobody_has() {
    let mut world = World::new(json!({})).await;
    let own = world.host.clone();
    for host in [
        format!("{}.lambda-url.us-east-1.localhost", "a".repeat(32)),
        own.replace("us-east-1", "eu-west-1"),
    ] {
        world.host = host;
        let reply = world.ask("/event", b"").await;
        assert_eq!((reply.status, reply.text()), (403, "{\"Message\":null}"));
        assert_eq!(reply.header("x-amzn-errortype"), Some("AccessDeniedException"));
    }
    world.host = own.replace("localhost", "on.aws");
    assert_eq!(world.ask("/event", b"").await.status, 200);
    world.harness.delete(URL).await;
    assert_eq!(world.ask("/event", b"").await.text(), "{\"Message\":null}");
}

#[tokio::test]
async fn an_alias_has_a_url_of_its_own() {
    let mut world = World::new(json!({})).await;
    let harness = &world.harness;
    assert_eq!(harness.post("/2015-03-31/functions/hello/versions", &json!({})).await.status, 201);
    let alias = json!({"Name": "live", "FunctionVersion": "1"});
    assert_eq!(harness.post("/2015-03-31/functions/hello/aliases", &alias).await.status, 201);
    harness.settle().await;
    let body = json!({"AuthType": "AWS_IAM"});
    let created = harness.post(&format!("{URL}?Qualifier=live"), &body).await.json();
    let seen = world.ask("/arn", b"").await.json();
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:hello";
    assert_eq!((&seen[0], &seen[1]), (&json!(arn), &json!("$LATEST")));
    let url = created["FunctionUrl"].as_str().unwrap();
    world.host = url["http://".len()..].trim_end_matches(":4566/").to_owned();
    let seen = world.ask("/arn", b"").await.json();
    assert_eq!((&seen[0], &seen[1]), (&json!(format!("{arn}:live")), &json!("1")));
}

#[tokio::test]
async fn a_stream_with_and_without_a_head() {
    let world = World::new(json!({"InvokeMode": "RESPONSE_STREAM"})).await;
    let reply = world.ask("/answer", b"plain").await;
    assert_eq!((reply.status, reply.text()), (200, "plain"));
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    let with_head = b"{\"statusCode\":418,\"cookies\":[\"a=b\"]}\0\0\0\0\0\0\0\0tea";
    let reply = world.ask("/answer", with_head).await;
    assert_eq!((reply.status, reply.text()), (418, "tea"));
    assert_eq!(reply.header("set-cookie"), Some("a=b"));
    let reply = world.ask("/fail", b"").await;
    assert_eq!((reply.status, reply.text()), (502, "Internal Server Error"));
    let reply = world.ask("/busy", b"").await;
    assert_eq!(reply.status, 429);
}

#[tokio::test]
async fn browsers_are_answered_for_the_function() {
    let page = "https://page.example";
    let cors = json!({"AllowOrigins": [page], "AllowMethods": ["GET"]});
    let world = World::new(json!({"Cors": cors})).await;
    let mut preflight = world.request(Method::OPTIONS, "/fail", b"");
    preflight.headers.insert("origin", HeaderValue::from_static("https://page.example"));
    preflight.headers.insert("access-control-request-method", HeaderValue::from_static("GET"));
    // A browser does not sign it.
    let reply = world.send(preflight).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some(page)));
    assert_eq!(reply.header("access-control-allow-methods"), Some("GET"));
    let mut request = world.request(Method::GET, "/answer", b"1");
    request.headers.insert("origin", HeaderValue::from_static("https://page.example"));
    // Also what goes wrong is for the page to read.
    let refused = world.send(request.clone()).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, Some(page)));
    world.sign(&mut request, "000000000000", "us-east-1", "lambda");
    let reply = world.send(request).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some(page)));
}
