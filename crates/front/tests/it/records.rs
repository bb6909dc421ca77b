//! One span, one count, one audit record for each operation.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::world::{World, development};

/// Writes down operations' spans and audit records.
#[derive(Clone, Default)]
struct Recorder {
    lines: Arc<Mutex<Vec<String>>>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !matches!(field.name(), "request_id" | "took_us") {
            write!(self.0, " {}={value:?}", field.name()).unwrap();
        }
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "audit" || metadata.name() == "operation"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut line = Line("span".to_owned());
        attributes.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The records of one request.
async fn check(world: &World, request: &str, audit: &str, count: &str) {
    let recorder = Recorder::default();
    let _guard = tracing::subscriber::set_default(recorder.clone());
    world.ask(&format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    let lines = recorder.lines.lock().unwrap().clone();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("span service=\"fake\""), "{lines:?}");
    assert_eq!(lines[1], audit);
    let text = world.front.metrics().render();
    assert!(text.contains(count), "{count} is missing in\n{text}");
}

#[tokio::test(start_paused = true)]
async fn each_operation_leaves_one_record() {
    let world = World::new(development());
    let who = "account=\"000000000000\" region=\"us-east-1\" \
               principal=arn:aws:iam::000000000000:root";
    let origin = "origin=127.0.0.1:4566";
    let count = |operation: &str, status: u16| {
        format!(
            "lambic_operations_total{{service=\"fake\",operation=\"{operation}\",\
             status=\"{status}\"}} 1\n"
        )
    };
    check(
        &world,
        "GET /echo",
        &format!(
            "DEBUG service=\"fake\" operation=\"GetEcho\" {who} \
             resource=arn:aws:fake:us-east-1:000000000000:echo status=200 {origin}"
        ),
        &count("GetEcho", 200),
    )
    .await;
    check(
        &world,
        "POST /panic",
        &format!(
            "INFO service=\"fake\" operation=\"Panic\" {who} \
             resource=arn:aws:fake:us-east-1:000000000000:panic status=500 \
             code=\"ServiceException\" {origin}"
        ),
        &count("Panic", 500),
    )
    .await;
    check(
        &world,
        "POST /stream",
        &format!(
            "INFO service=\"fake\" operation=\"Stream\" {who} \
             resource=arn:aws:fake:us-east-1:000000000000:stream status=200 \
             streamed_bytes=0 {origin}"
        ),
        &count("Stream", 200),
    )
    .await;
    check(
        &world,
        "GET /echo?bad",
        &format!(
            "DEBUG service=\"fake\" operation=\"GetEcho\" {who} status=400 \
             code=\"ValidationException\" {origin}"
        ),
        &count("GetEcho", 400),
    )
    .await;
    check(
        &world,
        "GET /foreign",
        &format!(
            "DEBUG service=\"fake\" operation=\"GetForeign\" {who} \
             resource=arn:aws:fake:us-east-1:999999999999:foreign status=403 \
             code=\"AccessDeniedException\" {origin}"
        ),
        &count("GetForeign", 403),
    )
    .await;
}
