//! Paths and queries: percent-encoding, query pairs, labels.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Most parameters read from one query.
pub const QUERY_PAIRS_MAX: usize = 1000;

/// Percent-encodes all but unreserved characters, with upper-case digits.
pub fn encode(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, RESERVED).into()
}

/// Percent-encodes bytes that may not be UTF-8.
pub fn encode_bytes(bytes: &[u8]) -> Cow<'_, str> {
    percent_encoding::percent_encode(bytes, RESERVED).into()
}

/// Decodes percent-encoding; `None` when the result is not UTF-8.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(text).decode_utf8().ok()
}

/// Decodes one name or value of a query, where `+` is a space.
pub fn decode_query(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return decode(text);
    }
    decode(&text.replace('+', " ")).map(|decoded| Cow::Owned(decoded.into_owned()))
}

/// The raw pairs of a query in order: `a=1&b` gives `("a","1")`, `("b","")`. Empty pieces are
/// left out, and so is what comes after [`QUERY_PAIRS_MAX`] pairs.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|piece| !piece.is_empty())
        .take(QUERY_PAIRS_MAX)
        .map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

/// The first decoded value of a query's parameter.
pub fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let found = query_pairs(query).find(|(have, _)| decode_query(have).as_deref() == Some(name));
    found.and_then(|(_, value)| decode_query(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_decoding() {
        let pairs: Vec<_> = query_pairs("a=1&&b&c=x=y").collect();
        assert_eq!(pairs, [("a", "1"), ("b", ""), ("c", "x=y")]);
        assert_eq!(query_value("tag=a+b%2Bc", "tag").as_deref(), Some("a b+c"));
        assert_eq!(decode("arn%3Aaws").as_deref(), Some("arn:aws"));
        assert_eq!(decode("%ff"), None);
        assert_eq!(encode("a b/~é"), "a%20b%2F~%C3%A9");
    }
}
