//! `cargo xtask sim`: how well idle environments are kept, by the product's own code over a made-up day.
//!
//! [`trace`] makes the day, [`world`] lets it pass under a policy, [`bound`] says what was possible at
//! best, [`report`] writes table and plot. The same seed gives the same figures on every machine;
//! `tests/keep_alive.rs` runs a small day as a test.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

mod bound;
mod report;
mod trace;
mod world;

use std::process::ExitCode;

const USAGE: &str = "keep_alive [--seed N] [--functions N] [--into FILE] [--plot FILE]";

struct Options {
    seed: u64,
    functions: u32,
    into: Option<String>,
    plot: Option<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { seed: 1, functions: 600, into: None, plot: None };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        let number = || value.parse::<u32>().map_err(|_| format!("{name} needs a number"));
        match name.as_str() {
            "--seed" => options.seed = number()?.into(),
            "--functions" => options.functions = number()?.max(1),
            "--into" => options.into = Some(value),
            "--plot" => options.plot = Some(value),
            _ => return Err(format!("{name} is not known\n{USAGE}")),
        }
    }
    Ok(options)
}

fn run() -> Result<(), String> {
    let options = options()?;
    let report = report::make(options.seed, options.functions);
    if let Some(file) = &options.plot {
        std::fs::write(file, &report.plot).map_err(|error| format!("{file}: {error}"))?;
    }
    match &options.into {
        Some(file) => report::insert(file, &report.text),
        None => {
            println!("{}", report.text);
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("keep_alive: {message}");
            ExitCode::FAILURE
        }
    }
}
