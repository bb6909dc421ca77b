//! Whatever a stranger sends, the decoders answer; they do not panic.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use lambic_wire::sigv4::{self, Claim, Kind, PayloadForm, SigningKey};
use lambic_wire::tree::Tree;
use lambic_wire::{Arn, Request, Timestamp, chunked, paging, route, uri};
use proptest::prelude::*;

fn request(path: &str, query: &str, authorization: &str, date: &str, body: &[u8]) -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in [("authorization", authorization), ("x-amz-date", date)] {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(name, value);
        }
    }
    Request {
        method: Method::GET,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: Bytes::copy_from_slice(body),
    }
}

proptest! {
    #[test]
    fn trees(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Tree::parse(&body);
    }

    #[test]
    fn near_json(body in r#"[\[\]{}",:0-9a\\u\-.eE ntrf]{0,60}"#) {
        let _ = Tree::parse(body.as_bytes());
    }

    #[test]
    fn texts(text in any::<String>()) {
        let _ = text.parse::<Arn>();
        let _ = Timestamp::from_text(&text);
        let _ = Timestamp::from_basic_text(&text);
        let _ = paging::decode(&text);
        let _ = uri::decode(&text);
        let _ = uri::query_value(&text, "a");
        let _ = route::find::<u8>(&[], &Method::GET, &text, &text);
    }

    #[test]
    fn times(text in "[0-9]{1,4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.0-9Z+:-]{0,8}") {
        let _ = Timestamp::from_text(&text);
    }

    #[test]
    fn every_timestamp_survives_its_text(epoch_ms in -62_000_000_000_000_i64..250_000_000_000_000) {
        let moment = Timestamp { epoch_ms };
        prop_assert_eq!(Timestamp::from_text(&moment.to_iso_text()), Some(moment));
    }

    #[test]
    fn authorizations(
        path in any::<String>(),
        query in any::<String>(),
        authorization in "AWS4-HMAC-SHA256 [ -~]{0,80}",
        date in "[0-9TZé]{0,17}",
    ) {
        let request = request(&path, &query, &authorization, &date, b"");
        if let Ok(Some(claim)) = sigv4::parse(&request) {
            let _ = sigv4::verify(&request, &claim, "secret", 0);
        }
    }

    #[test]
    fn well_formed_claims(
        path in any::<String>(),
        query in any::<String>(),
        scope in "[a-zé]{0,4}/20261120/[a-z0-9]{0,4}/(s3|lambda)/aws4_request",
        headers in "(;|host|é| ){1,8}",
        signature in "[0-9a-fé]{0,65}",
    ) {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;{headers}, \
             Signature={signature}"
        );
        let request = request(&path, &query, &authorization, "20261120T213000Z", b"");
        if let Ok(Some(claim)) = sigv4::parse(&request) {
            prop_assert!(sigv4::verify(&request, &claim, "secret", 1_795_210_200).is_err());
        }
    }

    #[test]
    fn presigned(query in "(X-Amz-(Algorithm|Credential|Date|Expires|Signature|SignedHeaders)=[%/a-z0-9A-Z-]{0,20}&){0,7}") {
        let request = request("/", &query, "", "", b"");
        let _ = sigv4::parse(&request);
        let _ = sigv4::v2::parse(&request);
    }

    #[test]
    fn chunks(body in r"([0-9a-f]{0,3}(;chunk-signature=[0-9a-f]{0,4})?\r\n[a-z:]{0,9}\r\n){0,4}") {
        let claim = Claim {
            access_key_id: String::new(),
            timestamp: "20261120T213000Z".into(),
            date: "20261120".into(),
            region: "r".into(),
            service: "s3".into(),
            signed_headers: Vec::new(),
            signature: String::new(),
            session_token: None,
            kind: Kind::Header,
        };
        let key = SigningKey::derive("secret", "20261120", "r", "s3");
        let body = Bytes::from(body);
        let signer = chunked::Signer { claim: &claim, key: &key };
        for form in [PayloadForm::Chunks, PayloadForm::ChunksTrailer, PayloadForm::UnsignedTrailer] {
            let _ = chunked::decode(&body, form, None);
            let _ = chunked::decode(&body, form, Some(signer));
        }
    }
}
