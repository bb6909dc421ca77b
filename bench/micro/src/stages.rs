//! The stages that are measured, each as a closure that does it once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use lambic_lambda::invoke::admit::{Account, Meter, Provisioned};
use lambic_lambda::invoke::fault::Status;
use lambic_lambda::invoke::place::{Budget, IdleEnvironment, Placement, Used, place};
use lambic_lambda::invoke::platform_events::{PlatformEvent, PlatformRecord, Report};
use lambic_lambda::invoke::pool::{Answer, Free, Pool};
use lambic_lambda::invoke::worth::Worth;
use lambic_lambda::runtime_api::desk::{Outcome, Reply};
use lambic_model_lambda::{Routed, ops};
use lambic_rt::Rt;
use lambic_wire::event_stream;
use lambic_wire::operation::{Operation, Request};
use lambic_wire::sigv4::{self, Credentials, SigningKey};

use crate::runtime::Conversation;

/// One of them, ready to be done.
pub type Stage = Box<dyn FnMut()>;

/// One by its name, and what makes it ready.
pub type Named = (&'static str, fn() -> Stage);

/// All, by name, in the order in which an invoke meets them.
pub const STAGES: [Named; 9] = [
    ("signature: parse and verify", signature),
    ("signature: derive the key", key),
    ("route and decode Invoke", route_and_decode),
    ("admit and give back", admit),
    ("pool: take and become idle", pool),
    ("place among 100 idle", place_one),
    ("Runtime API: next and response", runtime_api),
    ("REPORT line", report),
    ("event stream frame", frame),
];

const NOW_S: i64 = 1_800_000_000;

fn request() -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "127.0.0.1:4566"),
        ("content-type", "application/json"),
        (
            "user-agent",
            "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux lang/python#3.13.0 cfg/retry-mode#legacy",
        ),
        ("x-amz-invocation-type", "RequestResponse"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let mut request = Request {
        method: Method::POST,
        path: "/2015-03-31/functions/hello/invocations".to_owned(),
        query: String::new(),
        headers,
        body: Bytes::from_static(br#"{"name": "Ada", "n": 1}"#),
    };
    sigv4::sign(&mut request, &credentials(), "us-east-1", "lambda", NOW_S);
    request
}

fn credentials() -> Credentials {
    Credentials {
        access_key_id: "LKIAEXAMPLE".to_owned(),
        secret_access_key: "a secret of forty characters, more or so".to_owned(),
        session_token: None,
    }
}

fn signature() -> Stage {
    let (request, secret) = (request(), credentials().secret_access_key);
    let claim = sigv4::parse(&request).expect("well formed").expect("signed");
    let key = SigningKey::derive(&secret, &claim.date, &claim.region, &claim.service);
    Box::new(move || {
        let claim = sigv4::parse(&request).expect("well formed").expect("signed");
        sigv4::verify_with_key(&request, &claim, &key, NOW_S).expect("the signature is right");
    })
}

fn key() -> Stage {
    let secret = credentials().secret_access_key;
    Box::new(move || {
        divan::black_box(SigningKey::derive(&secret, "20270115", "us-east-1", "lambda"));
    })
}

fn route_and_decode() -> Stage {
    let request = request();
    Box::new(move || {
        let Routed::Op(_, labels) =
            lambic_model_lambda::route(&request.method, &request.path, &request.query)
        else {
            panic!("Invoke has a route");
        };
        divan::black_box(ops::Invoke::decode(&request, &labels).expect("a good request"));
    })
}

fn admit() -> Stage {
    let meter = Meter::new(Account::new(1_000));
    let provisioned = Arc::new(Provisioned::default());
    Box::new(move || drop(divan::black_box(meter.admit(&provisioned).expect("there is room"))))
}

fn pool() -> Stage {
    let (mut pool, now) = (Pool::default(), Rt::real().instant());
    for id in 0..8 {
        pool.starts(id, now);
        assert_eq!(pool.ready(id, now), Free::Idle);
    }
    let mut ticket = 0;
    Box::new(move || {
        ticket += 1;
        let Answer::Use(id) = pool.request(ticket, now) else { panic!("one is idle") };
        pool.responded(id, now + Duration::from_secs(1));
        assert_eq!(pool.ready(id, now), Free::Idle);
    })
}

fn place_one() -> Stage {
    let idle: Vec<IdleEnvironment> = (0..100u64)
        .map(|id| IdleEnvironment { id, worth: Worth(1.0 / (id + 1) as f32), memory_mb: 128 })
        .collect();
    let budget = Budget { memory_mb_max: 12_800, environments_max: 1_000 };
    let used = Used { memory_mb: 12_800, environments: 100 };
    Box::new(move || assert_ne!(divan::black_box(place(budget, used, 256, idle.clone())), Placement::Full))
}

fn runtime_api() -> Stage {
    let mut conversation = Conversation::new();
    Box::new(move || conversation.invoke())
}

fn report() -> Stage {
    let rt = Rt::real();
    let outcome = Outcome {
        request_id: "8f5b2c9e-3a61-4b0f-9c65-1d6a5f2e7b10".to_owned(),
        duration: Duration::from_micros(1_234),
        init: None,
        status: Status::Answered,
        is_error: false,
        fault: None,
        reply: None::<Reply>,
        segment: None,
        extension_overhead: None,
    };
    Box::new(move || {
        let report = Report::new(&outcome, rt.now(), 128, 64, None);
        let event = PlatformEvent { time: rt.now(), record: PlatformRecord::Report(report) };
        divan::black_box(event.to_text());
    })
}

fn frame() -> Stage {
    let payload = Bytes::from(vec![b'x'; 4_096]);
    Box::new(move || {
        divan::black_box(event_stream::message(&[(":event-type", "PayloadChunk")], &payload));
    })
}
