//! Every offered operation's decoder against any body, and the router against any path.
//!
//! The input's first line is path and query, the second a header value, the rest the body.

#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use lambic_model_lambda::{Op, Routed, ops, route};
use lambic_wire::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let target = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let header = lines.next().unwrap_or_default();
    let body = lines.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(header) {
        headers.insert("x-amz-invocation-type", value);
    }
    let request = Request {
        method: Method::POST,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Bytes::copy_from_slice(body),
    };
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
        if let Routed::Op(op, labels) = route(&method, path, query) {
            let _ = ops::decode_any(op, &request, &labels);
        }
    }
    let labels = vec![("FunctionName", path.to_owned())];
    for op in Op::OFFERED {
        let _ = ops::decode_any(*op, &request, &labels);
    }
});
