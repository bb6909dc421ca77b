//! Reads the claim of a request, from its `Authorization` header or its query.

use crate::error::Error;
use crate::operation::Request;
use crate::timestamp::Timestamp;
use crate::uri;

use super::key::TERMINATOR;
use super::{ALGORITHM, Claim, EXPIRES_S_MAX, Kind, errors};

/// Most headers that one signature may name.
const SIGNED_HEADERS_MAX: usize = 100;

/// Seconds that a presigned address is good for when it does not say.
const EXPIRES_S_DEFAULT: u32 = 15 * 60;

/// Reads the claim of a request; `None` when it is not signed at all.
///
/// # Errors
/// `IncompleteSignatureException` and `InvalidSignatureException`, 403, when a signature is there
/// but malformed.
pub fn parse(request: &Request) -> Result<Option<Claim>, Error> {
    if let Some(value) = request.headers.get(http::header::AUTHORIZATION) {
        let text = value
            .to_str()
            .map_err(|_| errors::incomplete("The Authorization header is not readable text."))?;
        return header(request, text).map(Some);
    }
    if has_query(request, "X-Amz-Algorithm") || has_query(request, "X-Amz-Signature") {
        return presigned(request).map(Some);
    }
    Ok(None)
}

fn has_query(request: &Request, name: &str) -> bool {
    uri::query_value(&request.query, name).is_some()
}

fn header(request: &Request, text: &str) -> Result<Claim, Error> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let mut parts = Parts::default();
    for piece in rest.split(',').map(str::trim).filter(|piece| !piece.is_empty()) {
        let Some((name, value)) = piece.split_once('=') else {
            return Err(errors::incomplete(format!(
                "'{piece}' not a valid key=value pair (missing equal-sign) in Authorization \
                 header: '{text}'."
            )));
        };
        match name.trim() {
            "Credential" => parts.credential = Some(value.trim()),
            "SignedHeaders" => parts.signed_headers = Some(value.trim()),
            "Signature" => parts.signature = Some(value.trim()),
            _ => {}
        }
    }
    let timestamp = header_timestamp(request);
    let missing = parts.missing(timestamp.is_some());
    if !missing.is_empty() || scheme != ALGORITHM {
        return Err(errors::incomplete(format!("{missing}Authorization={scheme}")));
    }
    let token = request.header("x-amz-security-token").map(str::to_owned);
    claim(parts, timestamp.unwrap_or_default(), token, Kind::Header)
}

/// `X-Amz-Date`, or `Date` where it has the same form.
fn header_timestamp(request: &Request) -> Option<String> {
    let names = ["x-amz-date", "date"];
    names.iter().find_map(|name| request.header(name)).map(|text| text.trim().to_owned())
}

#[derive(Default)]
struct Parts<'t> {
    credential: Option<&'t str>,
    signed_headers: Option<&'t str>,
    signature: Option<&'t str>,
}

impl Parts<'_> {
    /// AWS's sentences for what is not there.
    fn missing(&self, has_date: bool) -> String {
        let mut text = String::new();
        for (value, name) in [
            (self.credential, "Credential"),
            (self.signature, "Signature"),
            (self.signed_headers, "SignedHeaders"),
        ] {
            if value.is_none_or(str::is_empty) {
                text.push_str(&format!("Authorization header requires '{name}' parameter. "));
            }
        }
        if !has_date {
            text.push_str(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' \
                 header. ",
            );
        }
        text
    }
}

fn presigned(request: &Request) -> Result<Claim, Error> {
    let value = |name: &str| uri::query_value(&request.query, name);
    let algorithm = value("X-Amz-Algorithm");
    let credential = value("X-Amz-Credential");
    let signature = value("X-Amz-Signature");
    let signed_headers = value("X-Amz-SignedHeaders");
    let timestamp = value("X-Amz-Date");
    let all = [&algorithm, &credential, &signature, &signed_headers, &timestamp];
    if all.iter().any(|part| part.as_deref().is_none_or(str::is_empty)) {
        return Err(errors::incomplete(
            "AWS query-string parameters must include 'X-Amz-Algorithm', 'X-Amz-Credential', \
             'X-Amz-Signature', 'X-Amz-SignedHeaders' and 'X-Amz-Date'. Re-examine the \
             query-string parameters.",
        ));
    }
    if algorithm.as_deref() != Some(ALGORITHM) {
        return Err(errors::incomplete(format!("X-Amz-Algorithm must be '{ALGORITHM}'.")));
    }
    let expires_s = match value("X-Amz-Expires").as_deref() {
        None => EXPIRES_S_DEFAULT,
        Some(text) => match text.parse() {
            Ok(seconds) if seconds <= EXPIRES_S_MAX => seconds,
            _ => {
                return Err(errors::incomplete(format!(
                    "X-Amz-Expires must be a number of seconds from 0 to {EXPIRES_S_MAX}."
                )));
            }
        },
    };
    let parts = Parts {
        credential: credential.as_deref(),
        signed_headers: signed_headers.as_deref(),
        signature: signature.as_deref(),
    };
    let token = value("X-Amz-Security-Token").map(|token| token.into_owned());
    let timestamp = timestamp.as_deref().unwrap_or_default().to_owned();
    claim(parts, timestamp, token, Kind::Presigned { expires_s })
}

fn claim(
    parts: Parts<'_>,
    timestamp: String,
    session_token: Option<String>,
    kind: Kind,
) -> Result<Claim, Error> {
    let credential = parts.credential.unwrap_or_default();
    // An access key id may hold slashes in no AWS account, so five parts it is.
    let pieces: Vec<&str> = credential.split('/').collect();
    let [access_key_id, date, region, service, terminator] = pieces[..] else {
        return Err(errors::incomplete(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. \
             keyid/date/region/service/term, got '{credential}'"
        )));
    };
    if terminator != TERMINATOR {
        return Err(errors::invalid(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}', not \
             '{terminator}'."
        )));
    }
    if Timestamp::from_basic_text(&timestamp).is_none() {
        return Err(errors::incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{timestamp}'. See \
             http://en.wikipedia.org/wiki/ISO_8601"
        )));
    }
    if !timestamp.starts_with(date) || date.len() != 8 {
        return Err(errors::invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
             HTTP: '{date}' != '{}', from '{timestamp}'.",
            &timestamp[..8]
        )));
    }
    let signed_headers: Vec<String> = parts
        .signed_headers
        .unwrap_or_default()
        .split(';')
        .take(SIGNED_HEADERS_MAX)
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    if !signed_headers.iter().any(|name| name == "host") {
        return Err(errors::invalid(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
        ));
    }
    Ok(Claim {
        access_key_id: access_key_id.to_owned(),
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        signed_headers,
        signature: parts.signature.unwrap_or_default().to_owned(),
        timestamp,
        session_token,
        kind,
    })
}
