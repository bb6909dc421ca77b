//! `loadgen`: sends one request over and over and prints what it saw as JSON.
//!
//! `loadgen --address 127.0.0.1:4566 --path /2015-03-31/functions/f/invocations [--body '{}']
//! [--connections 1] [--warm-ms 100] [--window-ms 1000] [--sign KEY:SECRET] [--real-time yes]
//! [--long-body '{}' --long-every 1000] [--rate 1000 [--random yes]]`
//!
//! With a rate, requests come when they are due, whether or not earlier ones are answered.

use std::process::ExitCode;
use std::time::Duration;

use lambic_bench::load::{self, Plan};
use lambic_bench::sign::{self, Signer};
use lambic_bench::{open, priority};

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
    let request = |body: &str| sign::request("POST", &address, &path, body.as_bytes(), signer.as_ref());
    let (warm, window) = (
        Duration::from_millis(number("--warm-ms", 100)?),
        Duration::from_millis(number("--window-ms", 1_000)?),
    );
    let connections = number("--connections", 1)? as usize;
    let to = address.parse().map_err(|error| format!("--address {address}: {error}"))?;
    if value("--real-time").is_some() && !priority::real_time_self() {
        return Err("no right to real-time priority".to_owned());
    }
    let (long_every, long) = (number("--long-every", 0)?, request(&value("--long-body").unwrap_or_default()));
    let outcome = match number("--rate", 0)? {
        0 => load::run(&Plan {
            address: to,
            request: request(&body),
            long_every,
            long,
            connections,
            warm,
            window,
        })?,
        rate => open::run(&open::Plan {
            address: to,
            short: request(&body),
            long_every,
            long,
            rate: rate as f64,
            random: value("--random").is_some(),
            connections,
            warm,
            window,
        })?,
    };
    serde_json::to_string(&outcome).map_err(|error| error.to_string())
}
