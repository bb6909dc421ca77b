//! One operation, from its decoded labels to its answer.
//!
//! [`serve`] is the only way in which an operation runs, so that each makes exactly one span, one
//! count and one audit record, and none runs without having been authorized.

use std::future::Future;
use std::time::Duration;

use lambic_wire::{Arn, Error, Labels, Operation, Request, Response};
use tracing::Instrument;

use crate::authorize::{self, Decision};
use crate::cx::{Cx, Origin};
use crate::driven;

/// The decoded input of an operation.
pub type InputOf<O> = <<O as Serve>::Operation as Operation>::Input;
/// The output of an operation before it is encoded.
pub type OutputOf<O> = <<O as Serve>::Operation as Operation>::Output;

/// One operation: what it touches and what it does.
pub trait Serve {
    /// The state of the service that offers it.
    type Service: Send + Sync;
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
    let service = cx.call.service;
    let operation = <O::Operation as Operation>::NAME;
    let span = tracing::info_span!(
        "operation",
        service,
        operation,
        request_id = cx.request_id,
        account = cx.account,
        region = cx.region,
    );
    let started = cx.rt.instant();
    let mut resource = None;
    // A fault is caught in here so that it is counted and recorded like every other end.
    let attempt = driven::unwinding_caught(attempt::<O>(cx, request, labels, &mut resource));
    let result = attempt.instrument(span).await;
    let record = Record {
        service,
        operation,
        resource,
        status: result.as_ref().map_or_else(|error| error.status, |response| response.status),
        code: result.as_ref().err().map(|error| error.code.as_ref()),
        took: cx.rt.instant().duration_since(started),
    };
    cx.call.metrics.operations().record(service, operation, record.status, record.took);
    record.audit(cx);
    result
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
    match authorize::authorize(cx.principal, cx.call.service, O::ACTION, asked) {
        Decision::Allow => {}
        Decision::Deny => {
            return Err(authorize::forbidden(cx.principal, cx.call.service, O::ACTION, asked));
        }
    }
    O::Operation::encode(O::run(cx, input).await?)
}

/// What one audit record says.
struct Record<'a> {
    service: &'static str,
    operation: &'static str,
    resource: Option<Arn>,
    status: u16,
    code: Option<&'a str>,
    took: Duration,
}

impl Record<'_> {
    fn audit<S: ?Sized>(&self, cx: &Cx<'_, S>) {
        // Reads are many and change nothing, so they are recorded only where somebody asks for it.
        if is_read(self.operation) {
            self.write(cx, Verb::Read);
        } else {
            self.write(cx, Verb::Write);
        }
    }

    fn write<S: ?Sized>(&self, cx: &Cx<'_, S>, verb: Verb) {
        // The fields are evaluated only if a subscriber wants the event.
        macro_rules! record {
            ($level:expr) => {
                tracing::event!(
                    target: "audit",
                    $level,
                    service = self.service,
                    operation = self.operation,
                    account = cx.account,
                    region = cx.region,
                    principal = %cx.principal.arn,
                    resource = self.resource.as_ref().map(tracing::field::display),
                    status = self.status,
                    code = self.code,
                    request_id = cx.request_id,
                    took_us = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
                    origin = %OriginText(cx.origin),
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
