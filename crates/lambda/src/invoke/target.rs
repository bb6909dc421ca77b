//! One invocation, from the pool of its snapshot to its end.

use std::sync::Arc;
use std::time::Duration;

use lambic_rt::Instant;
use lambic_wire::error::Error;

use super::Invocation;
use super::cold_start::ColdStart;
use super::fault::{Exit, Fault};
use super::shell::{Grant, Handle, Shell};
use super::trace::{self, Trace};
use crate::runtime_api::desk::{Completion, Event, Finished, Outcome, Work};
use crate::runtime_api::extensions::ShutdownReason;
use crate::runtime_api::stream::Sink;

/// An environment that turns out to be dead before it got the event is replaced; so often.
const ATTEMPTS_MAX: usize = 8;

/// Runs it. The caller holds the lease, and takes what comes out of `sink` if there is one.
pub(super) async fn run(
    mut pool: Arc<Shell>,
    invocation: &Invocation,
    sink: Option<&Sink>,
) -> Result<Finished, Error> {
    let (version, given) = (pool.version(), invocation.trace_id.as_deref());
    let active = version.active_tracing;
    let trace = trace::trace(&pool.common.rt, active, pool.lineage_id(), given);
    for _ in 0..ATTEMPTS_MAX {
        match pool.obtain().await {
            Grant::Use { handle, init, since } => {
                let since = since.unwrap_or_else(|| pool.common.rt.instant());
                let mut work = work(&pool, invocation, &trace, init, since);
                work.sink = sink.cloned();
                if let Some(finished) = serve(&pool, &handle, work).await {
                    return Ok(finished);
                }
            }
            Grant::Failed { recorder, completion, status, since } => {
                let outcome = Outcome {
                    request_id: invocation.request_id.clone(),
                    duration: pool.common.rt.instant().saturating_duration_since(since),
                    init: None,
                    status,
                    is_error: true,
                    fault: match &completion {
                        Completion::Fault(fault) => Some(fault.clone()),
                        _ => None,
                    },
                    reply: None,
                    segment: trace.segment,
                    extension_overhead: None,
                };
                recorder.start(&invocation.request_id, &trace.header);
                count(&pool, &outcome);
                recorder.runtime_done(&outcome);
                let log_tail = recorder.finish(&outcome, invocation.log_tail);
                return Ok(Finished { completion, log_tail });
            }
            Grant::Refused(error) => return Err(error),
            Grant::Closed => {
                let version = pool.version().clone();
                pool.common.forget(&pool);
                pool = pool.common.clone().pool(&version, invocation.tenant_id.as_deref());
            }
        }
    }
    Err(Error::internal("the function's execution environments end before they take an event"))
}

fn work(
    pool: &Shell,
    invocation: &Invocation,
    trace: &Trace,
    init: Option<ColdStart>,
    since: Instant,
) -> Work {
    let rt = &pool.common.rt;
    let whole = Duration::from_secs(u64::from(pool.version().timeout_s));
    let left = whole.saturating_sub(rt.instant().saturating_duration_since(since));
    let event = Event {
        request_id: invocation.request_id.clone(),
        deadline_ms: rt.now().after(left).millis(),
        invoked_arn: invocation.invoked_arn.clone(),
        trace_id: trace.header.clone(),
        client_context: invocation.client_context.clone(),
        tenant_id: invocation.tenant_id.clone(),
        payload: invocation.payload.clone(),
    };
    let segment = trace.segment.clone();
    let wants_tail = invocation.log_tail;
    Work { event, timeout: whole, since, init, wants_tail, segment, sink: None }
}

/// Hands the event out and waits for the end. `None`: the environment is dead and never had it.
async fn serve(pool: &Shell, handle: &Handle, work: Work) -> Option<Finished> {
    let rt = &pool.common.rt;
    let timeout = work.timeout;
    let left = (work.since + timeout).saturating_duration_since(rt.instant());
    let request_id = work.event.request_id.clone();
    let trace_id = work.event.trace_id.clone();
    // START stands before all that the function prints, and not in the log of an environment that
    // turns out to be dead: the request's START is then in that of the next one.
    let begins = |request_id: &str| handle.recorder.start(request_id, &trace_id);
    let Ok(mut receiver) = handle.desk.hand_out(work, begins) else {
        handle.end(ShutdownReason::Failure);
        return None;
    };
    // The event leaves first.
    lambic_rt::turn().await;
    handle.recorder.tell_start();
    if let Some(finished) = rt.within(left, &mut receiver).await {
        return Some(finished.unwrap_or_else(|_| ended_without_a_word()));
    }
    match handle.desk.time_out(&request_id, timeout) {
        Some(finished) => {
            handle.end(ShutdownReason::Timeout);
            Some(finished)
        }
        // It ended at this very moment.
        None => Some(receiver.await.unwrap_or_else(|_| ended_without_a_word())),
    }
}

fn ended_without_a_word() -> Finished {
    let completion = Completion::Fault(Fault::Exited(Exit::default()));
    Finished { completion, log_tail: None }
}

/// Adds one invocation to the totals.
pub(super) fn count(pool: &Shell, outcome: &Outcome) {
    pool.common.figures.invocation_ended(outcome);
}
