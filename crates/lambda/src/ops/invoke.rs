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
use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{InvocationRequest, InvocationResponse, InvocationType, LogType};
use lambic_wire::{Arn, Error};

use super::invocation::{self, Asked};
use super::settings::refuse_if;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct Invoke;

impl Serve for Invoke {
    type Service = Lambda;
    type Operation = model::ops::Invoke;

    const ACTION: &'static str = "InvokeFunction";

    fn resource(cx: &Cx<'_, Lambda>, input: &InvocationRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: InvocationRequest,
    ) -> Result<InvocationResponse, Error> {
        let asked = Asked {
            function_name: &input.function_name,
            qualifier: input.qualifier.as_deref(),
            tenant_id: input.tenant_id.as_deref(),
            client_context: input.client_context.as_deref(),
            log_tail: input.log_type == Some(LogType::Tail),
        };
        let ready = invocation::ready(cx, &asked).await?;
        refuse_if(input.durable_execution_name.is_some(), "DurableExecutionName")?;
        match input.invocation_type {
            None | Some(InvocationType::RequestResponse) => {}
            Some(InvocationType::DryRun) => return Ok(empty(204)),
            Some(other) => return Err(Error::not_offered(&format!("InvocationType {other}"))),
        }
        let (version, invocation) = ready.with(cx, input.payload)?;
        let answer = cx.service.runner.invoke(version, invocation).await?;
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

#[cfg(test)]
mod tests {
    use lambic_front::Service;

    use crate::limits::PAYLOAD_BYTES_MAX;
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
            let seen: Option<String> =
                serde_json::from_slice(response.body.whole().unwrap()).unwrap();
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
    async fn a_malformed_client_context() {
        let harness = Harness::with_hello().await;
        let reply = harness.invoke(PATH, b"{}", &[("x-amz-client-context", "!")]).await;
        assert_eq!(reply.status, 400);
    }
}
