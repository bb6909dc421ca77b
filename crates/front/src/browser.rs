//! Keeps web pages out in development mode.
//!
//! Development mode asks for no credentials, so the loopback address is all that protects it, and
//! the developer's browser stands inside that wall together with every page it shows. Two ways
//! lead from a hostile page to here. It may simply send requests to `http://127.0.0.1:4566`: then
//! the browser adds `Origin` (or, on plain requests, `Sec-Fetch-Site`), which tells. Or it may make
//! its own host name point to the loopback address (DNS rebinding): then the browser believes that
//! we are the page's own site, and only the `Host` header tells.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use lambic_wire::{Error, MessageKey};

use crate::config::FrontConfig;

/// Refuses what a web page of another site may have sent. `internal`: the path is none of a
/// service's, so that following a link there is harmless.
pub(crate) fn guard(
    headers: &HeaderMap,
    internal: bool,
    config: &FrontConfig,
) -> Result<(), Error> {
    let host = single(headers, HOST.as_str())?;
    if let Some(host) = host
        && !host_allowed(host, &config.hosts_allowed)
    {
        return Err(refused(&format!(
            "The Host header '{host}' is neither an IP address nor localhost. In development mode \
             other names must be allowed in the configuration (allowed_hosts)."
        )));
    }
    if let Some(origin) = single(headers, ORIGIN.as_str())? {
        if origin_allowed(origin, host, &config.origins_allowed) {
            return Ok(());
        }
        return Err(refused(&format!(
            "The request comes from a web page of '{origin}'. In development mode other sites must \
             be allowed in the configuration (allowed_origins)."
        )));
    }
    let site = single(headers, "sec-fetch-site")?;
    if !internal && matches!(site, Some("cross-site" | "same-site")) {
        return Err(refused("The request comes from a web page of another site."));
    }
    Ok(())
}

/// A header that must not be repeated and must be readable.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(refused(&format!("The header {name} is repeated.")));
    }
    match first.map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(refused(&format!("The header {name} is not plain ASCII."))),
    }
}

fn refused(text: &str) -> Error {
    Error::new("AccessDeniedException", 403, text).with_message_key(MessageKey::Upper)
}

/// An IP address, `localhost` or a name under it (no page can own these), or an allowed name.
fn host_allowed(host: &str, allowed: &[String]) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if bare.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    allowed.iter().any(|allowed| {
        let allowed = allowed.to_ascii_lowercase();
        match allowed.strip_prefix('.') {
            Some(parent) => name == parent || name.ends_with(&allowed),
            None => name == allowed,
        }
    })
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            // The colons of a bare IPv6 address are not a port's.
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

/// Our own pages (same host and port), or an allowed origin.
fn origin_allowed(origin: &str, host: Option<&str>, allowed: &[String]) -> bool {
    let own = match (origin.strip_prefix("http://"), host) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => false,
    };
    own || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticate::AuthMode;

    fn check(headers: &[(&'static str, &str)]) -> bool {
        let mut config = FrontConfig::new(AuthMode::Required);
        config.hosts_allowed = vec!["lambic.test".to_owned(), ".example.test".to_owned()];
        config.origins_allowed = vec!["http://localhost:3000".to_owned()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        guard(&map, false, &config).is_ok()
    }

    #[test]
    fn hosts() {
        for good in [
            "127.0.0.1",
            "127.0.0.1:4566",
            "[::1]:4566",
            "[::1]",
            "::1",
            "localhost:4566",
            "LOCALHOST",
            "localhost.",
            "bucket.s3.localhost:4566",
            "lambic.test:4566",
            "example.test",
            "a.b.example.test:1",
            "192.168.1.5:4566",
        ] {
            assert!(check(&[("host", good)]), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:4566",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "a.lambic.test",
            "evilexample.test",
            "",
            "localhost:4566.evil.example",
            "[::1].evil.example",
            "evil.example:",
        ] {
            assert!(!check(&[("host", bad)]), "{bad}");
        }
    }

    #[test]
    fn clients_without_a_browser() {
        assert!(check(&[]));
        assert!(check(&[("host", "127.0.0.1:4566"), ("user-agent", "aws-cli/2")]));
    }

    #[test]
    fn origins() {
        let host = ("host", "127.0.0.1:4566");
        assert!(check(&[host, ("origin", "http://127.0.0.1:4566")]));
        assert!(check(&[host, ("origin", "http://localhost:3000")]));
        for bad in [
            "null",
            "https://evil.example",
            "http://127.0.0.1:9999",
            "http://localhost:4566",
            "https://127.0.0.1:4566",
            "",
        ] {
            assert!(!check(&[host, ("origin", bad)]), "{bad}");
        }
        // Rebound: the page's origin equals the host, but the host is not ours.
        assert!(!check(&[("host", "evil.example:4566"), ("origin", "http://evil.example:4566")]));
    }

    #[test]
    fn plain_requests_of_pages() {
        let host = ("host", "127.0.0.1:4566");
        assert!(!check(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!check(&[host, ("sec-fetch-site", "same-site")]));
        assert!(check(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(check(&[host, ("sec-fetch-site", "none")]));
    }

    #[test]
    fn repeated_headers_hide_nothing() {
        assert!(!check(&[("host", "127.0.0.1"), ("host", "evil.example")]));
        let host = ("host", "127.0.0.1:4566");
        assert!(!check(&[host, ("origin", "http://127.0.0.1:4566"), ("origin", "null")]));
    }
}
