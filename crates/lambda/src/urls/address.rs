//! Where the URLs of functions are: `http://<id>.lambda-url.<region>.localhost:4566/`.
//!
//! AWS's hosts end with `on.aws`. Ours end with `localhost` unless told otherwise, because browsers and
//! curl take every name below it for this machine without asking anybody. Hosts of all three kinds are
//! answered wherever a request comes in: the name says which URL is meant, and nothing about who asks.

/// What a host says between its id and its region.
const LABEL: &str = "lambda-url";
/// Endings that are always answered.
const DOMAINS: [&str; 2] = ["localhost", "on.aws"];
/// A host's longest ending, in characters, so that the whole fits into AWS's 100.
const DOMAIN_CHARACTERS_MAX: usize = 40;

/// The part of a function's URL that is the same for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlBase {
    scheme: &'static str,
    domain: String,
    /// `None` where the scheme says it.
    port: Option<u16>,
}

impl UrlBase {
    /// For clients on this machine.
    pub fn local(port: u16) -> UrlBase {
        UrlBase { scheme: "http", domain: "localhost".to_owned(), port: Some(port) }
    }

    /// From a base such as `https://functions.example.com` or `http://lambic.test:4566`; `None` when
    /// it is none.
    pub fn parse(text: &str) -> Option<UrlBase> {
        let (scheme, rest) = match text.split_once("://")? {
            ("http", rest) => ("http", rest),
            ("https", rest) => ("https", rest),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (domain, port) = match rest.split_once(':') {
            Some((domain, port)) => (domain, Some(port.parse().ok().filter(|port| *port != 0)?)),
            None => (rest, None),
        };
        is_domain(domain).then(|| UrlBase { scheme, domain: domain.to_owned(), port })
    }

    /// The whole URL, with the slash at its end that AWS's has.
    pub fn url(&self, id: &str, region: &str) -> String {
        let UrlBase { scheme, domain, port } = self;
        match port {
            Some(port) => format!("{scheme}://{id}.{LABEL}.{region}.{domain}:{port}/"),
            None => format!("{scheme}://{id}.{LABEL}.{region}.{domain}/"),
        }
    }

    /// Id and region of a host in lower case; `None` for a host that is none of a function's URL.
    pub fn split<'h>(&self, host: &'h str) -> Option<(&'h str, &'h str)> {
        let mut parts = host.splitn(4, '.');
        let (id, label, region) = (parts.next()?, parts.next()?, parts.next()?);
        let domain = parts.next()?;
        let known = domain == self.domain || DOMAINS.contains(&domain);
        (label == LABEL && known && !id.is_empty() && !region.is_empty()).then_some((id, region))
    }
}

/// Names of letters, digits and dashes, in lower case, with dots between them.
fn is_domain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= DOMAIN_CHARACTERS_MAX && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases() {
        for (text, expect) in [
            ("http://localhost:4566", "http://id.lambda-url.eu-west-1.localhost:4566/"),
            ("https://fn.example.com", "https://id.lambda-url.eu-west-1.fn.example.com/"),
            ("https://fn.example.com/", "https://id.lambda-url.eu-west-1.fn.example.com/"),
            ("http://a-b:80", "http://id.lambda-url.eu-west-1.a-b:80/"),
        ] {
            assert_eq!(UrlBase::parse(text).unwrap().url("id", "eu-west-1"), expect);
        }
        assert_eq!(UrlBase::parse("http://localhost:4566"), Some(UrlBase::local(4_566)));
        let long = format!("http://{}", "a".repeat(41));
        for bad in [
            "",
            "localhost",
            "ftp://a",
            "http://",
            "http://a:0",
            "http://a:x",
            "http://a:70000",
            "http://A",
            "http://a..b",
            "http://-a",
            "http://a/b",
            "http://u@a",
            "http://.a",
            &long,
        ] {
            assert_eq!(UrlBase::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn hosts() {
        let base = UrlBase::parse("https://fn.example.com").unwrap();
        for domain in ["fn.example.com", "localhost", "on.aws"] {
            let host = format!("abc.lambda-url.eu-west-1.{domain}");
            assert_eq!(base.split(&host), Some(("abc", "eu-west-1")), "{host}");
        }
        for host in [
            "localhost",
            "lambda-url.eu-west-1.localhost",
            "abc.lambda-url.localhost",
            "abc.lambda-url.eu-west-1",
            "abc.lambda-url.eu-west-1.example.com",
            "abc.lambda-url.eu-west-1.fn.example.com.evil.example",
            "abc.s3.eu-west-1.localhost",
            "x.abc.lambda-url.eu-west-1.localhost",
            ".lambda-url.eu-west-1.localhost",
        ] {
            assert_eq!(base.split(host), None, "{host}");
        }
    }
}
