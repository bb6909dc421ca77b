//! What botocore's serializer makes of every operation, once with the required members and once
//! with all: it finds its operation and its labels, and no decoder mistakes its form. (The values
//! are made up, so that most violate a constraint; that is not this test's matter.)

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use lambic_model_lambda::{Routed, ops, route};
use lambic_wire::Request;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    op: String,
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: String,
    labels: BTreeMap<String, String>,
}

#[test]
fn every_request_of_botocore_is_understood() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../data/botocore-requests.json")).unwrap();
    assert_eq!(cases.len(), 2 * 91);
    for case in cases {
        let mut headers = HeaderMap::new();
        for (name, value) in &case.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let request = Request {
            method: case.method.parse().unwrap(),
            path: case.path,
            query: case.query,
            headers,
            body: Bytes::from(case.body),
        };
        let routed = route(&request.method, &request.path, &request.query);
        let Routed::Op(op, labels) = routed else { panic!("{}: {routed:?}", case.op) };
        assert_eq!(op.name(), case.op);
        let found: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        assert_eq!(found, case.labels, "{}", case.op);
        if let Some(Err(error)) = ops::decode_any(op, &request, &labels) {
            assert_eq!(error.code, "ValidationException", "{}: {error}", case.op);
        }
    }
}
