//! One operation, from its decoded labels to its answer.
//!
//! [`serve`] is the only way in which an operation runs, so that each makes exactly one span, one
//! count and one audit record, and none runs without having been authorized. Where the answer comes
//! in pieces, all three end with its last piece.

use std::borrow::Cow;
use std::future::Future;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use lambic_rt::Instant;
use lambic_wire::event_stream::Pieces;
use lambic_wire::{Arn, Body, Error, Labels, Operation, Request, Response};
use tracing::Instrument;

use crate::authorize::{ResourcePolicies, authorize};
use crate::cx::{Call, Cx, Origin};
use crate::driven;

/// The decoded input of an operation.
pub type InputOf<O> = <<O as Serve>::Operation as Operation>::Input;
/// The output of an operation before it is encoded.
pub type OutputOf<O> = <<O as Serve>::Operation as Operation>::Output;

/// One operation: what it touches and what it does.
pub trait Serve {
    /// The state of the service that offers it.
    type Service: ResourcePolicies + Send + Sync;
    /// Its generated wire form.
    type Operation: Operation;

    /// The IAM action without the service prefix. Nearly always the operation's name; `Invoke` is
    /// one that differs (`InvokeFunction`).
    const ACTION: &'static str = <Self::Operation as Operation>::NAME;

    /// What the caller must be allowed to act upon.
    fn resource(cx: &Cx<'_, Self::Service>, input: &InputOf<Self>) -> Arn
    where
        Self: Sized;

    /// Does it. Never started before it was authorized; never cancelled once started.
    fn run(
        cx: &Cx<'_, Self::Service>,
        input: InputOf<Self>,
    ) -> impl Future<Output = Result<OutputOf<Self>, Error>> + Send
    where
        Self: Sized;
}

/// Runs one operation: decode, authorize, run, encode.
///
/// # Errors
/// What decoding found wrong (`ValidationException`, `SerializationException`),
/// `AccessDeniedException`, or the operation's own error.
pub async fn serve<O: Serve>(
    cx: &Cx<'_, O::Service>,
    request: Request,
    labels: Labels,
) -> Result<Response, Error> {
    let begun = Begun::new(cx.call, <O::Operation as Operation>::NAME);
    let mut resource = None;
    // A fault is caught in here so that it is counted and recorded like every other end.
    let attempt = driven::unwinding_caught(attempt::<O>(cx, request, labels, &mut resource));
    let result = attempt.instrument(begun.span.clone()).await;
    begun.end(cx.call, resource, result)
}

/// Runs what is no operation of an API (a request to a function's URL) with the span, the count and
/// the audit record that every operation has.
///
/// # Errors
/// Those of `work`.
pub async fn recorded(
    call: &Call,
    name: &'static str,
    resource: Arn,
    work: impl Future<Output = Result<Response, Error>>,
) -> Result<Response, Error> {
    let begun = Begun::new(call, name);
    let result = driven::unwinding_caught(work).instrument(begun.span.clone()).await;
    begun.end(call, Some(resource), result)
}

/// Something that will be counted and recorded at its end.
struct Begun {
    operation: &'static str,
    span: tracing::Span,
    started: Instant,
}

impl Begun {
    fn new(call: &Call, operation: &'static str) -> Begun {
        let span = tracing::info_span!(
            "operation",
            service = call.service,
            operation,
            request_id = call.request_id,
            account = call.principal.account,
            region = call.region,
        );
        Begun { operation, span, started: call.rt.instant() }
    }

    fn end(
        self,
        call: &Call,
        resource: Option<Arn>,
        result: Result<Response, Error>,
    ) -> Result<Response, Error> {
        let Begun { operation, span, started } = self;
        let status = result.as_ref().map_or_else(|error| error.status, |response| response.status);
        let code = result.as_ref().err().map(|error| error.code.clone());
        let service = call.service;
        let record =
            Record { service, operation, resource, status, code, started, streamed_bytes: None };
        match result {
            Ok(Response { status, headers, body: Body::Pieces(pieces) }) => {
                let call = call.clone();
                let recorded = Recorded { pieces, span, record, call: Some(call), bytes: 0 };
                Ok(Response { status, headers, body: Body::Pieces(Box::new(recorded)) })
            }
            other => {
                record.write(call);
                other
            }
        }
    }
}

/// An answer in pieces, which is counted and recorded after its last one.
struct Recorded {
    pieces: Box<dyn Pieces>,
    span: tracing::Span,
    record: Record,
    /// `None` once it has been recorded.
    call: Option<Call>,
    bytes: u64,
}

impl Recorded {
    fn end(&mut self) {
        let Some(call) = self.call.take() else { return };
        self.record.streamed_bytes = Some(self.bytes);
        self.record.write(&call);
    }
}

impl Pieces for Recorded {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let pieces = &mut self.pieces;
        let piece = ready!(self.span.in_scope(|| pieces.poll_piece(context)));
        match &piece {
            Some(bytes) => self.bytes += bytes.len() as u64,
            None => self.end(),
        }
        Poll::Ready(piece)
    }

    fn is_cut_short(&self) -> bool {
        self.pieces.is_cut_short()
    }
}

impl Drop for Recorded {
    /// Only at the end of the process, or after a fault, is it dropped before its last piece.
    fn drop(&mut self) {
        self.end();
    }
}

async fn attempt<O: Serve>(
    cx: &Cx<'_, O::Service>,
    request: Request,
    labels: Labels,
    resource: &mut Option<Arn>,
) -> Result<Response, Error> {
    let input = O::Operation::decode(&request, &labels)?;
    // The raw request may be 70 MB of base64; the decoded input is all that is needed from here.
    drop(request);
    let asked = resource.insert(O::resource(cx, &input));
    authorize(cx, O::ACTION, asked)?;
    O::Operation::encode(O::run(cx, input).await?)
}

/// What is counted and recorded of one operation.
struct Record {
    service: &'static str,
    operation: &'static str,
    resource: Option<Arn>,
    status: u16,
    code: Option<Cow<'static, str>>,
    started: Instant,
    /// Bytes of an answer in pieces.
    streamed_bytes: Option<u64>,
}

impl Record {
    /// Counts the operation, which has just ended, and writes the audit record.
    fn write(&self, call: &Call) {
        let took = call.rt.instant().duration_since(self.started);
        call.metrics.operations().record(self.service, self.operation, self.status, took);
        if let Some(bytes) = self.streamed_bytes {
            let help = "Bytes of replies that came in pieces.";
            call.metrics.counter("lambic_front_streamed_bytes_total", help, &[]).add(bytes);
        }
        // Reads are many and change nothing, so they are recorded only where somebody asks for it.
        let verb = if is_read(self.operation) { Verb::Read } else { Verb::Write };
        self.audit(call, took, verb);
    }

    fn audit(&self, call: &Call, took: Duration, verb: Verb) {
        // The fields are evaluated only if a subscriber wants the event.
        macro_rules! record {
            ($level:expr) => {
                tracing::event!(
                    target: "audit",
                    $level,
                    service = self.service,
                    operation = self.operation,
                    account = call.principal.account,
                    region = call.region,
                    principal = %call.principal.arn,
                    resource = self.resource.as_ref().map(tracing::field::display),
                    status = self.status,
                    code = self.code.as_deref(),
                    request_id = call.request_id,
                    streamed_bytes = self.streamed_bytes,
                    took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                    origin = %OriginText(&call.origin),
                )
            };
        }
        match verb {
            Verb::Read => record!(tracing::Level::DEBUG),
            Verb::Write => record!(tracing::Level::INFO),
        }
    }
}

enum Verb {
    Read,
    Write,
}

fn is_read(operation: &str) -> bool {
    ["Get", "List", "Describe"].iter().any(|verb| operation.starts_with(verb))
}

struct OriginText<'a>(&'a Origin);

impl std::fmt::Display for OriginText<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Origin::Remote(address) => write!(out, "{address}"),
            Origin::Environment(environment) => write!(out, "environment {}", environment.name),
            Origin::Process => out.write_str("in process"),
        }
    }
}
