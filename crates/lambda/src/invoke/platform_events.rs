//! What the platform says about an environment and its invocations, as values: one event, rendered
//! as AWS's line of text or as AWS's JSON object.
//!
//! The JSON is that of the Telemetry API's newest schema, so that a subscriber can be sent the very
//! events that the log is made of; older schemas are made of it by `telemetry::schema`. Which of them a log in JSON has is decided by
//! [`PlatformEvent::level`], after AWS's table of system log levels; a log as text has those that
//! have a text, whatever their level.

use std::time::Duration;

use lambic_rt::Timestamp;
use serde::{Serialize, Serializer};

use super::cold_start::ColdStart;
use super::fault::Status;
pub use super::platform_side_events::{ExtensionState, LogsDropped, Subscription};
pub use super::start_events::{
    InitReport, InitRuntimeDone, InitStart, InitType, Phase, RestoreReport, RestoreRuntimeDone,
    RestoreStart,
};
use super::trace::Segment;
use crate::runtime_api::desk::Outcome;
use crate::state::logging::Level;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq)]
pub struct PlatformEvent {
    /// When.
    pub time: Timestamp,
    /// What.
    pub record: PlatformRecord,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", content = "record")]
pub enum PlatformRecord {
    /// A runtime is being started.
    #[serde(rename = "platform.initStart")]
    InitStart(InitStart),
    /// The runtime asked for its first event, or will never do so.
    #[serde(rename = "platform.initRuntimeDone")]
    InitRuntimeDone(InitRuntimeDone),
    /// The start of the environment has ended.
    #[serde(rename = "platform.initReport")]
    InitReport(InitReport),
    /// An environment is being made from a snapshot.
    #[serde(rename = "platform.restoreStart")]
    RestoreStart(RestoreStart),
    /// The runtime asked for its first event after that, or will never do so.
    #[serde(rename = "platform.restoreRuntimeDone")]
    RestoreRuntimeDone(RestoreRuntimeDone),
    /// The environment has been made from the snapshot, or not.
    #[serde(rename = "platform.restoreReport")]
    RestoreReport(RestoreReport),
    /// What has become of an extension at the end of the start.
    #[serde(rename = "platform.extension")]
    Extension(ExtensionState),
    /// An invocation begins.
    #[serde(rename = "platform.start")]
    Start(Start),
    /// The platform itself ended an invocation; the text says why and ends with a newline.
    #[serde(rename = "platform.fault")]
    Fault(String),
    /// The runtime is done with the invocation.
    #[serde(rename = "platform.runtimeDone")]
    RuntimeDone(RuntimeDone),
    /// The invocation is over.
    #[serde(rename = "platform.end")]
    End(End),
    /// The figures of an invocation.
    #[serde(rename = "platform.report")]
    Report(Report),
    /// An extension has subscribed to the Telemetry API.
    #[serde(rename = "platform.telemetrySubscription")]
    TelemetrySubscription(Subscription),
    /// An extension has subscribed to the Logs API.
    #[serde(rename = "platform.logsSubscription")]
    LogsSubscription(Subscription),
    /// Lines of the function, or events for a subscriber, were not passed on.
    #[serde(rename = "platform.logsDropped")]
    LogsDropped(LogsDropped),
}

/// How something ended, in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// `success`, `error` (the function's fault), `failure` (the platform's) or `timeout`.
    pub status: &'static str,
    /// Of an error or a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
}

/// The trace that an invocation belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tracing {
    /// The segment of the invocation, where it is known.
    #[serde(rename = "spanId", skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    value: String,
}

impl Tracing {
    /// `None` for a trace that nobody records.
    pub fn of_header(header: &str) -> Option<Tracing> {
        let sampled = header.split(';').any(|part| part.trim() == "Sampled=1");
        sampled.then(|| Tracing {
            span_id: None,
            kind: "X-Amzn-Trace-Id",
            value: header.to_owned(),
        })
    }
}

/// Of `platform.start`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// AWS request id.
    pub request_id: String,
    /// Without a qualifier.
    pub function_arn: String,
    /// `$LATEST` or a number.
    pub version: String,
    /// The trace, if one is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// For whom it is, if the function isolates tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

/// Of `platform.runtimeDone`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeDone {
    request_id: String,
    #[serde(flatten)]
    ending: Ending,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<Tracing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    spans: Vec<Span>,
    metrics: RuntimeDoneMetrics,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeDoneMetrics {
    duration_ms: Millis,
    produced_bytes: u64,
}

/// A part of an invocation's time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    name: &'static str,
    start: Moment,
    duration_ms: Millis,
}

impl RuntimeDone {
    /// Of the invocation that `began` then.
    pub fn new(outcome: &Outcome, began: Timestamp, tracing: Option<Tracing>) -> RuntimeDone {
        RuntimeDone {
            request_id: outcome.request_id.clone(),
            ending: Ending::of(&outcome.status),
            spans: spans(outcome, began),
            metrics: RuntimeDoneMetrics {
                duration_ms: Millis(outcome.duration),
                produced_bytes: outcome.reply.map_or(0, |reply| reply.bytes),
            },
            tracing,
        }
    }
}

/// Until the answer began, until it was complete, and until the runtime asked for more.
fn spans(outcome: &Outcome, began: Timestamp) -> Vec<Span> {
    let Some(reply) = outcome.reply else { return Vec::new() };
    let ends = began.after(outcome.duration);
    let span = |name, start: Timestamp, duration| Span {
        name,
        start: Moment(start),
        duration_ms: Millis(duration),
    };
    let sending = outcome.duration.saturating_sub(reply.latency);
    let mut spans = vec![
        span("responseLatency", began, reply.latency),
        span("responseDuration", began.after(reply.latency), sending),
    ];
    spans.extend(reply.overhead.map(|overhead| span("runtimeOverhead", ends, overhead)));
    spans
}

/// Of `platform.end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// AWS request id.
    pub request_id: String,
}

/// Of `platform.report`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    request_id: String,
    metrics: ReportMetrics,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    spans: Vec<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<Tracing>,
    #[serde(flatten)]
    ending: Ending,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<String>,
    /// The text names it on a line of its own; in JSON it is the trace's `spanId`.
    #[serde(skip)]
    segment: Option<Segment>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportMetrics {
    duration_ms: Millis,
    billed_duration_ms: u64,
    #[serde(rename = "memorySizeMB")]
    memory_size_mb: u32,
    #[serde(rename = "maxMemoryUsedMB")]
    max_memory_used_mb: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_duration_ms: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_duration_ms: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    billed_restore_duration_ms: Option<u64>,
}

impl Report {
    /// Of an invocation in an environment of this size that has used so much of it.
    pub fn new(
        outcome: &Outcome,
        began: Timestamp,
        memory_mb: u32,
        used_mb: u64,
        tracing: Option<Tracing>,
    ) -> Report {
        let spans = outcome.extension_overhead.map(|overhead| Span {
            name: "extensionOverhead",
            start: Moment(began.after(outcome.duration.saturating_sub(overhead))),
            duration_ms: Millis(overhead),
        });
        let (init, restore) = match outcome.init {
            None => (None, None),
            Some(ColdStart::Init(whole)) => (Some(whole), None),
            Some(ColdStart::Restore { whole, billed }) => (None, Some((whole, billed))),
        };
        let metrics = ReportMetrics {
            duration_ms: Millis(outcome.duration),
            billed_duration_ms: billed_ms(outcome),
            memory_size_mb: memory_mb,
            max_memory_used_mb: used_mb,
            init_duration_ms: init.map(Millis),
            restore_duration_ms: restore.map(|(whole, _)| Millis(whole)),
            billed_restore_duration_ms: restore.map(|(_, billed)| whole_ms(billed)),
        };
        let (request_id, segment) = (outcome.request_id.clone(), outcome.segment.clone());
        let tracing = tracing.map(|tracing| Tracing {
            span_id: segment.as_ref().map(|segment| segment.id.clone()),
            ..tracing
        });
        let spans = spans.into_iter().collect();
        let ending = Ending::of(&outcome.status);
        Report { request_id, metrics, spans, tracing, ending, tenant_id: None, segment }
    }

    /// Of an invocation for this tenant.
    pub fn of_tenant(self, tenant_id: Option<String>) -> Report {
        Report { tenant_id, ..self }
    }
}

impl PlatformEvent {
    /// How important it is, after AWS's table.
    pub fn level(&self) -> Level {
        let on_success = |ending: &Ending, level| match ending.status {
            "success" => level,
            _ => Level::Warn,
        };
        match &self.record {
            PlatformRecord::InitStart(_)
            | PlatformRecord::RestoreStart(_)
            | PlatformRecord::Start(_) => Level::Info,
            PlatformRecord::RestoreRuntimeDone(done) => on_success(&done.ending, Level::Debug),
            PlatformRecord::RestoreReport(report) => on_success(&report.ending, Level::Info),
            PlatformRecord::InitRuntimeDone(done) => on_success(&done.ending, Level::Debug),
            PlatformRecord::InitReport(report) if report.is_on_demand() => {
                on_success(&report.ending, Level::Debug)
            }
            PlatformRecord::InitReport(report) => on_success(&report.ending, Level::Info),
            PlatformRecord::RuntimeDone(done) => on_success(&done.ending, Level::Debug),
            PlatformRecord::Report(report) => on_success(&report.ending, Level::Info),
            PlatformRecord::Extension(extension) if extension.error_type.is_some() => Level::Warn,
            PlatformRecord::Extension(_)
            | PlatformRecord::TelemetrySubscription(_)
            | PlatformRecord::LogsSubscription(_) => Level::Info,
            PlatformRecord::End(_) => Level::Debug,
            PlatformRecord::Fault(_) | PlatformRecord::LogsDropped(_) => Level::Warn,
        }
    }

    /// As one line of JSON, without a newline.
    pub fn to_json(&self) -> String {
        let line = Line { time: self.time.rfc3339(), record: &self.record };
        serde_json::to_string(&line).expect("a record has only names and plain values")
    }

    /// Whether a log in JSON has it at all: what ends an invocation and how is in its other events.
    pub fn is_in_json_log(&self) -> bool {
        !matches!(self.record, PlatformRecord::End(_) | PlatformRecord::Fault(_))
    }

    /// As text, with its newline; `None` where AWS writes nothing.
    pub fn to_text(&self) -> Option<String> {
        match &self.record {
            PlatformRecord::InitStart(start) => Some(format!(
                "INIT_START Runtime Version: {}\tRuntime Version ARN: {}\n",
                start.runtime_version, start.runtime_version_arn
            )),
            PlatformRecord::InitReport(report) => report.text(),
            PlatformRecord::RestoreStart(start) => Some(format!(
                "RESTORE_START Runtime Version: {}\tRuntime Version ARN: {}\n",
                start.runtime_version, start.runtime_version_arn
            )),
            PlatformRecord::RestoreReport(report) => Some(report.text()),
            PlatformRecord::Start(start) => {
                Some(format!("START RequestId: {} Version: {}\n", start.request_id, start.version))
            }
            PlatformRecord::Extension(extension) => Some(extension.text()),
            PlatformRecord::Fault(text) => Some(text.clone()),
            PlatformRecord::End(end) => Some(format!("END RequestId: {}\n", end.request_id)),
            PlatformRecord::Report(report) => Some(report_text(report)),
            PlatformRecord::TelemetrySubscription(subscription) => {
                Some(subscription_text("TELEMETRY", subscription))
            }
            PlatformRecord::LogsSubscription(subscription) => {
                Some(subscription_text("LOGS", subscription))
            }
            PlatformRecord::LogsDropped(dropped) => Some(format!(
                "{} lines were dropped: {}\n",
                dropped.dropped_records, dropped.reason
            )),
            PlatformRecord::InitRuntimeDone(_)
            | PlatformRecord::RestoreRuntimeDone(_)
            | PlatformRecord::RuntimeDone(_) => None,
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    record: &'a PlatformRecord,
}

/// AWS writes the types with a capital here.
fn subscription_text(api: &str, subscription: &Subscription) -> String {
    let capital = |name: &&str| name[..1].to_uppercase() + &name[1..];
    let types: Vec<String> = subscription.types.iter().map(capital).collect();
    let Subscription { name, state, .. } = subscription;
    format!("{api}\tName: {name}\tState: {state}\tTypes: [{}]\n", types.join(", "))
}

fn report_text(report: &Report) -> String {
    let metrics = &report.metrics;
    let init = match metrics.init_duration_ms {
        Some(init) => format!("Init Duration: {:.2} ms\t", init.value()),
        None => String::new(),
    };
    let restore = match (metrics.restore_duration_ms, metrics.billed_restore_duration_ms) {
        (Some(whole), Some(billed)) => format!(
            "Restore Duration: {:.2} ms\tBilled Restore Duration: {billed} ms\t",
            whole.value()
        ),
        _ => String::new(),
    };
    format!(
        "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {} ms\t\
         Memory Size: {} MB\tMax Memory Used: {} MB\t{init}{restore}{}{}\n",
        report.request_id,
        metrics.duration_ms.value(),
        metrics.billed_duration_ms,
        metrics.memory_size_mb,
        metrics.max_memory_used_mb,
        report.ending.text().unwrap_or_default(),
        report.segment.as_ref().map_or_else(String::new, segment_text),
    )
}

/// AWS puts it on a line of its own, in the same event of the log.
fn segment_text(segment: &Segment) -> String {
    format!("\nXRAY TraceId: {}\tSegmentId: {}\tSampled: true\t", segment.trace_id, segment.id)
}

impl Ending {
    pub(super) fn of(status: &Status) -> Ending {
        match status {
            Status::Answered => Ending { status: "success", error_type: None },
            Status::Timeout => Ending { status: "timeout", error_type: None },
            Status::Error(kind) => Ending {
                status: if kind.starts_with("Sandbox.") { "failure" } else { "error" },
                error_type: Some(kind.clone()),
            },
        }
    }

    /// `None` for a good one.
    pub(super) fn text(&self) -> Option<String> {
        match (self.status, &self.error_type) {
            ("success", _) => None,
            (_, Some(kind)) => Some(format!("Status: error\tError Type: {kind}")),
            (status, None) => Some(format!("Status: {status}")),
        }
    }
}

/// Written as AWS writes times.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moment(Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.rfc3339())
    }
}

/// Written as milliseconds with up to three decimals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Millis(pub(super) Duration);

impl Millis {
    pub(super) fn value(self) -> f64 {
        self.0.as_micros() as f64 / 1_000.0
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.value())
    }
}

/// Milliseconds that are billed: rounded up, the start of the environment included.
pub fn billed_ms(outcome: &Outcome) -> u64 {
    let start = outcome.init.map_or(Duration::ZERO, ColdStart::billed);
    whole_ms(outcome.duration + start).max(1)
}

/// Rounded up.
pub(super) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "platform_events_tests.rs"]
mod tests;
