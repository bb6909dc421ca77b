//! Signs requests: for the demo, the tests, and the links to code packages.

use http::{HeaderName, HeaderValue};

use crate::operation::Request;
use crate::timestamp::Timestamp;
use crate::uri;

use super::key::{SigningKey, sha256_hex, string_to_sign};
use super::{ALGORITHM, Credentials, canonical};

/// Signs a request in its headers (`X-Amz-Date`, `X-Amz-Security-Token`, `Authorization`). The
/// `Host` header must be set.
pub fn sign(
    request: &mut Request,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now_epoch_s: i64,
) {
    let timestamp = Timestamp::from_epoch_s(now_epoch_s).to_basic_text();
    request.headers.remove(http::header::AUTHORIZATION);
    set(request, "x-amz-date", &timestamp);
    if let Some(token) = &credentials.session_token {
        set(request, "x-amz-security-token", token);
    }
    let given = request.header("x-amz-content-sha256").map(str::to_owned);
    let payload = given.unwrap_or_else(|| sha256_hex(&request.body));
    let mut signed: Vec<String> = request
        .headers
        .keys()
        .map(|name| name.as_str().to_owned())
        .filter(|name| name == "host" || name == "content-type" || name.starts_with("x-amz-"))
        .collect();
    signed.sort();
    let key = SigningKey::derive(&credentials.secret_access_key, &timestamp[..8], region, service);
    let canonical = canonical::request(request, service, &signed, &payload);
    let signature = key.sign(&string_to_sign(&timestamp, key.scope(), &canonical));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
        credentials.access_key_id,
        key.scope(),
        signed.join(";"),
    );
    set(request, "authorization", &authorization);
}

/// Signs a request in its query, which then is good for `expires_s` seconds. The `Host` header
/// must be set; it is the only one that is signed.
pub fn presign(
    request: &mut Request,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now_epoch_s: i64,
    expires_s: u32,
) {
    let timestamp = Timestamp::from_epoch_s(now_epoch_s).to_basic_text();
    let key = SigningKey::derive(&credentials.secret_access_key, &timestamp[..8], region, service);
    let credential = format!("{}/{}", credentials.access_key_id, key.scope());
    add(request, "X-Amz-Algorithm", ALGORITHM);
    add(request, "X-Amz-Credential", &credential);
    add(request, "X-Amz-Date", &timestamp);
    add(request, "X-Amz-Expires", &expires_s.to_string());
    add(request, "X-Amz-SignedHeaders", "host");
    if let Some(token) = &credentials.session_token {
        add(request, "X-Amz-Security-Token", token);
    }
    let payload = if canonical::is_s3(service) {
        "UNSIGNED-PAYLOAD".to_owned()
    } else {
        sha256_hex(&request.body)
    };
    let canonical = canonical::request(request, service, &["host".to_owned()], &payload);
    let signature = key.sign(&string_to_sign(&timestamp, key.scope(), &canonical));
    add(request, "X-Amz-Signature", &signature);
}

/// A value that cannot stand in a header is left out; the signature is then refused.
fn set(request: &mut Request, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        request.headers.insert(HeaderName::from_static(name), value);
    }
}

fn add(request: &mut Request, name: &str, value: &str) {
    if !request.query.is_empty() {
        request.query.push('&');
    }
    request.query.push_str(name);
    request.query.push('=');
    request.query.push_str(&uri::encode(value));
}
