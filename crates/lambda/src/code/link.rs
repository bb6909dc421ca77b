//! The link by which GetFunction lets a package be downloaded, good for ten minutes.
//!
//! `GET /_lambic/code/<sha256>?expires=<epoch seconds>&signature=<hexadecimal>`: what is signed is
//! the digest and the end of validity, so a link gives one package and nothing else.

use hmac::{Hmac, Mac};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use lambic_front::{BoxFuture, InternalCall, InternalReply, InternalRoute, ReplyContent};
use lambic_rt::{Rt, Timestamp};
use lambic_store::{BlobError, Digest, Store};
use lambic_wire::{Error, Request};
use sha2::Sha256;

use crate::limits::CODE_LINK_S;
use crate::state::code_link_secret::CodeLinkSecret;

const PREFIX: &str = "/_lambic/code/";

/// Makes links and serves them.
pub struct CodeLinks {
    secret: CodeLinkSecret,
    store: Store,
    rt: Rt,
}

impl CodeLinks {
    /// Links to the blobs of `store`, signed with `secret`.
    pub fn new(secret: CodeLinkSecret, store: Store, rt: Rt) -> CodeLinks {
        CodeLinks { secret, store, rt }
    }

    /// A link to the package, valid for ten minutes from now. `endpoint` is `http://host:port`.
    pub fn link(&self, endpoint: &str, package: &Digest) -> String {
        let expires = self.rt.now().seconds() + CODE_LINK_S;
        let signature = hex(&self.mac(package, expires).finalize().into_bytes());
        format!("{endpoint}{PREFIX}{package}?expires={expires}&signature={signature}")
    }

    /// Which package a link is for, if it is ours and still valid at `now`.
    fn verify(&self, path: &str, query: &str, now: Timestamp) -> Result<Digest, Error> {
        let digest = path.strip_prefix(PREFIX).and_then(|text| text.parse::<Digest>().ok());
        let digest = digest.ok_or_else(no_such_package)?;
        let (mut expires, mut signature) = (None, None);
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("expires", value)) => expires = value.parse::<i64>().ok(),
                Some(("signature", value)) => signature = unhex(value),
                _ => {}
            }
        }
        let (Some(expires), Some(signature)) = (expires, signature) else {
            return Err(denied("The link is not signed."));
        };
        // Compares in constant time.
        if self.mac(&digest, expires).verify_slice(&signature).is_err() {
            return Err(denied("The link's signature does not match."));
        }
        if now.seconds() >= expires {
            return Err(denied("Request has expired"));
        }
        Ok(digest)
    }

    fn mac(&self, package: &Digest, expires: i64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret.bytes)
            .expect("a key of any length is fine");
        mac.update(format!("code\n{package}\n{expires}").as_bytes());
        mac
    }

    async fn download(&self, request: &Request) -> Result<InternalReply, Error> {
        if request.method != Method::GET && request.method != Method::HEAD {
            return Err(Error::new("MethodNotAllowed", 405, "Only GET is allowed here."));
        }
        let digest = self.verify(&request.path, &request.query, self.rt.now())?;
        let file = self.store.blobs().open_file(&digest).await.map_err(|error| match error {
            BlobError::Missing => no_such_package(),
            error => {
                tracing::error!(%error, "a package could not be read");
                Error::internal("The deployment package could not be read.")
            }
        })?;
        let length = file.metadata().map(|metadata| metadata.len()).map_err(|error| {
            tracing::error!(%error, "a package could not be measured");
            Error::internal("The deployment package could not be read.")
        })?;
        let content_type = HeaderValue::from_static("application/zip");
        Ok(InternalReply {
            status: 200,
            headers: vec![(CONTENT_TYPE, content_type)],
            content: ReplyContent::File { file, length },
        })
    }
}

impl InternalRoute for CodeLinks {
    fn prefix(&self) -> &'static str {
        PREFIX
    }

    fn handle<'a>(
        &'a self,
        _call: &'a InternalCall,
        request: Request,
    ) -> BoxFuture<'a, Result<InternalReply, Error>> {
        Box::pin(async move { self.download(&request).await })
    }
}

fn denied(message: &str) -> Error {
    Error::new("AccessDenied", 403, message)
}

fn no_such_package() -> Error {
    Error::new("NoSuchKey", 404, "The specified key does not exist.")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn links() -> CodeLinks {
        let rt = Rt::real();
        let store = Store::in_memory(rt.clone()).unwrap();
        CodeLinks::new(CodeLinkSecret { bytes: [7; 32] }, store, rt)
    }

    #[tokio::test]
    async fn a_link_is_good_for_ten_minutes_and_for_one_package() {
        let links = links();
        let digest = Digest::of(b"zip");
        let link = links.link("http://127.0.0.1:4566", &digest);
        let rest = link.strip_prefix("http://127.0.0.1:4566").unwrap();
        let (path, query) = rest.split_once('?').unwrap();
        let now = links.rt.now();
        let check = |path: &str, query: &str, now: Timestamp| {
            links.verify(path, query, now).map_err(|error| error.status)
        };
        assert_eq!(check(path, query, now), Ok(digest));
        assert_eq!(check(path, query, now.after(Duration::from_secs(601))), Err(403));
        let other = format!("{PREFIX}{}", Digest::of(b"other"));
        assert_eq!(check(&other, query, now), Err(403));
        let longer = query.replacen("expires=1", "expires=2", 1);
        assert_eq!(check(path, &longer, now), Err(403));
        assert_eq!(check(path, "", now), Err(403));
        assert_eq!(check("/_lambic/code/../../etc/passwd", query, now), Err(404));
    }
}
