//! aws-chunked bodies: chunks inside the body, each with its size and, in the signed forms, a
//! signature that carries on from the one before.
//!
//! The reference is "Signature Calculations for the Authorization Header: Transferring Payload in
//! Multiple Chunks" of the S3 API reference, and its sequel on trailers.

use bytes::{Bytes, BytesMut};

use crate::error::Error;
use crate::sigv4::sha256_hex;
use crate::sigv4::{Claim, PayloadForm, SigningKey, errors};

/// The longest line between two chunks, in bytes.
const LINE_BYTES_MAX: usize = 4096;

/// Most trailers of one body.
const TRAILERS_MAX: usize = 20;

/// A body without its chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The payload.
    pub body: Bytes,
    /// Trailers in order, names in lower case, without the trailers' signature.
    pub trailers: Vec<(String, String)>,
}

/// What signed chunks are verified against.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'c> {
    /// The verified claim of the request's head.
    pub claim: &'c Claim,
    /// Its key.
    pub key: &'c SigningKey,
}

/// Takes the chunks apart. Without a signer, signatures are skipped over; that is for callers who
/// believe everybody.
///
/// # Errors
/// `IncompleteBody` 400 for a malformed body, `InvalidSignatureException` 403 for a chunk or
/// trailer that does not agree with its signature.
pub fn decode(
    body: &Bytes,
    form: PayloadForm,
    signer: Option<Signer<'_>>,
) -> Result<Decoded, Error> {
    let (signed, with_trailers) = match form {
        PayloadForm::Chunks => (true, false),
        PayloadForm::ChunksTrailer => (true, true),
        PayloadForm::UnsignedTrailer => (false, true),
        PayloadForm::Signed | PayloadForm::Unsigned => {
            return Ok(Decoded { body: body.clone(), trailers: Vec::new() });
        }
    };
    let mut chain = signer.filter(|_| signed).map(Chain::start);
    let mut rest = Cursor { body, at: 0 };
    let payload = chunks(&mut rest, signed, chain.as_mut())?;
    let trailers = if with_trailers { trailers(&mut rest, chain.as_mut())? } else { Vec::new() };
    Ok(Decoded { body: payload, trailers })
}

fn chunks(
    rest: &mut Cursor<'_>,
    signed: bool,
    mut chain: Option<&mut Chain<'_>>,
) -> Result<Bytes, Error> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let line = rest.line()?;
        let (size, signature) = head(line, signed)?;
        let data = rest.take(size)?;
        if let Some(chain) = chain.as_deref_mut() {
            chain.check_chunk(&data, signature)?;
        }
        if size == 0 {
            break;
        }
        rest.expect_line_end()?;
        // A single chunk, the usual case, is handed on without a copy.
        if first.is_empty() && joined.is_empty() {
            first = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// `400;chunk-signature=ab12…` or, unsigned, `400`.
fn head(line: &str, signed: bool) -> Result<(usize, &str), Error> {
    let (size, extension) = line.split_once(';').unwrap_or((line, ""));
    let size = size.trim();
    if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let size = usize::from_str_radix(size, 16).map_err(|_| malformed())?;
    let signature = extension.trim().strip_prefix("chunk-signature=").unwrap_or("");
    if signed && signature.is_empty() {
        return Err(malformed());
    }
    Ok((size, signature))
}

fn trailers(
    rest: &mut Cursor<'_>,
    chain: Option<&mut Chain<'_>>,
) -> Result<Vec<(String, String)>, Error> {
    let mut trailers = Vec::new();
    let mut signature = String::new();
    while !rest.at_end() {
        let line = rest.line()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        if name == "x-amz-trailer-signature" {
            signature = value;
        } else {
            trailers.push((name, value));
        }
        if trailers.len() > TRAILERS_MAX {
            return Err(malformed());
        }
    }
    if let Some(chain) = chain {
        chain.check_trailers(&trailers, &signature)?;
    }
    Ok(trailers)
}

/// The chain of signatures: each is made over the one before.
struct Chain<'c> {
    signer: Signer<'c>,
    previous: String,
}

impl<'c> Chain<'c> {
    fn start(signer: Signer<'c>) -> Chain<'c> {
        Chain { signer, previous: signer.claim.signature.clone() }
    }

    fn check_chunk(&mut self, data: &[u8], signature: &str) -> Result<(), Error> {
        let hashes = format!("{}\n{}", sha256_hex(b""), sha256_hex(data));
        self.check("AWS4-HMAC-SHA256-PAYLOAD", &hashes, signature)
    }

    fn check_trailers(
        &mut self,
        trailers: &[(String, String)],
        signature: &str,
    ) -> Result<(), Error> {
        let text: String =
            trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        self.check("AWS4-HMAC-SHA256-TRAILER", &sha256_hex(text.as_bytes()), signature)
    }

    fn check(&mut self, word: &str, hashes: &str, signature: &str) -> Result<(), Error> {
        let Claim { timestamp, .. } = self.signer.claim;
        let scope = self.signer.key.scope();
        let text = format!("{word}\n{timestamp}\n{scope}\n{}\n{hashes}", self.previous);
        if !self.signer.key.agrees(&text, signature) {
            return Err(errors::mismatch());
        }
        self.previous = signature.to_owned();
        Ok(())
    }
}

struct Cursor<'b> {
    body: &'b Bytes,
    at: usize,
}

impl<'b> Cursor<'b> {
    fn at_end(&self) -> bool {
        self.at >= self.body.len()
    }

    /// The next line without its end.
    fn line(&mut self) -> Result<&'b str, Error> {
        let rest = &self.body[self.at..];
        let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
        let end = window.iter().position(|byte| *byte == b'\n').ok_or_else(malformed)?;
        self.at += end + 1;
        let line = &rest[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        std::str::from_utf8(line).map_err(|_| malformed())
    }

    fn take(&mut self, size: usize) -> Result<Bytes, Error> {
        let end = self.at.checked_add(size).filter(|end| *end <= self.body.len());
        let end = end.ok_or_else(malformed)?;
        let data = self.body.slice(self.at..end);
        self.at = end;
        Ok(data)
    }

    fn expect_line_end(&mut self) -> Result<(), Error> {
        if self.line()?.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}

fn malformed() -> Error {
    Error::new(
        "IncompleteBody",
        400,
        "The request body terminated unexpectedly or is not in the aws-chunked form",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::Kind;

    /// The worked example of AWS's documentation: 66,560 letters in two chunks.
    fn documented() -> (Claim, SigningKey, Vec<u8>) {
        let key = SigningKey::derive(
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "20130524",
            "us-east-1",
            "s3",
        );
        let claim = Claim {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            timestamp: "20130524T000000Z".into(),
            date: "20130524".into(),
            region: "us-east-1".into(),
            service: "s3".into(),
            signed_headers: vec!["host".into()],
            signature: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".into(),
            session_token: None,
            kind: Kind::Header,
        };
        let mut body = Vec::new();
        for (size, signature) in [
            (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ] {
            body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
            body.extend_from_slice(&vec![b'a'; size]);
            body.extend_from_slice(b"\r\n");
        }
        (claim, key, body)
    }

    #[test]
    fn documented_example_is_verified() {
        let (claim, key, body) = documented();
        let signer = Signer { claim: &claim, key: &key };
        let decoded = decode(&Bytes::from(body), PayloadForm::Chunks, Some(signer)).unwrap();
        assert_eq!(decoded.body, vec![b'a'; 66560]);
    }

    #[test]
    fn a_changed_byte_is_refused() {
        let (claim, key, mut body) = documented();
        body[1000] = b'b';
        let signer = Signer { claim: &claim, key: &key };
        let error = decode(&Bytes::from(body.clone()), PayloadForm::Chunks, Some(signer));
        assert_eq!(error.unwrap_err().code, "InvalidSignatureException");
        body.truncate(500);
        let error = decode(&Bytes::from(body), PayloadForm::Chunks, Some(signer));
        assert_eq!(error.unwrap_err().code, "IncompleteBody");
    }

    #[test]
    fn signed_trailers_are_chained() {
        let (claim, key, _) = documented();
        let mut previous = claim.signature.clone();
        let mut sign = |word: &str, hashes: String| {
            let scope = key.scope();
            let stamp = &claim.timestamp;
            previous = key.sign(&format!("{word}\n{stamp}\n{scope}\n{previous}\n{hashes}"));
            previous.clone()
        };
        let empty = sha256_hex(b"");
        let chunk = sign("AWS4-HMAC-SHA256-PAYLOAD", format!("{empty}\n{}", sha256_hex(b"hello")));
        let last = sign("AWS4-HMAC-SHA256-PAYLOAD", format!("{empty}\n{empty}"));
        let trailer = sign("AWS4-HMAC-SHA256-TRAILER", sha256_hex(b"x-amz-checksum-crc32:abc=\n"));
        let body = format!(
            "5;chunk-signature={chunk}\r\nhello\r\n0;chunk-signature={last}\r\n\
             x-amz-checksum-crc32:abc=\r\nx-amz-trailer-signature:{trailer}\r\n\r\n"
        );
        let signer = Signer { claim: &claim, key: &key };
        let form = PayloadForm::ChunksTrailer;
        let decoded = decode(&Bytes::from(body.clone()), form, Some(signer)).unwrap();
        assert_eq!(decoded.body, "hello");
        assert_eq!(decoded.trailers, [("x-amz-checksum-crc32".to_owned(), "abc=".to_owned())]);
        let changed = body.replace("abc=", "abd=");
        assert!(decode(&Bytes::from(changed), form, Some(signer)).is_err());
        let cut = body.replace("x-amz-trailer-signature", "x-other");
        assert!(decode(&Bytes::from(cut), form, Some(signer)).is_err());
    }

    #[test]
    fn unsigned_chunks_with_trailers() {
        let body =
            Bytes::from_static(b"3\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32: 1\r\n\r\n");
        let decoded = decode(&body, PayloadForm::UnsignedTrailer, None).unwrap();
        assert_eq!(decoded.body, "abcde");
        assert_eq!(decoded.trailers.len(), 1);
        for bad in ["", "z\r\n", "5\r\nabc", "ffffffffffffffff\r\n", "+3\r\nabc\r\n0\r\n\r\n"] {
            assert!(
                decode(&Bytes::from(bad), PayloadForm::UnsignedTrailer, None).is_err(),
                "{bad}"
            );
        }
    }
}
