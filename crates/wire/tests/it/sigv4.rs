//! Signature Version 4 against vectors: AWS's published test suite (`sigv4-suite.json`; key
//! `AKIDEXAMPLE`, 2015-08-30T12:36:00Z, us-east-1, service `service`) and requests signed by
//! botocore 1.43 (`sigv4-botocore.json`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use lambic_wire::sigv4::{self, Credentials, Kind};
use lambic_wire::{Error, Request};
use serde::Deserialize;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW_EPOCH_S: i64 = 1_795_210_200;

#[derive(Deserialize)]
struct SuiteCase {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    signed: String,
    body: String,
    signature: String,
}

#[derive(Deserialize)]
struct BotocoreCase {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    access_key_id: String,
    secret: String,
    session_token: Option<String>,
    region: String,
    service: String,
    now_epoch_s: i64,
}

fn request(
    method: &str,
    path: &str,
    query: &str,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> Request {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    Request {
        method: method.parse().unwrap(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: map,
        body: Bytes::from(body),
    }
}

#[test]
fn the_published_suite_is_verified() {
    let cases: Vec<SuiteCase> =
        serde_json::from_str(include_str!("../data/sigv4-suite.json")).unwrap();
    for case in cases {
        let mut headers = case.headers.clone();
        headers.push(("Host".into(), "example.amazonaws.com".into()));
        headers.push(("X-Amz-Date".into(), "20150830T123600Z".into()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={}, Signature={}",
            case.signed, case.signature
        );
        headers.push(("Authorization".into(), authorization));
        let body = case.body.clone().into_bytes();
        let request = request(&case.method, &case.path, &case.query, &headers, body);
        let claim = sigv4::parse(&request).unwrap().unwrap();
        let verified = sigv4::verify(&request, &claim, SECRET, 1_440_938_160);
        assert_eq!(verified, Ok(()), "{}", case.name);
    }
}

#[test]
fn what_botocore_signs_is_verified() {
    let cases: Vec<BotocoreCase> =
        serde_json::from_str(include_str!("../data/sigv4-botocore.json")).unwrap();
    for case in cases {
        let body = STANDARD.decode(&case.body).unwrap();
        let request = request(&case.method, &case.path, &case.query, &case.headers, body);
        let claim = sigv4::parse(&request).unwrap().unwrap();
        assert_eq!(claim.access_key_id, case.access_key_id, "{}", case.name);
        assert_eq!(claim.session_token, case.session_token, "{}", case.name);
        assert_eq!((&claim.region, &claim.service), (&case.region, &case.service), "{}", case.name);
        let verified = sigv4::verify(&request, &claim, &case.secret, case.now_epoch_s);
        assert_eq!(verified, Ok(()), "{}", case.name);
        let refused = sigv4::verify(&request, &claim, "another secret", case.now_epoch_s);
        assert_eq!(refused, Err(sigv4::errors::mismatch()), "{}", case.name);
    }
}

fn plain() -> Request {
    let headers = [("Host".to_owned(), "127.0.0.1:4566".to_owned())];
    request("POST", "/2015-03-31/functions/a%3Ab/x", "Q=1&P=a%20b", &headers, b"{}".to_vec())
}

fn credentials() -> Credentials {
    Credentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: SECRET.into(),
        session_token: Some("to/ken".into()),
    }
}

fn signed() -> Request {
    let mut request = plain();
    sigv4::sign(&mut request, &credentials(), "eu-west-1", "lambda", NOW_EPOCH_S);
    request
}

fn presigned() -> Request {
    let mut request = plain();
    sigv4::presign(&mut request, &credentials(), "eu-west-1", "lambda", NOW_EPOCH_S, 600);
    request
}

fn verify(request: &Request, now_epoch_s: i64) -> Result<(), Error> {
    let claim = sigv4::parse(request)?.expect("signed");
    sigv4::verify(request, &claim, SECRET, now_epoch_s)
}

#[test]
fn what_we_sign_we_verify() {
    assert_eq!(verify(&signed(), NOW_EPOCH_S), Ok(()));
    assert_eq!(verify(&presigned(), NOW_EPOCH_S), Ok(()));
    let claim = sigv4::parse(&presigned()).unwrap().unwrap();
    assert_eq!(claim.kind, Kind::Presigned { expires_s: 600 });
    assert_eq!(claim.session_token.as_deref(), Some("to/ken"));
    assert!(sigv4::parse(&plain()).unwrap().is_none());
}

#[test]
fn whatever_is_changed_is_noticed() {
    let changes: [fn(&mut Request); 6] = [
        |request| request.method = Method::PUT,
        |request| request.path.push('y'),
        |request| request.query.push_str("&R=1"),
        |request| request.body = Bytes::from_static(b"{} "),
        |request| {
            request.headers.insert("host", HeaderValue::from_static("other"));
        },
        |request| {
            request.headers.insert("x-amz-security-token", HeaderValue::from_static("other"));
        },
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut request = signed();
        change(&mut request);
        let refused = verify(&request, NOW_EPOCH_S);
        assert_eq!(refused, Err(sigv4::errors::mismatch()), "change {index}");
    }
    let mut request = presigned();
    request.query = request.query.replace("Q=1", "Q=2");
    assert_eq!(verify(&request, NOW_EPOCH_S), Err(sigv4::errors::mismatch()));
}

#[track_caller]
fn check_message(result: Result<(), Error>, code: &str, message: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.code.as_ref(), error.status), (code, 403));
    assert_eq!(error.message, message);
}

#[test]
fn time_is_told_in_awss_words() {
    assert_eq!(verify(&signed(), NOW_EPOCH_S + 900), Ok(()));
    assert_eq!(verify(&signed(), NOW_EPOCH_S - 900), Ok(()));
    check_message(
        verify(&signed(), NOW_EPOCH_S + 901),
        "InvalidSignatureException",
        "Signature expired: 20261120T213000Z is now earlier than 20261120T213001Z \
         (20261120T214501Z - 15 min.)",
    );
    check_message(
        verify(&signed(), NOW_EPOCH_S - 901),
        "InvalidSignatureException",
        "Signature not yet current: 20261120T213000Z is still later than 20261120T212959Z \
         (20261120T211459Z + 15 min.)",
    );
    assert_eq!(verify(&presigned(), NOW_EPOCH_S + 600), Ok(()));
    assert!(verify(&presigned(), NOW_EPOCH_S + 601).is_err());
}

#[track_caller]
fn check_authorization(authorization: &str, code: &str, message: &str) {
    let mut request = signed();
    request.headers.insert("authorization", HeaderValue::from_str(authorization).unwrap());
    check_message(sigv4::parse(&request).map(|_| ()), code, message);
}

#[test]
fn malformed_headers_are_told_in_awss_words() {
    let incomplete = "IncompleteSignatureException";
    check_authorization(
        "Bearer abc",
        incomplete,
        "'abc' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer \
         abc'.",
    );
    check_authorization(
        "AWS4-HMAC-SHA256 Credential=a/20261120/r/s/aws4_request",
        incomplete,
        "Authorization header requires 'Signature' parameter. Authorization header requires \
         'SignedHeaders' parameter. Authorization=AWS4-HMAC-SHA256",
    );
    check_authorization(
        "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00",
        incomplete,
        "Credential must have exactly 5 slash-delimited elements, e.g. \
         keyid/date/region/service/term, got 'a/b'",
    );
    check_authorization(
        "AWS4-HMAC-SHA256 Credential=a/20261121/r/s/aws4_request, SignedHeaders=host, Signature=00",
        "InvalidSignatureException",
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
         HTTP: '20261121' != '20261120', from '20261120T213000Z'.",
    );
    check_authorization(
        "AWS4-HMAC-SHA256 Credential=a/20261120/r/s/aws4_request, SignedHeaders=a, Signature=00",
        "InvalidSignatureException",
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    );
}

#[test]
fn a_key_of_another_scope_is_refused() {
    let request = signed();
    let claim = sigv4::parse(&request).unwrap().unwrap();
    let key = sigv4::SigningKey::derive(SECRET, "20261120", "eu-west-2", "lambda");
    let refused = sigv4::verify_with_key(&request, &claim, &key, NOW_EPOCH_S);
    assert_eq!(refused, Err(sigv4::errors::mismatch()));
}
