//! The canonical request: the one text that signer and verifier make of the same request.

use http::HeaderMap;
use percent_encoding::percent_decode_str;

use crate::operation::Request;
use crate::uri;

/// The query parameter that is never part of what is signed.
const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// Writes the canonical request. `payload` is the payload's hash or the word that stands for it.
pub(super) fn request(
    request: &Request,
    service: &str,
    signed_headers: &[String],
    payload: &str,
) -> String {
    format!(
        "{}\n{}\n{}\n{}\n{}\n{payload}",
        request.method.as_str(),
        path(&request.path, service),
        query(&request.query),
        headers(&request.headers, signed_headers),
        signed_headers.join(";"),
    )
}

/// S3 signs the path as it is, encoded once. Every other service normalizes it and encodes what
/// is already encoded a second time, so that `%3A` becomes `%253A`.
fn path(raw: &str, service: &str) -> String {
    if is_s3(service) {
        let pieces: Vec<_> = raw
            .split('/')
            .map(|piece| {
                let plain: Vec<u8> = percent_decode_str(piece).collect();
                uri::encode_bytes(&plain).into_owned()
            })
            .collect();
        let path = pieces.join("/");
        return if path.is_empty() { "/".to_owned() } else { path };
    }
    let mut pieces: Vec<&str> = Vec::new();
    for piece in raw.split('/') {
        match piece {
            "" | "." => {}
            ".." => _ = pieces.pop(),
            other => pieces.push(other),
        }
    }
    let last_is_folder = matches!(raw.rsplit('/').next(), Some("" | "." | ".."));
    let mut path = String::with_capacity(raw.len() + 16);
    for piece in &pieces {
        path.push('/');
        path.push_str(&uri::encode(piece));
    }
    if pieces.is_empty() || last_is_folder {
        path.push('/');
    }
    path
}

pub(super) fn is_s3(service: &str) -> bool {
    matches!(service, "s3" | "s3-outposts" | "s3-object-lambda" | "s3express")
}

fn query(raw: &str) -> String {
    let mut pairs: Vec<(String, String)> = uri::query_pairs(raw)
        .map(|(name, value)| (recode(name), recode(value)))
        .filter(|(name, _)| name != SIGNATURE_PARAMETER)
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Decodes and encodes again, so that all spellings of a text become one.
fn recode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    let plain: Vec<u8> = percent_decode_str(&spaced).collect();
    uri::encode_bytes(&plain).into_owned()
}

fn headers(headers: &HeaderMap, signed: &[String]) -> String {
    let mut text = String::new();
    for name in signed {
        text.push_str(name);
        text.push(':');
        for (index, value) in headers.get_all(name.as_str()).iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            // Bytes beyond ASCII are signed as UTF-8 by all SDKs.
            let value = String::from_utf8_lossy(value.as_bytes());
            let words: Vec<&str> =
                value.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            text.push_str(&words.join(" "));
        }
        text.push('\n');
    }
    text
}
