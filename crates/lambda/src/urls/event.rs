//! From an HTTP request to the event that the function gets: payload format 2.0, after "Invoking Lambda
//! function URLs" in the AWS Lambda developer guide.
//!
//! Pure. What AWS sends as null or not at all (`pathParameters`, `stageVariables`, `authentication`) is
//! not sent, and neither is what a request does not have (`cookies`, `queryStringParameters`, `body`).

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, Version};
use lambic_rt::Timestamp;
use lambic_wire::{Request, uri};
use serde_json::{Map, Value, json};

/// What is known of a request beside itself.
pub(super) struct Facts<'a> {
    /// The URL's id.
    pub(super) id: &'a str,
    /// The host, without a port.
    pub(super) host: &'a str,
    pub(super) version: Version,
    pub(super) source_ip: IpAddr,
    pub(super) request_id: &'a str,
    /// `X-Amzn-Trace-Id` of the invocation.
    pub(super) trace: &'a str,
    pub(super) now: Timestamp,
    /// `None`: anybody.
    pub(super) caller: Option<Caller<'a>>,
}

/// Who signed.
pub(super) struct Caller<'a> {
    pub(super) account: &'a str,
    pub(super) arn: &'a str,
    pub(super) access_key_id: &'a str,
}

/// Headers between a client and the server it is connected to; no business of the function.
const OF_THE_CONNECTION: [&str; 8] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Headers that have done their work once the signature is verified, and would let a function act as
/// its caller for a while.
const OF_THE_SIGNATURE: [&str; 2] = ["authorization", "x-amz-security-token"];

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PORT: &str = "x-forwarded-port";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const TRACE: &str = "x-amzn-trace-id";

/// The event as JSON.
pub(super) fn event(request: &Request, facts: &Facts<'_>) -> Bytes {
    let mut event = Map::new();
    let mut set = |name: &str, value: Value| event.insert(name.to_owned(), value);
    set("version", json!("2.0"));
    set("routeKey", json!("$default"));
    set("rawPath", json!(request.path));
    set("rawQueryString", json!(request.query));
    let cookies = cookies(&request.headers);
    if !cookies.is_empty() {
        set("cookies", json!(cookies));
    }
    set("headers", Value::Object(headers(request, facts)));
    let parameters = query_parameters(&request.query);
    if !parameters.is_empty() {
        set("queryStringParameters", Value::Object(parameters));
    }
    set("requestContext", context(request, facts));
    let (body, is_base64) = body(request);
    if let Some(body) = body {
        set("body", Value::String(body));
    }
    set("isBase64Encoded", json!(is_base64));
    Bytes::from(Value::Object(event).to_string())
}

fn context(request: &Request, facts: &Facts<'_>) -> Value {
    let mut http = json!({
        "method": request.method.as_str(),
        "path": request.path,
        "protocol": protocol(facts.version),
        "sourceIp": facts.source_ip.to_string(),
    });
    if let Some(agent) = joined(&request.headers, &USER_AGENT) {
        http["userAgent"] = json!(agent);
    }
    let account = facts.caller.as_ref().map_or("anonymous", |caller| caller.account);
    let mut context = json!({
        "accountId": account,
        "apiId": facts.id,
        "domainName": facts.host,
        "domainPrefix": facts.id,
        "http": http,
        "requestId": facts.request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": time(facts.now),
        "timeEpoch": facts.now.millis(),
    });
    if let Some(caller) = &facts.caller {
        let id = unique_id(caller);
        context["authorizer"] = json!({"iam": {
            "accessKey": caller.access_key_id,
            "accountId": caller.account,
            "callerId": id,
            "cognitoIdentity": null,
            "principalOrgId": null,
            "userArn": caller.arn,
            "userId": id,
        }});
    }
    context
}

/// AWS has ids like `AIDA…` for users; here a root has its account's, as on AWS, and everybody else
/// the last part of the ARN.
fn unique_id<'a>(caller: &'a Caller<'_>) -> &'a str {
    match caller.arn.rsplit_once([':', '/']) {
        Some((_, "root")) | None => caller.account,
        Some((_, last)) => last,
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// `12/Mar/2020:19:03:58 +0000`.
fn time(now: Timestamp) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, hour, minute, second, _) = now.utc();
    let month = MONTHS[month as usize - 1];
    format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
}

/// By lower-case name, repeated ones joined with commas, and those that a proxy adds.
fn headers(request: &Request, facts: &Facts<'_>) -> Map<String, Value> {
    let mut headers = Map::new();
    for name in request.headers.keys() {
        let text = name.as_str();
        let signature = facts.caller.is_some() && OF_THE_SIGNATURE.contains(&text);
        if signature || OF_THE_CONNECTION.contains(&text) {
            continue;
        }
        // Cookies are one list, whose separator is another one.
        let separator = if name == COOKIE { "; " } else { "," };
        headers.insert(text.to_owned(), json!(joined_by(&request.headers, name, separator)));
    }
    let peer = facts.source_ip.to_string();
    let path = match headers.get(FORWARDED_FOR).and_then(Value::as_str) {
        Some(before) => format!("{before}, {peer}"),
        None => peer,
    };
    headers.insert(FORWARDED_FOR.to_owned(), json!(path));
    headers.entry(FORWARDED_PROTO).or_insert_with(|| json!("http"));
    headers.entry(FORWARDED_PORT).or_insert_with(|| json!(port(request)));
    headers.insert(TRACE.to_owned(), json!(facts.trace));
    headers
}

/// The port that the client wrote.
fn port(request: &Request) -> &str {
    let host = request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.rsplit_once(':').map_or("80", |(_, port)| port)
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.contains_key(name).then(|| joined_by(headers, name, ","))
}

/// A value that is no text has its wrong bytes replaced, as JSON has no others.
fn joined_by(headers: &HeaderMap, name: &HeaderName, separator: &str) -> String {
    let values = headers.get_all(name).iter();
    let values: Vec<Cow<'_, str>> =
        values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    values.join(separator)
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let text = joined_by(headers, &COOKIE, ";");
    text.split(';').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

/// Decoded, repeated ones joined with commas.
fn query_parameters(query: &str) -> Map<String, Value> {
    let mut parameters: Map<String, Value> = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value);
        match parameters.get_mut(decoded(name).as_ref()) {
            Some(Value::String(before)) => {
                before.push(',');
                before.push_str(&value);
            }
            _ => {
                parameters.insert(decoded(name).into_owned(), Value::String(value.into_owned()));
            }
        }
    }
    parameters
}

/// What is no text when decoded stays as it is.
fn decoded(text: &str) -> Cow<'_, str> {
    uri::decode_query(text).unwrap_or(Cow::Borrowed(text))
}

/// The body, and whether it is base64: it is unless its type says that it is text, and it is.
fn body(request: &Request) -> (Option<String>, bool) {
    if request.body.is_empty() {
        return (None, false);
    }
    if is_text(&request.headers)
        && let Ok(text) = std::str::from_utf8(&request.body)
    {
        return (Some(text.to_owned()), false);
    }
    (Some(STANDARD.encode(&request.body)), true)
}

fn is_text(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return false;
    }
    let content_type = text(CONTENT_TYPE).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media.starts_with("text/")
        || matches!(
            media.as_str(),
            "application/json" | "application/javascript" | "application/xml"
        )
        || (media.starts_with("application/")
            && (media.ends_with("+json") || media.ends_with("+xml")))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};
    use proptest::prelude::*;

    use super::*;

    fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Request {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: map,
            body: Bytes::copy_from_slice(body),
        }
    }

    fn facts(caller: Option<Caller<'static>>) -> Facts<'static> {
        Facts {
            id: "abc",
            host: "abc.lambda-url.us-east-1.localhost",
            version: Version::HTTP_11,
            source_ip: IpAddr::from([10, 0, 0, 9]),
            request_id: "r-1",
            trace: "Root=1-5759e988-bd862e3fe1be46a994272793",
            now: Timestamp::from_micros(1_584_039_838_390_000),
            caller,
        }
    }

    fn check(request: &Request, caller: Option<Caller<'static>>) -> Value {
        serde_json::from_slice(&event(request, &facts(caller))).unwrap()
    }

    #[test]
    fn the_whole_event() {
        let headers = [
            ("Host", "abc.lambda-url.us-east-1.localhost:4566"),
            ("Cookie", "cookie1; cookie2=x"),
            ("Header1", "value1"),
            ("Header2", "value1"),
            ("Header2", "value2"),
            ("User-Agent", "agent"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Connection", "keep-alive"),
            ("Transfer-Encoding", "chunked"),
            ("Authorization", "Bearer mine"),
        ];
        let query = "parameter1=value1&parameter1=value2&parameter2=a+b%2Cc&flag";
        let request = request("POST", &format!("/my/pa%20th?{query}"), &headers, b"Hello!");
        assert_eq!(
            check(&request, None),
            json!({
                "version": "2.0",
                "routeKey": "$default",
                "rawPath": "/my/pa%20th",
                "rawQueryString": query,
                "cookies": ["cookie1", "cookie2=x"],
                "headers": {
                    "host": "abc.lambda-url.us-east-1.localhost:4566",
                    "cookie": "cookie1; cookie2=x",
                    "header1": "value1",
                    "header2": "value1,value2",
                    "user-agent": "agent",
                    "content-type": "text/plain; charset=utf-8",
                    "authorization": "Bearer mine",
                    "x-amzn-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793",
                    "x-forwarded-for": "10.0.0.9",
                    "x-forwarded-port": "4566",
                    "x-forwarded-proto": "http",
                },
                "queryStringParameters": {
                    "parameter1": "value1,value2", "parameter2": "a b,c", "flag": "",
                },
                "requestContext": {
                    "accountId": "anonymous",
                    "apiId": "abc",
                    "domainName": "abc.lambda-url.us-east-1.localhost",
                    "domainPrefix": "abc",
                    "http": {
                        "method": "POST", "path": "/my/pa%20th", "protocol": "HTTP/1.1",
                        "sourceIp": "10.0.0.9", "userAgent": "agent",
                    },
                    "requestId": "r-1",
                    "routeKey": "$default",
                    "stage": "$default",
                    "time": "12/Mar/2020:19:03:58 +0000",
                    "timeEpoch": 1_584_039_838_390_u64,
                },
                "body": "Hello!",
                "isBase64Encoded": false,
            })
        );
    }

    #[test]
    fn the_least_event() {
        let event = check(&request("GET", "/", &[], b""), None);
        for absent in ["cookies", "queryStringParameters", "body"] {
            assert!(event.get(absent).is_none(), "{absent}");
        }
        assert_eq!(event["isBase64Encoded"], false);
        assert!(event["requestContext"]["http"].get("userAgent").is_none());
        assert!(event["requestContext"].get("authorizer").is_none());
    }

    #[test]
    fn who_signed() {
        let caller = Caller {
            account: "111122223333",
            arn: "arn:aws:iam::111122223333:root",
            access_key_id: "AKIDEXAMPLE",
        };
        let headers =
            [("Authorization", "AWS4-HMAC-SHA256 …"), ("X-Amz-Security-Token", "t"), ("X-A", "b")];
        let event = check(&request("GET", "/", &headers, b""), Some(caller));
        assert_eq!(event["requestContext"]["accountId"], "111122223333");
        assert_eq!(
            event["requestContext"]["authorizer"],
            json!({"iam": {
                "accessKey": "AKIDEXAMPLE", "accountId": "111122223333",
                "callerId": "111122223333", "cognitoIdentity": null, "principalOrgId": null,
                "userArn": "arn:aws:iam::111122223333:root", "userId": "111122223333",
            }})
        );
        let headers = event["headers"].as_object().unwrap();
        assert!(headers.contains_key("x-a"));
        assert!(!headers.contains_key("authorization"));
        assert!(!headers.contains_key("x-amz-security-token"));
        let session = Caller {
            account: "111122223333",
            arn: "arn:aws:sts::111122223333:assumed-role/role/session",
            access_key_id: "ASIAEXAMPLE",
        };
        assert_eq!(unique_id(&session), "session");
    }

    #[test]
    fn what_a_proxy_said_goes_on() {
        let headers = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Port", "443"),
            ("X-Amzn-Trace-Id", "nonsense"),
        ];
        let event = check(&request("GET", "/", &headers, b""), None);
        assert_eq!(event["headers"]["x-forwarded-for"], "192.0.2.1, 10.0.0.9");
        assert_eq!(event["headers"]["x-forwarded-proto"], "https");
        assert_eq!(event["headers"]["x-forwarded-port"], "443");
        assert_eq!(event["headers"]["x-amzn-trace-id"], "Root=1-5759e988-bd862e3fe1be46a994272793");
        assert_eq!(event["requestContext"]["http"]["sourceIp"], "10.0.0.9");
    }

    #[test]
    fn which_bodies_are_text() {
        for (content_type, encoding, is_base64) in [
            ("text/plain", "", false),
            ("TEXT/HTML; charset=utf-8", "", false),
            ("application/json", "", false),
            ("application/javascript", "", false),
            ("application/xml", "identity", false),
            ("application/problem+json", "", false),
            ("application/x-www-form-urlencoded", "", true),
            ("multipart/form-data; boundary=x", "", true),
            ("application/octet-stream", "", true),
            ("image/svg+xml", "", true),
            ("text/plain", "gzip", true),
            ("", "", true),
        ] {
            let mut headers = vec![("Content-Type", content_type)];
            if !encoding.is_empty() {
                headers.push(("Content-Encoding", encoding));
            }
            let event = check(&request("POST", "/", &headers, b"body"), None);
            let expect = if is_base64 { "Ym9keQ==" } else { "body" };
            assert_eq!(
                (&event["body"], &event["isBase64Encoded"]),
                (&json!(expect), &json!(is_base64)),
                "{content_type}"
            );
        }
        let lies = [("Content-Type", "text/plain")];
        assert_eq!(check(&request("POST", "/", &lies, b"\xff"), None)["isBase64Encoded"], true);
    }

    proptest! {
        #[test]
        fn no_request_is_lost(
            path in "/[ -~]{0,40}",
            query in "[!-~]{0,60}",
            headers in proptest::collection::vec(("x-[a-z]{1,3}", "[ -~]{0,20}"), 0..8),
            body in proptest::collection::vec(any::<u8>(), 0..50),
            kind in prop_oneof![Just("text/plain"), Just("application/octet-stream")],
        ) {
            let mut given: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            given.push(("content-type", kind));
            let mut request = request("PATCH", "/", &given, &body);
            request.path.clone_from(&path);
            request.query.clone_from(&query);
            let event = check(&request, None);
            prop_assert_eq!(event["rawPath"].as_str(), Some(path.as_str()));
            prop_assert_eq!(event["rawQueryString"].as_str(), Some(query.as_str()));
            for name in request.headers.keys() {
                let values: Vec<&str> =
                    request.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
                prop_assert_eq!(event["headers"][name.as_str()].as_str().unwrap(), values.join(","));
            }
            // Every parameter that was sent is there, and no other.
            let sent: std::collections::BTreeSet<String> = query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| decoded(pair.split('=').next().unwrap()).into_owned())
                .collect();
            let told = event["queryStringParameters"].as_object().cloned().unwrap_or_default();
            prop_assert_eq!(sent, told.keys().cloned().collect());
            // The body comes back byte for byte.
            let back = match (event["body"].as_str(), event["isBase64Encoded"].as_bool().unwrap()) {
                (None, encoded) => { prop_assert!(!encoded); Vec::new() }
                (Some(text), false) => text.as_bytes().to_vec(),
                (Some(text), true) => STANDARD.decode(text).unwrap(),
            };
            prop_assert_eq!(back, body);
        }
    }
}
