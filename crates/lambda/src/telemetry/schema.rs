//! What happened, in the form of a subscriber's schema.
//!
//! The newest schema is the JSON that `invoke::platform_events` writes; the older ones are made from
//! it by leaving out what AWS's documentation of their time does not have. An event that a schema
//! does not know is not sent: clients refuse a whole batch for one type that they cannot read.
//! `golden/` holds every event in every schema.

use serde_json::{Map, Value, json};

use lambic_rt::Timestamp;

use super::subscription::{Category, Schema};
use crate::invoke::platform_events::{PlatformEvent, PlatformRecord};

/// Something that subscribers may want to be told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// By the platform.
    Platform(&'a PlatformEvent),
    /// A line, with its newline if it has one.
    Line {
        /// Of the function or of extensions.
        category: Category,
        /// When it was read.
        time: Timestamp,
        /// What it says.
        text: &'a str,
        /// Whether the function logs as JSON.
        is_json: bool,
    },
}

impl Event<'_> {
    pub(super) fn category(&self) -> Category {
        match self {
            Event::Platform(_) => Category::Platform,
            Event::Line { category, .. } => *category,
        }
    }

    /// About as many bytes as it has in any schema.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Event::Platform(_) => 256,
            Event::Line { text, .. } => text.len() + 80,
        }
    }
}

/// Whether a subscriber of this schema is told of the event at all.
pub(super) fn is_known(schema: Schema, event: &Event<'_>) -> bool {
    match event {
        Event::Platform(event) => knows(schema, &event.record),
        Event::Line { .. } => true,
    }
}

/// The event as one line of JSON without a newline; `None` when the schema does not know it.
pub(super) fn render(schema: Schema, event: &Event<'_>) -> Option<String> {
    match event {
        Event::Platform(event) => platform(schema, event),
        Event::Line { category, time, text, is_json } => {
            let has_objects =
                matches!(schema, Schema::Telemetry20221213 | Schema::Telemetry20250129);
            let object = (*is_json && has_objects).then(|| object(text)).flatten();
            let record = object.unwrap_or_else(|| Value::from(*text).to_string());
            let (time, kind) = (time.rfc3339(), category.name());
            Some(format!("{{\"time\":\"{time}\",\"type\":\"{kind}\",\"record\":{record}}}"))
        }
    }
}

/// The text itself, if it is a JSON object; on one line, since a batch may be lines.
fn object(text: &str) -> Option<String> {
    let text = text.trim_ascii();
    if !text.starts_with('{') {
        return None;
    }
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    // Only whitespace between members can be a line break: inside of a string JSON forbids it.
    Some(text.replace(['\n', '\r'], " "))
}

fn platform(schema: Schema, event: &PlatformEvent) -> Option<String> {
    if !knows(schema, &event.record) {
        return None;
    }
    if schema == Schema::Telemetry20250129 {
        return Some(event.to_json());
    }
    let mut value: Value =
        serde_json::to_value(&event.record).expect("a record has only names and plain values");
    match value.get_mut("record") {
        Some(Value::Object(record)) => age(schema, &event.record, record),
        Some(Value::String(text)) => text.truncate(text.trim_end().len()),
        _ => {}
    }
    let time = event.time.rfc3339();
    Some(json!({"time": time, "type": value["type"], "record": value["record"]}).to_string())
}

fn knows(schema: Schema, record: &PlatformRecord) -> bool {
    let is_logs = matches!(schema, Schema::Logs20200815 | Schema::Logs20210318);
    match record {
        PlatformRecord::Start(_)
        | PlatformRecord::Report(_)
        | PlatformRecord::Extension(_)
        | PlatformRecord::LogsDropped(_) => true,
        PlatformRecord::InitStart(_)
        | PlatformRecord::InitRuntimeDone(_)
        | PlatformRecord::InitReport(_)
        | PlatformRecord::RuntimeDone(_) => schema != Schema::Logs20200815,
        PlatformRecord::End(_) | PlatformRecord::Fault(_) | PlatformRecord::LogsSubscription(_) => {
            is_logs
        }
        PlatformRecord::TelemetrySubscription(_)
        | PlatformRecord::RestoreStart(_)
        | PlatformRecord::RestoreRuntimeDone(_)
        | PlatformRecord::RestoreReport(_) => !is_logs,
    }
}

/// Makes the newest form of a record that of an older schema.
fn age(schema: Schema, kind: &PlatformRecord, record: &mut Map<String, Value>) {
    let is_logs = matches!(schema, Schema::Logs20200815 | Schema::Logs20210318);
    let is_first = is_logs || schema == Schema::Telemetry20220701;
    let mut without = |names: &[&str]| record.retain(|name, _| !names.contains(&name.as_str()));
    // Tenants are younger than all of them but the newest.
    if matches!(kind, PlatformRecord::Start(_) | PlatformRecord::Report(_)) {
        without(&["tenantId"]);
    }
    match kind {
        PlatformRecord::Start(_) if is_logs => without(&["functionArn", "tracing"]),
        PlatformRecord::Start(_) => without(&["functionArn"]),
        PlatformRecord::InitStart(_) if is_first => {
            without(&["functionName", "functionVersion", "instanceId", "instanceMaxMemory"]);
        }
        PlatformRecord::RestoreStart(_) if is_first => {
            without(&["functionName", "functionVersion", "instanceId", "instanceMaxMemory"]);
        }
        PlatformRecord::InitRuntimeDone(_) if is_logs => {
            without(&["phase", "errorType"]);
            logs_status(record);
        }
        PlatformRecord::InitReport(_) if is_logs => without(&["phase", "status", "errorType"]),
        PlatformRecord::InitReport(_) if is_first => without(&["status", "errorType"]),
        PlatformRecord::RuntimeDone(_) if is_logs => {
            record.retain(|name, _| matches!(name.as_str(), "requestId" | "status"));
            logs_status(record);
        }
        PlatformRecord::RuntimeDone(_) if is_first => {
            if let Some(Value::Array(spans)) = record.get_mut("spans") {
                spans.retain(|span| span["name"] != "runtimeOverhead");
            }
        }
        PlatformRecord::Report(_) if is_logs => without(&["spans", "status", "errorType"]),
        PlatformRecord::Extension(_) if is_first => without(&["errorType"]),
        _ => {}
    }
}

/// The Logs API has one word for what the Telemetry API tells apart.
fn logs_status(record: &mut Map<String, Value>) {
    if let Some(status) = record.get_mut("status")
        && status == "error"
    {
        *status = Value::from("failure");
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
