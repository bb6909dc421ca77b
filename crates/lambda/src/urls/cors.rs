//! What a function's URL tells browsers on behalf of the function: the answer to a preflight, and the
//! headers of every other answer.
//!
//! Pure. An origin that is not allowed gets no header, and its browser keeps the answer from the page;
//! the request itself is not refused, because CORS protects users and not servers.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method};
use lambic_wire::{Request, Response};

use crate::state::function_url::UrlCors;

/// A function's own headers of these names are replaced: what is configured stands.
const OURS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// The answer to a browser that asks what it may do; `None` for any other request.
pub(super) fn preflight(cors: &UrlCors, request: &Request) -> Option<Response> {
    let origin = request.header(ORIGIN.as_str())?;
    let method = request.header(ACCESS_CONTROL_REQUEST_METHOD.as_str())?;
    if request.method != Method::OPTIONS {
        return None;
    }
    let mut response = Response::empty(200);
    let allowed = allow(cors, origin, &mut response.headers);
    if !allowed {
        return Some(response);
    }
    let asked = request.header(ACCESS_CONTROL_REQUEST_HEADERS.as_str());
    let credentials = cors.allow_credentials == Some(true);
    let mut put = |name: HeaderName, value: Option<String>| {
        if let Some(Ok(value)) = value.map(|text| HeaderValue::from_str(&text)) {
            response.headers.push((name, value));
        }
    };
    put(ACCESS_CONTROL_ALLOW_METHODS, list(&cors.allow_methods, credentials, Some(method)));
    put(ACCESS_CONTROL_ALLOW_HEADERS, list(&cors.allow_headers, credentials, asked));
    put(ACCESS_CONTROL_MAX_AGE, cors.max_age_s.map(|seconds| seconds.to_string()));
    Some(response)
}

/// Adds what a page may know to the answer to any other request.
pub(super) fn decorate(cors: &UrlCors, origin: Option<&str>, response: &mut Response) {
    response.headers.retain(|(name, _)| !OURS.contains(name));
    let Some(origin) = origin else {
        if !is_same_for_all(cors) {
            response.headers.push((VARY, HeaderValue::from_static("Origin")));
        }
        return;
    };
    if !allow(cors, origin, &mut response.headers) {
        return;
    }
    // With credentials a star is no wildcard, and which headers there are is not known.
    if let Some(Ok(exposed)) =
        list(&cors.expose_headers, false, None).map(|text| HeaderValue::from_str(&text))
    {
        response.headers.push((ACCESS_CONTROL_EXPOSE_HEADERS, exposed));
    }
}

/// Whether the origin is allowed; if so, the headers that say it.
fn allow(cors: &UrlCors, origin: &str, headers: &mut Vec<(HeaderName, HeaderValue)>) -> bool {
    let origins = cors.allow_origins.as_deref().unwrap_or_default();
    let all = origins.iter().any(|allowed| allowed == "*");
    let credentials = cors.allow_credentials == Some(true);
    let star = is_same_for_all(cors);
    if !star {
        // The answer depends on who asks, and caches have to know.
        headers.push((VARY, HeaderValue::from_static("Origin")));
    }
    if !all && !origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
        return false;
    }
    let Ok(value) = HeaderValue::from_str(if star { "*" } else { origin }) else { return false };
    headers.push((ACCESS_CONTROL_ALLOW_ORIGIN, value));
    if credentials {
        headers.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
    }
    true
}

/// Whether the answer is the same whoever asks.
fn is_same_for_all(cors: &UrlCors) -> bool {
    let origins = cors.allow_origins.as_deref().unwrap_or_default();
    cors.allow_credentials != Some(true) && origins.iter().any(|allowed| allowed == "*")
}

/// A list as one header. A star means nothing to browsers once credentials are sent, so then it is
/// what was asked for.
fn list(allowed: &Option<Vec<String>>, credentials: bool, asked: Option<&str>) -> Option<String> {
    let allowed = allowed.as_deref().filter(|allowed| !allowed.is_empty())?;
    if credentials && allowed.iter().any(|one| one == "*") {
        return asked.map(str::to_owned);
    }
    Some(allowed.join(","))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    const PAGE: &str = "https://page.example";

    fn some(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|one| (*one).to_owned()).collect())
    }

    fn request(method: Method, headers: &[(HeaderName, &str)]) -> Request {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let (path, query) = ("/".to_owned(), String::new());
        Request { method, path, query, headers: map, body: Bytes::new() }
    }

    fn asks(origin: &str, method: &str, headers: &str) -> Request {
        request(
            Method::OPTIONS,
            &[
                (ORIGIN, origin),
                (ACCESS_CONTROL_REQUEST_METHOD, method),
                (ACCESS_CONTROL_REQUEST_HEADERS, headers),
            ],
        )
    }

    fn shown(response: &Response) -> Vec<String> {
        let headers = response.headers.iter();
        headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn a_preflight() {
        let cors = UrlCors {
            allow_origins: some(&[PAGE, "http://other.example"]),
            allow_methods: some(&["GET", "PUT"]),
            allow_headers: some(&["x-a", "content-type"]),
            max_age_s: Some(300),
            ..UrlCors::default()
        };
        let answer = preflight(&cors, &asks("HTTPS://page.example", "PUT", "x-a")).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(
            shown(&answer),
            [
                "vary: Origin",
                "access-control-allow-origin: HTTPS://page.example",
                "access-control-allow-methods: GET,PUT",
                "access-control-allow-headers: x-a,content-type",
                "access-control-max-age: 300",
            ]
        );
        let answer = preflight(&cors, &asks("https://evil.example", "PUT", "x-a")).unwrap();
        assert_eq!(shown(&answer), ["vary: Origin"]);
    }

    #[test]
    fn stars() {
        let open = UrlCors {
            allow_origins: some(&["*"]),
            allow_methods: some(&["*"]),
            allow_headers: some(&["*"]),
            expose_headers: some(&["*"]),
            ..UrlCors::default()
        };
        assert_eq!(
            shown(&preflight(&open, &asks(PAGE, "PUT", "x-a")).unwrap()),
            [
                "access-control-allow-origin: *",
                "access-control-allow-methods: *",
                "access-control-allow-headers: *",
            ]
        );
        let trusting = UrlCors { allow_credentials: Some(true), ..open };
        assert_eq!(
            shown(&preflight(&trusting, &asks(PAGE, "PUT", "x-a, x-b")).unwrap()),
            [
                "vary: Origin",
                "access-control-allow-origin: https://page.example",
                "access-control-allow-credentials: true",
                "access-control-allow-methods: PUT",
                "access-control-allow-headers: x-a, x-b",
            ]
        );
    }

    #[test]
    fn what_is_no_preflight() {
        let cors = UrlCors { allow_origins: some(&["*"]), ..UrlCors::default() };
        for request in [
            request(Method::OPTIONS, &[]),
            request(Method::OPTIONS, &[(ORIGIN, PAGE)]),
            request(Method::OPTIONS, &[(ACCESS_CONTROL_REQUEST_METHOD, "PUT")]),
            request(Method::GET, &[(ORIGIN, PAGE), (ACCESS_CONTROL_REQUEST_METHOD, "PUT")]),
        ] {
            assert!(preflight(&cors, &request).is_none(), "{request:?}");
        }
    }

    #[test]
    fn other_answers_say_what_is_configured() {
        let cors = UrlCors {
            allow_origins: some(&[PAGE]),
            allow_methods: some(&["GET"]),
            expose_headers: some(&["x-a", "x-b"]),
            ..UrlCors::default()
        };
        let check = |origin: Option<&str>| {
            let mut response = Response::empty(200);
            let star = HeaderValue::from_static("*");
            response.headers.push((ACCESS_CONTROL_ALLOW_ORIGIN, star.clone()));
            response.headers.push((ACCESS_CONTROL_ALLOW_METHODS, star));
            decorate(&cors, origin, &mut response);
            shown(&response)
        };
        assert_eq!(
            check(Some(PAGE)),
            [
                "vary: Origin",
                "access-control-allow-origin: https://page.example",
                "access-control-expose-headers: x-a,x-b",
            ]
        );
        assert_eq!(check(Some("https://evil.example")), ["vary: Origin"]);
        assert_eq!(check(None), ["vary: Origin"]);
    }
}
