//! Tables of requests and what they decode to, and of outputs and what they encode to.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use lambic_model_lambda::{Op, Routed, ops, route};
use lambic_wire::{Error, Labels, Operation, Request, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Deserialize)]
struct DecodeCase {
    name: String,
    method: String,
    path: String,
    #[serde(default)]
    query: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    op: String,
    input: Option<Value>,
    payload: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct EncodeCase {
    name: String,
    op: String,
    output: Value,
    #[serde(default)]
    status_code: i32,
    #[serde(default)]
    payload: String,
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Decodes by operation, giving the input's JSON form and its raw payload.
fn decode(op: Op, request: &Request, labels: &Labels) -> Result<(Value, Bytes), Error> {
    fn plain<O: Operation>(request: &Request, labels: &Labels) -> Result<(Value, Bytes), Error>
    where
        O::Input: Serialize,
    {
        let input = O::decode(request, labels)?;
        Ok((serde_json::to_value(input).unwrap(), Bytes::new()))
    }
    match op {
        Op::CreateFunction => plain::<ops::CreateFunction>(request, labels),
        Op::DeleteFunction => plain::<ops::DeleteFunction>(request, labels),
        Op::GetAccountSettings => plain::<ops::GetAccountSettings>(request, labels),
        Op::GetFunction => plain::<ops::GetFunction>(request, labels),
        Op::GetFunctionConfiguration => plain::<ops::GetFunctionConfiguration>(request, labels),
        Op::Invoke => {
            let input = ops::Invoke::decode(request, labels)?;
            let payload = input.payload.clone();
            Ok((serde_json::to_value(input).unwrap(), payload))
        }
        Op::InvokeWithResponseStream => {
            let input = ops::InvokeWithResponseStream::decode(request, labels)?;
            let payload = input.payload.clone();
            Ok((serde_json::to_value(input).unwrap(), payload))
        }
        Op::ListFunctions => plain::<ops::ListFunctions>(request, labels),
        Op::UpdateFunctionCode => plain::<ops::UpdateFunctionCode>(request, labels),
        Op::UpdateFunctionConfiguration => {
            plain::<ops::UpdateFunctionConfiguration>(request, labels)
        }
        other => panic!("{} has no case in this table", other.name()),
    }
}

fn encode(case: &EncodeCase) -> Result<Response, Error> {
    fn plain<O: Operation>(output: &Value) -> Result<Response, Error>
    where
        O::Output: DeserializeOwned,
    {
        O::encode(serde_json::from_value(output.clone()).unwrap())
    }
    match case.op.as_str() {
        "CreateFunction" => plain::<ops::CreateFunction>(&case.output),
        "ListFunctions" => plain::<ops::ListFunctions>(&case.output),
        "GetAccountSettings" => plain::<ops::GetAccountSettings>(&case.output),
        "DeleteFunction" => {
            ops::DeleteFunction::encode(lambic_model_lambda::DeleteFunctionResponse {
                status_code: case.status_code,
            })
        }
        "Invoke" => {
            let mut output: lambic_model_lambda::InvocationResponse =
                serde_json::from_value(case.output.clone()).unwrap();
            output.status_code = case.status_code;
            output.payload = Bytes::from(case.payload.clone());
            ops::Invoke::encode(output)
        }
        other => panic!("{other} has no case in this table"),
    }
}

#[test]
fn requests_decode_as_the_table_says() {
    let cases: Vec<DecodeCase> = serde_json::from_str(include_str!("../data/decode.json")).unwrap();
    for case in cases {
        let name = &case.name;
        let mut headers = HeaderMap::new();
        for (name, value) in &case.headers {
            let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let request = Request {
            method: case.method.parse().unwrap(),
            path: case.path.clone(),
            query: case.query.clone(),
            headers,
            body: Bytes::from(case.body.clone()),
        };
        let routed = route(&request.method, &request.path, &request.query);
        let Routed::Op(op, labels) = routed else { panic!("{name}: {routed:?}") };
        assert_eq!(op.name(), case.op, "{name}");
        match decode(op, &request, &labels) {
            Ok((input, payload)) => {
                assert_eq!(Some(input), case.input, "{name}");
                assert_eq!(payload, case.payload.unwrap_or_default(), "{name}");
            }
            Err(error) => {
                assert_eq!(Some(error.code.as_ref()), case.code.as_deref(), "{name}: {error}");
                assert_eq!(error.status, 400, "{name}");
                if let Some(message) = case.message {
                    assert_eq!(error.message, message, "{name}");
                }
            }
        }
    }
}

#[test]
fn outputs_encode_as_the_table_says() {
    let cases: Vec<EncodeCase> = serde_json::from_str(include_str!("../data/encode.json")).unwrap();
    for case in cases {
        let response = encode(&case).unwrap();
        let headers: BTreeMap<String, String> = response
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        assert_eq!(response.status, case.status, "{}", case.name);
        assert_eq!(headers, case.headers, "{}", case.name);
        assert_eq!(response.body.whole().unwrap(), &case.body, "{}", case.name);
    }
}

#[test]
fn a_header_with_a_line_break_is_no_answer() {
    let output = lambic_model_lambda::InvocationResponse {
        function_error: Some("a\r\nb".into()),
        ..Default::default()
    };
    assert_eq!(ops::Invoke::encode(output).unwrap_err().status, 500);
}

#[test]
fn the_events_of_a_stream_are_bytes_and_json() {
    use lambic_model_lambda::{
        InvokeResponseStreamUpdate, InvokeWithResponseStreamCompleteEvent,
        InvokeWithResponseStreamResponseEvent as StreamEvent,
    };
    use lambic_wire::event_stream::{Event, event};
    let payload = Some(Bytes::from_static(b"\0\xffx").into());
    let chunk = StreamEvent::PayloadChunk(InvokeResponseStreamUpdate { payload });
    let expected = event("PayloadChunk", "application/octet-stream", b"\0\xffx");
    assert_eq!(chunk.to_message().unwrap(), expected);
    assert!(!format!("{chunk:?}").contains("255"), "what a function answers is not printed");
    let complete = |complete| StreamEvent::InvokeComplete(complete).to_message().unwrap();
    let whole = InvokeWithResponseStreamCompleteEvent {
        error_code: Some("Unhandled".to_owned()),
        error_details: Some("{}".to_owned()),
        log_result: Some("bG9n".to_owned()),
    };
    let json = br#"{"ErrorCode":"Unhandled","ErrorDetails":"{}","LogResult":"bG9n"}"#;
    assert_eq!(complete(whole), event("InvokeComplete", "application/json", json));
    let nothing = InvokeWithResponseStreamCompleteEvent::default();
    assert_eq!(complete(nothing), event("InvokeComplete", "application/json", b"{}"));
}
