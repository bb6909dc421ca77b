//! Whatever a stranger sends, every offered operation's decoder answers; it does not panic.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use lambic_model_lambda::{Op, ops};
use lambic_wire::{Labels, Request};
use proptest::prelude::*;

fn decode_all(body: &[u8], query: &str, label: &str, header: &str) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(header.as_bytes()) {
        headers.insert("x-amz-invocation-type", value.clone());
        headers.insert("x-amz-client-context", value);
    }
    let request = Request {
        method: Method::POST,
        path: "/".to_owned(),
        query: query.to_owned(),
        headers,
        body: Bytes::copy_from_slice(body),
    };
    let labels: Labels = vec![("FunctionName", label.to_owned())];
    for op in Op::OFFERED {
        assert!(ops::decode_any(*op, &request, &labels).is_some());
    }
}

/// JSON that is near to what the operations take.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?[0-9]{1,20}(\\.[0-9]{1,3})?(e[0-9]{1,3})?",
        "[a-zA-Z0-9:=é-]{0,12}".prop_map(|text| format!("{text:?}")),
    ];
    let name = prop::sample::select(vec![
        "FunctionName",
        "Role",
        "Code",
        "ZipFile",
        "Timeout",
        "Environment",
        "Variables",
        "Layers",
        "VpcConfig",
        "SubnetIds",
        "Tags",
        "FileSystemConfigs",
        "Arn",
        "Publish",
        "Architectures",
    ]);
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn near_requests(
        body in json(),
        query in "((MaxItems|Qualifier|Marker|FunctionVersion)=[0-9a-z%+é]{0,6}&?){0,3}",
        label in any::<String>(),
        header in any::<String>(),
    ) {
        decode_all(body.as_bytes(), &query, &label, &header);
    }

    #[test]
    fn any_requests(body in any::<Vec<u8>>(), query in any::<String>()) {
        decode_all(&body, &query, "f", "Event");
    }
}
