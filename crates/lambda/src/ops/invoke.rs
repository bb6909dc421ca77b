//! Runs a function and answers what it answered.
//!
//! ```text
//! POST /2015-03-31/functions/hello/invocations
//! {"name": "world"}
//!
//! 200
//! {"name": "world"}
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{InvocationRequest, InvocationResponse, InvocationType, LogType, errors};
use lambic_wire::{Arn, Error};

use super::change::pending;
use super::settings::refuse_if;
use super::{find, json};
use crate::Lambda;
use crate::invoke::Invocation;
use crate::limits::{CLIENT_CONTEXT_BYTES_MAX, PAYLOAD_BYTES_MAX, payload_too_large};
use crate::names::{self, LATEST};
use crate::state::version::VersionState;

/// The operation.
pub struct Invoke;

impl Serve for Invoke {
    type Service = Lambda;
    type Operation = model::ops::Invoke;

    const ACTION: &'static str = "InvokeFunction";

    fn resource(cx: &Cx<'_, Lambda>, input: &InvocationRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: InvocationRequest,
    ) -> Result<InvocationResponse, Error> {
        let qualifier = input.qualifier.as_deref();
        let mut target = names::resolve(cx.account, cx.region, &input.function_name, qualifier)?;
        let invoked_arn = target.qualified_arn();
        // AWS names $LATEST when it does not find what was to be invoked.
        target.qualifier.get_or_insert_with(|| LATEST.to_owned());
        let function = find(cx, &target)?;
        refuse_if(input.tenant_id.is_some(), "TenantId")?;
        refuse_if(input.durable_execution_name.is_some(), "DurableExecutionName")?;
        let client_context = input.client_context.as_deref().map(client_context).transpose()?;
        match input.invocation_type {
            None | Some(InvocationType::RequestResponse) => {}
            Some(InvocationType::DryRun) => return Ok(empty(204)),
            Some(other) => return Err(Error::not_offered(&format!("InvocationType {other}"))),
        }
        let payload = payload(input.payload)?;
        match function.latest.state {
            VersionState::Active => {}
            VersionState::Pending => return Err(errors::resource_conflict(pending("Pending"))),
            VersionState::Failed => return Err(errors::resource_conflict(pending("Failed"))),
        }
        let invocation = Invocation {
            request_id: cx.request_id.to_owned(),
            invoked_arn,
            payload,
            client_context,
            trace_id: cx.trace_header.map(str::to_owned),
            log_tail: input.log_type == Some(LogType::Tail),
        };
        let answer = cx.service.runner.invoke(function.latest.clone(), invocation).await?;
        Ok(InvocationResponse {
            status_code: 200,
            function_error: answer.function_error.map(str::to_owned),
            log_result: answer.log_tail.map(|tail| STANDARD.encode(tail)),
            payload: answer.payload,
            executed_version: Some(answer.executed_version),
            durable_execution_arn: None,
        })
    }
}

fn empty(status_code: i32) -> InvocationResponse {
    InvocationResponse { status_code, ..InvocationResponse::default() }
}

/// The event: what was sent, or `{}` for nothing.
fn payload(given: Bytes) -> Result<Bytes, Error> {
    if given.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    if given.len() > PAYLOAD_BYTES_MAX {
        return Err(payload_too_large(given.len()));
    }
    json::check(&given).map_err(|fault| {
        let text = format!(
            "Could not parse request body into json: Could not parse payload into json: {fault}"
        );
        errors::invalid_request_content(text)
    })?;
    Ok(given)
}

/// The header's base64 as the JSON text that the function will see.
fn client_context(header: &str) -> Result<String, Error> {
    let refused = || {
        errors::invalid_request_content(
            "Client context must be a valid Base64-encoded JSON object.",
        )
    };
    if header.len() > CLIENT_CONTEXT_BYTES_MAX {
        return Err(refused());
    }
    let bytes = STANDARD.decode(header).map_err(|_| refused())?;
    let text = String::from_utf8(bytes).map_err(|_| refused())?;
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use lambic_front::Service;
    use serde_json::json;

    use super::*;
    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2015-03-31/functions/hello/invocations";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("invoke.rs"))).await;
    }

    #[tokio::test]
    async fn headers_of_the_answer() {
        let harness = Harness::with_hello().await;
        let reply = harness.invoke(PATH, b"", &[("x-amz-log-type", "Tail")]).await;
        assert_eq!((reply.status, &reply.body[..]), (200, &b"{}"[..]));
        assert_eq!(reply.header("x-amz-executed-version"), Some("$LATEST"));
        assert_eq!(reply.header("x-amz-log-result"), Some("bG9n"));
        assert_eq!(reply.header("x-amz-function-error"), None);
        let reply = harness.invoke(PATH, br#"{"fail": true}"#, &[]).await;
        assert_eq!(reply.header("x-amz-function-error"), Some("Unhandled"));
        assert_eq!(reply.header("x-amz-log-result"), None);
    }

    #[tokio::test]
    async fn the_caller_s_trace_reaches_the_function() {
        let harness = Harness::with_hello().await;
        let sent = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
        for header in [None, Some(sent)] {
            let mut call = harness.call();
            call.trace_header = header.map(str::to_owned);
            let request = Harness::request("POST", PATH, br#"{"trace": 1}"#);
            let response = harness.lambda.handle(&call, request).await.unwrap();
            let seen: Option<String> = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(seen.as_deref(), header);
        }
    }

    #[tokio::test]
    async fn types_of_invocation() {
        let harness = Harness::with_hello().await;
        let of_type = async |name: &str| {
            harness.invoke(PATH, b"{}", &[("x-amz-invocation-type", name)]).await
        };
        assert_eq!(of_type("RequestResponse").await.status, 200);
        let dry = of_type("DryRun").await;
        assert_eq!((dry.status, dry.body.len()), (204, 0));
        let event = of_type("Event").await;
        assert_eq!((event.status, event.message().contains("Event")), (501, true));
    }

    #[tokio::test]
    async fn who_cannot_be_invoked() {
        let harness = Harness::new().await;
        let reply = harness.invoke(PATH, b"{}", &[]).await;
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:hello";
        assert_eq!(
            (reply.status, reply.message()),
            (404, format!("Function not found: {arn}:$LATEST"))
        );
        harness.post("/2015-03-31/functions", &Harness::creation("hello")).await;
        let reply = harness.invoke(PATH, b"{}", &[]).await;
        assert_eq!(
            (reply.status, reply.code().as_str(), reply.message().as_str()),
            (
                409,
                "ResourceConflictException",
                "The operation cannot be performed at this time. The function is currently in the \
                 following state: Pending"
            )
        );
        harness.settle().await;
        let reply = harness.invoke(&format!("{PATH}?Qualifier=live"), b"{}", &[]).await;
        assert_eq!(reply.message(), format!("Function not found: {arn}:live"));
    }

    #[tokio::test]
    async fn payloads() {
        let harness = Harness::with_hello().await;
        let reply = harness.invoke(PATH, b"\"\x87\"", &[]).await;
        assert_eq!(
            (reply.status, reply.code().as_str(), reply.message().as_str()),
            (
                400,
                "InvalidRequestContentException",
                "Could not parse request body into json: Could not parse payload into json: \
                 Invalid UTF-8 start byte 0x87\n at [Source: REDACTED \
                 (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 3]"
            )
        );
        let mut exact = vec![b'1'; PAYLOAD_BYTES_MAX];
        (exact[0], exact[PAYLOAD_BYTES_MAX - 1]) = (b'"', b'"');
        assert_eq!(harness.invoke(PATH, &exact, &[]).await.status, 200);
        exact.push(b' ');
        let reply = harness.invoke(PATH, &exact, &[]).await;
        assert_eq!(
            (reply.status, reply.code().as_str(), reply.message().as_str()),
            (
                413,
                "RequestTooLargeException",
                "6291457 byte payload is too large for the RequestResponse invocation type (limit \
                 6291456 bytes)"
            )
        );
    }

    #[tokio::test]
    async fn client_contexts() {
        let good = STANDARD.encode(r#"{"client": {"app": "x"}}"#);
        assert_eq!(client_context(&good).unwrap(), r#"{"client": {"app": "x"}}"#);
        for bad in ["!", &STANDARD.encode("[1]"), &STANDARD.encode("x".repeat(3_000))] {
            assert_eq!(client_context(bad).unwrap_err().status, 400, "{bad}");
        }
        let harness = Harness::with_hello().await;
        let reply = harness.invoke(PATH, b"{}", &[("x-amz-client-context", "!")]).await;
        assert_eq!(reply.status, 400);
        let _ = json!({});
    }
}
