//! Parsing and verifying signatures, in the header and in the query.
//!
//! The input's lines are: path and query, the `Authorization` header, the date, the payload hash.

#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use lambic_wire::{Request, sigv4};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(5, |byte| *byte == b'\n');
    let target = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = HeaderMap::new();
    for name in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
        if let Some(value) = lines.next().and_then(|line| HeaderValue::from_bytes(line).ok()) {
            headers.insert(name, value);
        }
    }
    let request = Request {
        method: Method::GET,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Bytes::copy_from_slice(lines.next().unwrap_or_default()),
    };
    if let Ok(Some(claim)) = sigv4::parse(&request) {
        let now_epoch_s = lambic_wire::Timestamp::from_basic_text(&claim.timestamp)
            .map_or(0, |moment| moment.epoch_ms / 1000);
        let verified = sigv4::verify(&request, &claim, "nobody knows", now_epoch_s);
        assert!(verified.is_err(), "a signature was guessed");
    }
    let _ = sigv4::v2::parse(&request);
});
