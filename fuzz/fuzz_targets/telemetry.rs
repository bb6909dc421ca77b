//! A subscription of any bytes, and lines of any bytes for whoever has subscribed: there is an answer,
//! and no subscriber is accepted that would be reached outside of the environment.

#![no_main]

use std::io;
use std::sync::Arc;

use lambic_lambda::runtime_api::connection::BoxIo;
use lambic_lambda::telemetry::{Api, Connect, Hub, Source};
use lambic_rt::Rt;
use libfuzzer_sys::fuzz_target;

/// Nobody listens.
struct Deaf;

impl Connect for Deaf {
    fn connect(
        &self,
        port: u16,
    ) -> std::pin::Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send>> {
        assert!(port != 0 && port != 9001);
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

async fn attack(input: &[u8]) {
    let [choice, cut, bytes @ ..] = input else { return };
    let rt = Rt::simulated(1);
    let hub = Hub::new(rt.clone(), choice & 2 != 0);
    hub.reach(Arc::new(Deaf));
    let api = if choice & 1 == 0 { Api::Telemetry } else { Api::Logs };
    let (body, line) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let (answer, told) = hub.subscribe(api, "x", body);
    assert_eq!(answer.status.is_success(), told.is_some());
    // One that is always good, to be told of the line.
    let good = br#"{"types": ["function"], "destination": {"protocol": "TCP", "port": 1}}"#;
    assert!(hub.subscribe(Api::Logs, "good", good).0.status.is_success());
    hub.line(Source::Function, line);
    hub.flush(std::time::Duration::from_secs(1)).await;
}

fuzz_target!(|input: &[u8]| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(attack(input));
});
