//! From the end of an invocation to the caller's answer; and the rule that a caller who hangs up
//! does not end what it has started.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use lambic_rt::{Rt, TaskKind};

use super::Answer;
use super::fault::Fault;
use super::streamed::End;
use crate::runtime_api::desk::{Completion, Finished};
use crate::runtime_api::stream::{Failure, Sink};

/// The caller's answer to a finished invocation.
pub(super) fn answer(finished: Finished, request_id: &str, executed_version: &str) -> Answer {
    let (payload, function_error) = match finished.completion {
        Completion::Response(payload) => (payload, None),
        // AWS calls every error of a function unhandled nowadays.
        Completion::Error(payload) => (payload, Some("Unhandled")),
        Completion::Fault(fault) => (fault.payload(request_id), Some("Unhandled")),
        Completion::Streamed(_) => unreachable!("nothing is streamed without a sink"),
    };
    Answer {
        payload,
        function_error,
        log_tail: finished.log_tail,
        executed_version: executed_version.to_owned(),
    }
}

/// The end of a finished invocation whose answer was wanted as a stream.
///
/// What went wrong before the function began to stream is told as Invoke tells it. After that AWS
/// has only the type of the error for what the platform found: a runtime that is gone is a response
/// that broke off.
pub(super) fn end(finished: Finished, sink: &Sink, request_id: &str) -> End {
    let text = |document: &[u8]| Some(String::from_utf8_lossy(document).into_owned());
    let unhandled = |document: &[u8]| (Some("Unhandled".to_owned()), text(document));
    let (error_code, error_details) = match finished.completion {
        Completion::Response(_) => unreachable!("a response goes into the sink"),
        Completion::Streamed(None) => (None, None),
        Completion::Streamed(Some(Failure { error_type, document })) => {
            (Some(error_type), text(&document).filter(|text| !text.is_empty()))
        }
        Completion::Error(document) => unhandled(&document),
        Completion::Fault(fault) if !sink.has_begun() => unhandled(&fault.payload(request_id)),
        Completion::Fault(Fault::Exited(_)) => {
            (Some(Fault::Truncated.error_type().to_owned()), None)
        }
        Completion::Fault(fault) => (Some(fault.error_type().to_owned()), None),
    };
    End { error_code, error_details, log_tail: finished.log_tail }
}

/// A future that is finished in a task of its own if its owner drops it.
pub(super) struct GoesOn<T: Send + 'static> {
    rt: Rt,
    work: Option<BoxFuture<'static, T>>,
}

impl<T: Send + 'static> GoesOn<T> {
    pub(super) fn new(rt: Rt, work: BoxFuture<'static, T>) -> GoesOn<T> {
        GoesOn { rt, work: Some(work) }
    }
}

impl<T: Send + 'static> Future for GoesOn<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out, so that work which panics here is not picked up again by `drop`.
        let mut work = self.work.take().expect("nobody polls a future that has ended");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for GoesOn<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        // While the runtime itself goes down there is nobody left to go on.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let abandoned = async move { drop(work.await) };
        self.rt.spawn("abandoned invocation", TaskKind::Request, abandoned).detach();
    }
}
