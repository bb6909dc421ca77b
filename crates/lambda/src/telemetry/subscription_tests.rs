//! What is accepted, with which defaults, and what is said of the rest.

use serde_json::json;

use super::*;

fn request(api: Api, body: &Value) -> Result<Request, String> {
    Request::parse(api, body.to_string().as_bytes())
}

/// A good request with one member replaced; a member of `null` is taken out.
fn with(name: &str, value: Value) -> Value {
    let mut body = json!({
        "schemaVersion": "2022-12-13",
        "types": ["platform"],
        "destination": { "protocol": "HTTP", "URI": "http://sandbox.localdomain:8080" },
    });
    let members = body.as_object_mut().unwrap();
    members.insert(name.to_owned(), value);
    members.retain(|_, value| !value.is_null());
    body
}

#[test]
fn aws_s_example_with_its_defaults() {
    let http = Destination::Http {
        method: Method::POST,
        port: 8080,
        authority: "sandbox.localdomain:8080".into(),
        path: "/".into(),
    };
    let least = Request {
        schema: Schema::Telemetry20221213,
        types: vec![Category::Platform],
        buffering: Buffering {
            items_max: 10_000,
            bytes_max: 262_144,
            timeout: Duration::from_secs(1),
        },
        destination: http,
    };
    assert_eq!(request(Api::Telemetry, &with("buffering", Value::Null)), Ok(least.clone()));
    let buffering = json!({"maxItems": 1000, "maxBytes": 1_048_576, "timeoutMs": 25});
    let asked = Request {
        buffering: Buffering {
            items_max: 1_000,
            bytes_max: 1_048_576,
            timeout: Duration::from_millis(25),
        },
        ..least
    };
    assert_eq!(request(Api::Telemetry, &with("buffering", buffering)), Ok(asked));
}

#[test]
fn schemas_belong_to_their_api() {
    let of = |api, version: Value| {
        request(api, &with("schemaVersion", version)).map(|request| request.schema)
    };
    let cases = [
        (Api::Telemetry, "2022-07-01", Schema::Telemetry20220701),
        (Api::Telemetry, "2022-12-13", Schema::Telemetry20221213),
        (Api::Telemetry, "2025-01-29", Schema::Telemetry20250129),
        (Api::Logs, "2020-08-15", Schema::Logs20200815),
        (Api::Logs, "2021-03-18", Schema::Logs20210318),
    ];
    for (api, version, schema) in cases {
        assert_eq!(of(api, version.into()), Ok(schema));
        let other = if api == Api::Logs { Api::Telemetry } else { Api::Logs };
        assert!(
            of(other, version.into()).unwrap_err().starts_with("schemaVersion should be one of")
        );
    }
    assert_eq!(of(Api::Logs, Value::Null), Ok(Schema::Logs20200815));
    assert_eq!(of(Api::Telemetry, Value::Null), Err("schemaVersion is not provided".into()));
    assert_eq!(
        of(Api::Logs, json!(20200815)),
        Err("schemaVersion should be one of [2020-08-15, 2021-03-18]".into())
    );
}

#[test]
fn types_are_kept_once_in_their_order() {
    let of = |types: Value| request(Api::Telemetry, &with("types", types)).map(|got| got.types);
    assert_eq!(
        of(json!(["function", "platform", "function", "extension"])),
        Ok(vec![Category::Function, Category::Platform, Category::Extension])
    );
    let among = "types should be among [platform, function, extension]";
    let cases = [
        (Value::Null, "types is not provided"),
        (json!("platform"), "types should be an array of strings"),
        (json!([]), "types should not be empty"),
        (json!(["platform", "Function"]), among),
        (json!([7]), among),
    ];
    for (types, message) in cases {
        assert_eq!(of(types), Err(message.to_owned()));
    }
}

#[test]
fn destinations() {
    let of = |api, value: Value| {
        let body = with("destination", value);
        let mut body = body.as_object().unwrap().clone();
        if api == Api::Logs {
            body.remove("schemaVersion");
        }
        request(api, &Value::Object(body)).map(|request| request.destination)
    };
    let http = |method, port, authority: &str, path: &str| {
        let (authority, path) = (authority.to_owned(), path.to_owned());
        Ok(Destination::Http { method, port, authority, path })
    };
    let uri = |uri: &str| json!({"protocol": "HTTP", "URI": uri});
    let good = [
        ("http://sandbox.localdomain:8080/a/b?c=d", "sandbox.localdomain:8080", 8080, "/a/b?c=d"),
        ("http://sandbox.local:4243/", "sandbox.local:4243", 4243, "/"),
        ("http://sandbox:53612", "sandbox:53612", 53612, "/"),
        ("http://SANDBOX.localdomain:1", "SANDBOX.localdomain:1", 1, "/"),
    ];
    for (text, authority, port, path) in good {
        assert_eq!(of(Api::Telemetry, uri(text)), http(Method::POST, port, authority, path));
    }
    let put =
        json!({"protocol": "HTTP", "URI": "http://sandbox:2", "method": "PUT", "encoding": "JSON"});
    assert_eq!(of(Api::Logs, put.clone()), http(Method::PUT, 2, "sandbox:2", "/"));
    assert_eq!(of(Api::Telemetry, put), Err("method should be POST".into()));
    let tcp = json!({"protocol": "TCP", "port": 65535});
    assert_eq!(of(Api::Telemetry, tcp), Ok(Destination::Tcp { port: 65535 }));
    let (host, range) =
        ("URI host should be sandbox.localdomain", "port should be an integer between 1 and 65535");
    let bad = [
        (Value::Null, "destination is not provided"),
        (json!("http://sandbox:1"), "destination should be an object"),
        (json!({"URI": "http://sandbox:1"}), "protocol is not provided"),
        (
            json!({"protocol": "http", "URI": "http://sandbox:1"}),
            "protocol should be one of [HTTP, TCP]",
        ),
        (json!({"protocol": "HTTP"}), "URI is not provided"),
        (json!({"protocol": "HTTP", "port": 80}), "URI is not provided"),
        (json!({"protocol": "HTTP", "URI": 7}), "URI is not valid"),
        (uri("http://sandbox:1 /x"), "URI is not valid"),
        (uri("/logs"), "URI is not valid"),
        (uri("http://sandbox:99999"), range),
        (uri("https://sandbox.localdomain:8080"), "URI scheme should be http"),
        (uri("sandbox.localdomain:8080"), "URI scheme should be http"),
        (uri("http://169.254.169.254:80/latest"), host),
        (uri("http://127.0.0.1:8080"), host),
        (uri("http://localhost:8080"), host),
        (uri("http://sandbox.localdomain.example.com:8080"), host),
        (uri("http://sandbox@example.com:8080"), host),
        (uri("http://example.com@sandbox:8080"), host),
        (uri("http://sandbox.localdomain"), "URI port is not provided"),
        (uri("http://sandbox.localdomain:/x"), "URI port is not provided"),
        (uri("http://sandbox.localdomain:9001"), "port 9001 is reserved"),
        (uri("http://sandbox.localdomain:0"), range),
        (json!({"protocol": "TCP"}), "port is not provided"),
        (json!({"protocol": "TCP", "port": 9001}), "port 9001 is reserved"),
        (json!({"protocol": "TCP", "port": 0}), range),
        (json!({"protocol": "TCP", "port": 65536}), range),
        (json!({"protocol": "TCP", "port": "80"}), range),
        (json!({"protocol": "TCP", "port": 80, "encoding": "XML"}), "encoding should be JSON"),
    ];
    for (value, message) in bad {
        assert_eq!(of(Api::Telemetry, value.clone()), Err(message.to_owned()), "{value}");
    }
}

#[test]
fn bounds_of_buffers() {
    let of = |buffering: Value| {
        request(Api::Telemetry, &with("buffering", buffering)).map(|request| request.buffering)
    };
    for bounds in [&ITEMS, &BYTES, &TIMEOUT] {
        for good in [bounds.min, bounds.max] {
            assert!(of(json!({bounds.name: good})).is_ok());
        }
        let range = format!("between {} and {}", bounds.min, bounds.max);
        let message = format!("{} should be an integer {range}", bounds.name);
        for bad in
            [json!(bounds.min - 1), json!(bounds.max + 1), json!(-1), json!("25"), json!(1e3)]
        {
            assert_eq!(of(json!({bounds.name: bad.clone()})), Err(message.clone()), "{bad}");
        }
        assert_eq!(of(json!({bounds.name: null})), of(json!({})));
    }
    assert_eq!(of(json!(7)), Err("buffering should be an object".into()));
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let body = json!({
        "schemaVersion": "2022-07-01",
        "types": [],
        "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain"},
    });
    let message = "URI port is not provided; types should not be empty";
    assert_eq!(request(Api::Telemetry, &body), Err(message.to_owned()), "AWS's example");
    let everything = json!({"buffering": {"maxItems": 1, "timeoutMs": 1}});
    assert_eq!(
        request(Api::Telemetry, &everything).unwrap_err(),
        "schemaVersion is not provided; destination is not provided; types is not provided; \
         maxItems should be an integer between 1000 and 10000; \
         timeoutMs should be an integer between 25 and 30000"
    );
    assert_eq!(request(Api::Logs, &json!([])).unwrap_err(), "the request should be a JSON object");
    let broken = Request::parse(Api::Logs, b"{").unwrap_err();
    assert!(broken.starts_with("failed to parse JSON: "), "{broken}");
}

proptest::proptest! {
    /// Whatever is sent, there is an answer, and an error says something.
    #[test]
    fn anything_is_answered(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        if let Err(message) = Request::parse(Api::Telemetry, &body) {
            proptest::prop_assert!(!message.is_empty());
        }
    }

    /// No text leads out of the environment.
    #[test]
    fn only_the_environment_is_a_destination(host in "[a-zA-Z0-9@.:\\[\\]/%-]{0,30}", port in 0_u32..70_000) {
        let body = with("destination", json!({
            "protocol": "HTTP", "URI": format!("http://{host}:{port}/"),
        }));
        if let Ok(Request { destination: Destination::Http { port, authority, .. }, .. }) =
            request(Api::Telemetry, &body)
        {
            let inside = authority.to_ascii_lowercase();
            let named = HOSTS.iter().any(|host| inside == format!("{host}:{port}"));
            proptest::prop_assert!(named && port != 9001, "{authority}");
        }
    }
}
