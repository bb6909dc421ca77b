//! `loadgen`: sends one request over and over and prints what it saw as JSON.
//!
//! `loadgen --address 127.0.0.1:4566 --path /2015-03-31/functions/f/invocations [--body '{}']
//! [--connections 1] [--warm-ms 100] [--window-ms 1000] [--sign KEY:SECRET]`

use std::process::ExitCode;
use std::time::Duration;

use lambic_bench::load::{self, Plan};
use lambic_bench::sign::{self, Signer};

fn main() -> ExitCode {
    match run() {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        words.iter().position(|word| word == name).and_then(|index| words.get(index + 1)).cloned()
    };
    let number = |name: &str, default: u64| match value(name) {
        Some(text) => text.parse().map_err(|_| format!("{name}: '{text}' is no number")),
        None => Ok(default),
    };
    let address = value("--address").ok_or("--address is missing")?;
    let path = value("--path").ok_or("--path is missing")?;
    let body = value("--body").unwrap_or_else(|| "{}".to_owned());
    let signer = value("--sign").and_then(|text| {
        let (key, secret) = text.split_once(':')?;
        Some(Signer { key: key.into(), secret: secret.into(), region: "us-east-1".into() })
    });
    let plan = Plan {
        request: sign::request("POST", &address, &path, body.as_bytes(), signer.as_ref()),
        address: address.parse().map_err(|error| format!("--address {address}: {error}"))?,
        connections: number("--connections", 1)? as usize,
        warm: Duration::from_millis(number("--warm-ms", 100)?),
        window: Duration::from_millis(number("--window-ms", 1_000)?),
    };
    let outcome = load::run(&plan)?;
    serde_json::to_string(&outcome).map_err(|error| error.to_string())
}
