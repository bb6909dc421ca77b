//! The Rust function that is measured: it adds one, on the official `lambda_runtime` crate, and takes as
//! long as the event asks for.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    if let Some(ms) = event.payload["sleep_ms"].as_u64() {
        // An environment serves one invocation at a time, so there is nothing else to be done meanwhile.
        std::thread::sleep(Duration::from_millis(ms));
    }
    let n = event.payload["n"].as_i64().unwrap_or(0);
    Ok(json!({"ok": true, "n": n + 1}))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}
