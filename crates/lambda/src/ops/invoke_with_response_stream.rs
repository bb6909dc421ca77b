//! Runs a function and answers what it answers, piece by piece while it runs.
//!
//! ```text
//! POST /2021-11-15/functions/hello/response-streaming-invocations
//! {"name": "world"}
//!
//! 200
//! {"PayloadChunk": "{\"name\": \"world\"}"}
//! {"InvokeComplete": {}}
//! ```
//!
//! The answer is an event stream; each line above stands for one of its messages. An error of the
//! function is in the last one (`ErrorCode`, `ErrorDetails`), because the status has been sent by
//! then. What kind of data the function says it streams is for those who turn the stream into HTTP;
//! `ResponseStreamContentType` is, as AWS's model has it, the type of this answer.

use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    InvokeResponseStreamUpdate, InvokeWithResponseStreamCompleteEvent,
    InvokeWithResponseStreamRequest, InvokeWithResponseStreamResponse,
    InvokeWithResponseStreamResponseEvent as StreamEvent, LogType, ResponseStreamingInvocationType,
};
use lambic_wire::event_stream::{EventStream, Source};
use lambic_wire::{Arn, Error};

use super::invocation::{self, Asked};
use crate::Lambda;
use crate::invoke::streamed::{AnswerStream, Part};
use crate::names;

/// The operation.
pub struct InvokeWithResponseStream;

impl Serve for InvokeWithResponseStream {
    type Service = Lambda;
    type Operation = model::ops::InvokeWithResponseStream;

    const ACTION: &'static str = "InvokeFunction";

    fn resource(cx: &Cx<'_, Lambda>, input: &InvokeWithResponseStreamRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: InvokeWithResponseStreamRequest,
    ) -> Result<InvokeWithResponseStreamResponse, Error> {
        let asked = Asked {
            function_name: &input.function_name,
            qualifier: input.qualifier.as_deref(),
            tenant_id: input.tenant_id.as_deref(),
            client_context: input.client_context.as_deref(),
            log_tail: input.log_type == Some(LogType::Tail),
        };
        let ready = invocation::ready(cx, &asked).await?;
        if input.invocation_type == Some(ResponseStreamingInvocationType::DryRun) {
            let nothing = InvokeWithResponseStreamResponse::default();
            return Ok(InvokeWithResponseStreamResponse { status_code: 204, ..nothing });
        }
        let (version, invocation) = ready.with(cx, input.payload)?;
        let answer = cx.service.runner.invoke_streamed(version, invocation).await?;
        Ok(InvokeWithResponseStreamResponse {
            status_code: 200,
            executed_version: Some(answer.executed_version),
            event_stream: EventStream::new(Events(answer.stream)),
            // The codec sends that of an event stream.
            response_stream_content_type: None,
        })
    }
}

/// The parts of the answer in AWS's form.
struct Events(AnswerStream);

impl Source<StreamEvent> for Events {
    fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<StreamEvent, Error>>> {
        let part = ready!(self.0.poll_part(context));
        Poll::Ready(part.map(|part| {
            Ok(match part? {
                Part::Piece(bytes) => {
                    let payload = Some(bytes.into());
                    StreamEvent::PayloadChunk(InvokeResponseStreamUpdate { payload })
                }
                Part::End(end) => {
                    StreamEvent::InvokeComplete(InvokeWithResponseStreamCompleteEvent {
                        error_code: end.error_code,
                        error_details: end.error_details,
                        log_result: end.log_tail.map(|tail| STANDARD.encode(tail)),
                    })
                }
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2021-11-15/functions/hello/response-streaming-invocations";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let source = include_str!("invoke_with_response_stream.rs");
        harness.check_events(&documented(source)).await;
    }

    #[tokio::test]
    async fn headers_of_the_answer_and_events_of_its_end() {
        let harness = Harness::with_hello().await;
        let reply = harness.invoke(PATH, b"", &[("x-amz-log-type", "Tail")]).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-amz-executed-version"), Some("$LATEST"));
        assert_eq!(reply.header("content-type"), Some("application/vnd.amazon.eventstream"));
        let events = reply.events();
        assert_eq!(events[0], ("PayloadChunk".to_owned(), b"{}".to_vec()));
        assert_eq!(events[1], ("InvokeComplete".to_owned(), br#"{"LogResult":"bG9n"}"#.to_vec()));
        let events = harness.invoke(PATH, br#"{"fail": true}"#, &[]).await.events();
        let end = br#"{"ErrorCode":"Unhandled","ErrorDetails":"{\"fail\": true}"}"#.to_vec();
        assert_eq!(events, [("InvokeComplete".to_owned(), end)]);
    }

    #[tokio::test]
    async fn dry_runs_and_unknown_types() {
        let harness = Harness::with_hello().await;
        let of_type = async |name: &str| {
            harness.invoke(PATH, b"no JSON", &[("x-amz-invocation-type", name)]).await
        };
        let dry = of_type("DryRun").await;
        assert_eq!((dry.status, dry.body.len(), dry.header("content-type")), (204, 0, None));
        let event = of_type("Event").await;
        assert_eq!((event.status, event.code().as_str()), (400, "ValidationException"));
        assert!(event.message().contains("[RequestResponse, DryRun]"), "{}", event.message());
    }

    #[tokio::test]
    async fn errors_before_the_stream_are_those_of_invoke() {
        let harness = Harness::new().await;
        let invoke = "/2015-03-31/functions/hello/invocations";
        harness.post("/2015-03-31/functions", &Harness::creation("hello")).await;
        let cases = [
            ("", &b"{}"[..], None),
            ("?Qualifier=live", b"{}", None),
            ("", b"\"\x87\"", None),
            ("", b"{}", Some(("x-amz-client-context", "!"))),
            ("", b"{}", Some(("x-amz-tenant-id", "blue"))),
        ];
        for (query, body, header) in cases {
            let headers = header.as_slice();
            let ours = harness.invoke(&format!("{PATH}{query}"), body, headers).await;
            let theirs = harness.invoke(&format!("{invoke}{query}"), body, headers).await;
            assert!(ours.status >= 400, "{ours:?}");
            assert_eq!((ours.status, ours.code()), (theirs.status, theirs.code()));
            assert_eq!(ours.message(), theirs.message());
        }
    }
}
