//! From what the function returned to an HTTP response: payload format 2.0, after "Invoking Lambda
//! function URLs" in the AWS Lambda developer guide.
//!
//! Pure. What cannot be sent as HTTP is an error of the function ([`Malformed`]), as on AWS, and not
//! repaired: a status that is none, a header with a line break, a body that is not the base64 it says
//! it is.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderName, HeaderValue};
use lambic_wire::{Body, Response};
use serde_json::{Map, Value};

/// The function's answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Status and headers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What separates the head of a streamed response from its body.
pub(super) const SEPARATOR: [u8; 8] = [0; 8];

/// Headers that belong to the connection or to the platform. A function's own go by another name, as
/// on AWS, so that nobody takes them for what they are not.
const REMAPPED: [&str; 15] = [
    "connection",
    "content-length",
    "date",
    "expect",
    "host",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-amzn-requestid",
];
/// Set by the platform, whatever the function says.
const TRACE: &str = "x-amzn-trace-id";

/// The response that a function's whole answer stands for.
pub(super) fn answer(payload: &Bytes) -> Result<Response, Malformed> {
    // A handler that streams, behind a URL that does not.
    if let Some((head, rest)) = split(payload) {
        let body = payload.slice(payload.len() - rest..);
        return Ok(head_of(head)?.with(Body::Whole(body)));
    }
    let value: Value = serde_json::from_slice(payload).map_err(|_| Malformed)?;
    match value {
        Value::Object(answer) if answer.contains_key("statusCode") => {
            let head = Head::read(&answer)?;
            Ok(head.with(Body::Whole(body(&answer)?)))
        }
        // A text is its own body; all other JSON goes on as the function wrote it.
        Value::String(text) => Ok(json_head().with(Body::Whole(Bytes::from(text)))),
        _ => Ok(json_head().with(Body::Whole(payload.clone()))),
    }
}

/// The head of a streamed response.
pub(super) fn head_of(prelude: &[u8]) -> Result<Head, Malformed> {
    let prelude: Map<String, Value> = serde_json::from_slice(prelude).map_err(|_| Malformed)?;
    Head::read(&prelude)
}

/// What stands before the separator, and how many bytes behind it.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], usize)> {
    // JSON has no such byte, so that this is one quick look through most answers.
    let first = bytes.iter().position(|byte| *byte == 0)?;
    let at = bytes[first..].windows(SEPARATOR.len()).position(|window| window == SEPARATOR)?;
    Some((&bytes[..first + at], bytes.len() - first - at - SEPARATOR.len()))
}

fn json_head() -> Head {
    Head {
        status: 200,
        headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
    }
}

/// Headers and cookies of one answer; AWS's own limit is on their bytes and not told. No client takes
/// more, and each costs something.
const HEADERS_MAX: usize = 500;

impl Head {
    /// `statusCode`, `headers` and `cookies`.
    fn read(answer: &Map<String, Value>) -> Result<Head, Malformed> {
        let size = |name: &str| match answer.get(name) {
            Some(Value::Object(headers)) => headers.len(),
            Some(Value::Array(cookies)) => cookies.len(),
            _ => 0,
        };
        if size("headers") + size("cookies") > HEADERS_MAX {
            return Err(Malformed);
        }
        let mut head = Head { status: status(answer.get("statusCode"))?, headers: Vec::new() };
        match answer.get("headers") {
            None | Some(Value::Null) => {}
            Some(Value::Object(headers)) => {
                for (name, value) in headers {
                    head.set(name, &text(value)?)?;
                }
            }
            Some(_) => return Err(Malformed),
        }
        match answer.get("cookies") {
            None | Some(Value::Null) => {}
            Some(Value::Array(cookies)) => {
                for cookie in cookies {
                    head.headers.push((SET_COOKIE, header_value(&text(cookie)?)?));
                }
            }
            Some(_) => return Err(Malformed),
        }
        if !head.headers.iter().any(|(name, _)| name == CONTENT_TYPE) {
            head.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        Ok(head)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Malformed> {
        let mut name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Malformed)?;
        if REMAPPED.contains(&name.as_str()) || name.as_str() == TRACE {
            let remapped = format!("x-amzn-remapped-{name}");
            name = HeaderName::from_bytes(remapped.as_bytes()).map_err(|_| Malformed)?;
        }
        // Two spellings of one name are one header.
        self.headers.retain(|(have, _)| *have != name);
        self.headers.push((name, header_value(value)?));
        Ok(())
    }

    /// The response with this body.
    pub(super) fn with(self, body: Body) -> Response {
        Response { status: self.status, headers: self.headers, body }
    }
}

/// A number, or a text that is one; 200 in the prelude of a stream that names none.
fn status(value: Option<&Value>) -> Result<u16, Malformed> {
    let number = match value {
        None | Some(Value::Null) => 200.0,
        Some(Value::Number(number)) => number.as_f64().ok_or(Malformed)?,
        Some(Value::String(text)) => text.trim().parse::<u16>().map_err(|_| Malformed)?.into(),
        Some(_) => return Err(Malformed),
    };
    // What begins with 1 announces another response, and there is none.
    if number.fract() != 0.0 || !(200.0..600.0).contains(&number) {
        return Err(Malformed);
    }
    Ok(number as u16)
}

fn text(value: &Value) -> Result<Cow<'_, str>, Malformed> {
    match value {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Number(_) | Value::Bool(_) => Ok(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(Malformed),
    }
}

fn header_value(text: &str) -> Result<HeaderValue, Malformed> {
    HeaderValue::from_bytes(text.trim().as_bytes()).map_err(|_| Malformed)
}

/// `body`, as `isBase64Encoded` says.
fn body(answer: &Map<String, Value>) -> Result<Bytes, Malformed> {
    let is_base64 = answer.get("isBase64Encoded") == Some(&Value::Bool(true));
    match answer.get("body") {
        None | Some(Value::Null) => Ok(Bytes::new()),
        Some(Value::String(text)) if is_base64 => {
            STANDARD.decode(text).map(Bytes::from).map_err(|_| Malformed)
        }
        Some(Value::String(text)) => Ok(Bytes::from(text.clone())),
        Some(other) => Ok(Bytes::from(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    type Seen = (u16, Vec<(String, String)>, String);

    /// Status, headers and body as text; `None` for what is malformed.
    fn check(payload: &str) -> Option<Seen> {
        let response = answer(&Bytes::copy_from_slice(payload.as_bytes())).ok()?;
        let headers = response.headers.iter().map(|(name, value)| {
            (name.to_string(), String::from_utf8(value.as_bytes().to_vec()).unwrap())
        });
        let body = response.body.whole().unwrap();
        Some((response.status, headers.collect(), String::from_utf8_lossy(body).into_owned()))
    }

    fn of(value: &Value) -> Option<Seen> {
        check(&value.to_string())
    }

    fn header(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn headers_and_cookies_have_a_limit_together() {
        let with = |headers: usize, cookies: usize| {
            let all: Map<String, Value> =
                (0..headers).map(|number| (format!("h{number}"), json!("v"))).collect();
            of(&json!({"statusCode": 200, "headers": all, "cookies": vec!["a=b"; cookies]}))
        };
        assert!(with(HEADERS_MAX - 1, 1).is_some());
        assert!(with(HEADERS_MAX, 1).is_none() && with(0, HEADERS_MAX + 1).is_none());
        assert!(with(600_000, 0).is_none());
    }

    #[test]
    fn without_a_status_it_is_the_body() {
        let json = vec![header("content-type", "application/json")];
        for (payload, body) in [
            (r#"{"hello":  "world"}"#, r#"{"hello":  "world"}"#),
            (r#"["hello",3,true]"#, r#"["hello",3,true]"#),
            (r#""hello""#, "hello"),
            ("3.10", "3.10"),
            ("true", "true"),
            ("null", "null"),
            (r#"{"body": "b", "headers": {}}"#, r#"{"body": "b", "headers": {}}"#),
        ] {
            assert_eq!(check(payload), Some((200, json.clone(), body.to_owned())), "{payload}");
        }
        assert_eq!(check("not json"), None);
        assert_eq!(check(""), None);
    }

    #[test]
    fn with_a_status_it_is_a_response() {
        let value = json!({
            "statusCode": 201,
            "headers": {"Content-Type": "text/html", "My-Custom-Header": "Custom Value", "X-N": 7},
            "cookies": ["Cookie_1=Value1; Expires=21 Oct 2021 07:48 GMT", "Cookie_2=Value2"],
            "body": "<p>",
            "isBase64Encoded": false,
        });
        let headers = vec![
            header("content-type", "text/html"),
            header("my-custom-header", "Custom Value"),
            header("x-n", "7"),
            header("set-cookie", "Cookie_1=Value1; Expires=21 Oct 2021 07:48 GMT"),
            header("set-cookie", "Cookie_2=Value2"),
        ];
        let (status, mut got, body) = of(&value).unwrap();
        got[..3].sort();
        assert_eq!((status, got, body.as_str()), (201, headers, "<p>"));
        assert_eq!(of(&json!({"statusCode": "418", "body": "tea"})).unwrap().0, 418);
        assert_eq!(of(&json!({"statusCode": 204.0})).unwrap().0, 204);
        assert_eq!(of(&json!({"statusCode": 200, "body": {"a": 1}})).unwrap().2, r#"{"a":1}"#);
        assert_eq!(of(&json!({"statusCode": 200, "body": null})).unwrap().2, "");
        let encoded = json!({"statusCode": 200, "body": "aGk=", "isBase64Encoded": true});
        assert_eq!(of(&encoded).unwrap().2, "hi");
        assert_eq!(of(&json!({"statusCode": null, "body": "b"})).unwrap().0, 200);
    }

    #[test]
    fn what_is_no_response() {
        for value in [
            json!({"statusCode": 99}),
            json!({"statusCode": 101}),
            json!({"statusCode": 600}),
            json!({"statusCode": 200.5}),
            json!({"statusCode": "ok"}),
            json!({"statusCode": true}),
            json!({"statusCode": 200, "headers": []}),
            json!({"statusCode": 200, "headers": {"a b": "c"}}),
            json!({"statusCode": 200, "headers": {"": "c"}}),
            json!({"statusCode": 200, "headers": {"a": "b\r\nc: d"}}),
            json!({"statusCode": 200, "headers": {"a": ["b"]}}),
            json!({"statusCode": 200, "headers": {"a": null}}),
            json!({"statusCode": 200, "cookies": "a=b"}),
            json!({"statusCode": 200, "cookies": ["a\nb"]}),
            json!({"statusCode": 200, "body": "?", "isBase64Encoded": true}),
        ] {
            assert_eq!(of(&value), None, "{value}");
        }
    }

    #[test]
    fn headers_that_are_not_the_function_s() {
        let value = json!({"statusCode": 200, "headers": {
            "Content-Length": "999", "Transfer-Encoding": "chunked", "WWW-Authenticate": "Basic",
            "X-Amzn-Trace-Id": "mine", "content-type": "a/b",
        }});
        let (_, mut headers, _) = of(&value).unwrap();
        headers.sort();
        let expected = vec![
            header("content-type", "a/b"),
            header("x-amzn-remapped-content-length", "999"),
            header("x-amzn-remapped-transfer-encoding", "chunked"),
            header("x-amzn-remapped-www-authenticate", "Basic"),
            header("x-amzn-remapped-x-amzn-trace-id", "mine"),
        ];
        assert_eq!(headers, expected);
        let twice = check(r#"{"statusCode": 200, "headers": {"X-A": "1", "x-a": "2"}}"#).unwrap();
        assert_eq!(twice.1.iter().filter(|(name, _)| name == "x-a").count(), 1);
    }

    #[test]
    fn a_gathered_stream_with_a_prelude() {
        let payload = "{\"statusCode\":418,\"headers\":{\"x-a\":\"b\"}}\0\0\0\0\0\0\0\0tea\0";
        let (status, headers, body) = check(payload).unwrap();
        assert_eq!((status, body.as_str()), (418, "tea\0"));
        assert!(headers.contains(&header("x-a", "b")));
        assert_eq!(check("{}\0\0\0\0\0\0\0\0").unwrap().0, 200);
        assert_eq!(check("[]\0\0\0\0\0\0\0\0x"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = answer(&Bytes::from(bytes));
        }

        #[test]
        fn nothing_gets_out_of_a_header(
            status in prop_oneof![any::<i64>().prop_map(Value::from), "[0-9]{1,4}".prop_map(Value::from)],
            name in "\\PC{0,12}",
            value in "[\\x00-\\x7f]{0,12}",
            cookie in "[\\x00-\\x7f]{0,12}",
            body in "\\PC{0,20}",
        ) {
            let mut headers = Map::new();
            headers.insert(name, json!(value));
            let given = json!({
                "statusCode": status, "headers": headers, "cookies": [cookie], "body": body,
            });
            if let Ok(response) = answer(&Bytes::from(given.to_string())) {
                prop_assert!((200..600).contains(&response.status));
                for (name, value) in &response.headers {
                    prop_assert!(!REMAPPED.contains(&name.as_str()));
                    prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
                }
                prop_assert_eq!(response.body.whole().unwrap(), &Bytes::from(body));
            }
        }
    }
}
