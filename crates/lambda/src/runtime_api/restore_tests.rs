//! SnapStart's part of the Runtime API, as a runtime sees it.

use super::*;
use crate::runtime_api::life::Life;
use crate::runtime_api::tests::Bench;

const NEXT: &str = "GET /2018-06-01/runtime/restore/next";
const CREDENTIALS: &str = "GET /2021-04-23/credentials";

pub(in crate::runtime_api) fn bench(is_template: bool) -> Bench {
    let session = Session {
        access_key_id: "ASIA1".into(),
        secret_access_key: "secret".into(),
        session_token: "token".into(),
    };
    Bench::with_snapstart(SnapStart { is_template, token: "sesame".into(), session })
}

#[tokio::test]
async fn restored_at_once_and_then_as_any_other() {
    let bench = bench(false);
    let mut runtime = bench.connect();
    let restored = runtime.request(NEXT, "", b"").await;
    assert_eq!((restored.status, restored.text()), (200, ""));
    assert_eq!(bench.told.take(), ["restoring"]);
    let twice = runtime.request(NEXT, "", b"").await;
    assert_eq!(twice.status, 403);
    assert!(
        twice.text().contains("State transition from Restoring to RestoreReady failed"),
        "{twice:?}"
    );
    runtime.send(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n").await;
    bench.until(Life::Idle).await;
    let _receiver = bench.hand_out("a").unwrap();
    assert_eq!(runtime.try_reply().await.unwrap().request_id(), "a");
    let late = bench.connect().post("restore/error", b"{}").await;
    assert_eq!(late.status, 403, "{late:?}");
}

#[tokio::test]
async fn a_template_is_not_answered_as_long_as_it_lives() {
    let bench = bench(true);
    let mut runtime = bench.connect();
    runtime.send(b"GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nHost: x\r\n\r\n").await;
    bench.until(Life::RestoreReady).await;
    assert_eq!(bench.told.take(), ["template"]);
    let mut other = bench.connect();
    let next = other.request("GET /2018-06-01/runtime/invocation/next", "", b"").await;
    assert_eq!(next.status, 403, "it gets no events");
    assert_eq!(other.post("restore/error", b"{}").await.status, 403);
    bench.desk.close(Default::default());
    assert_eq!(runtime.try_reply().await.unwrap().status, 403);
}

#[tokio::test]
async fn what_fails_before_and_after_is_told_apart() {
    let kind = "Lambda-Runtime-Function-Error-Type: Runtime.AfterRestoreError\r\n";
    for route in ["restore/error", "init/error"] {
        let bench = bench(false);
        let mut runtime = bench.connect();
        assert_eq!(runtime.request(NEXT, "", b"").await.status, 200);
        let reply = runtime.post_with(route, kind, b"{\"errorMessage\":\"no\"}").await;
        assert_eq!((reply.status, reply.text()), (202, "{\"status\":\"OK\"}\n"), "{route}");
        let said = "restore failed Runtime.AfterRestoreError {\"errorMessage\":\"no\"}";
        assert_eq!(bench.told.take(), ["restoring", said], "{route}");
        assert_eq!(bench.desk.life(), Life::RestoreFailed);
        assert_eq!(runtime.post("restore/error", b"{}").await.status, 403);
    }
    let bench = bench(true);
    let kind = "Lambda-Runtime-Function-Error-Type: Runtime.BeforeSnapshotError\r\n";
    let reply = bench.connect().post_with("init/error", kind, b"{}").await;
    assert_eq!(reply.status, 202);
    assert_eq!(bench.told.take(), ["init failed Runtime.BeforeSnapshotError {}"]);
}

#[tokio::test]
async fn the_routes_are_there_with_snapstart_only() {
    let bench = bench(false);
    let mut runtime = bench.connect();
    for wrong in ["POST /2018-06-01/runtime/restore/next", "GET /2018-06-01/runtime/restore/error"]
    {
        assert_eq!(runtime.request(wrong, "", b"").await.status, 405, "{wrong}");
    }
    let plain = Bench::new();
    let mut runtime = plain.connect();
    for absent in [NEXT, "POST /2018-06-01/runtime/restore/error", CREDENTIALS] {
        assert_eq!(runtime.request(absent, "", b"").await.status, 404, "{absent}");
    }
    assert!(plain.told.take().is_empty());
}

#[tokio::test]
async fn credentials_are_for_those_who_know_the_token() {
    let bench = bench(true);
    let mut runtime = bench.connect();
    for wrong in ["", "Authorization: open\r\n", "Authorization: Bearer sesame\r\n"] {
        assert_eq!(runtime.request(CREDENTIALS, wrong, b"").await.status, 404, "{wrong}");
    }
    let reply = runtime.request(CREDENTIALS, "Authorization: sesame\r\n", b"").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let shown: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let expiration = shown["Expiration"].as_str().unwrap().to_owned();
    assert_eq!(
        shown,
        serde_json::json!({
            "AccessKeyId": "ASIA1", "SecretAccessKey": "secret", "Token": "token",
            "Expiration": expiration,
        })
    );
    assert!(expiration > lambic_rt::Rt::real().now().rfc3339(), "{expiration}");
}
