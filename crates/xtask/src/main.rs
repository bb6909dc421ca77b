//! The developer's commands: `cargo xtask <command>`.
//!
//! Everything that a newcomer or the continuous integration does with this repository goes through
//! here, so that there is one way to do it. This file only hands the words on; each command lives
//! in its own file and answers with one sentence when it fails.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

mod bench;
mod coverage;
mod deps;
mod fixtures;
mod r#gen;
mod java;
mod limits;
mod new_op;
mod scale;
mod shell;
mod sim;
mod soak;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  gen [--check]                    write the generated models (--check: only compare)
  java                             compile the Java runtime client (wants a JDK; the rest does not)
  tidy [--ratchet]                 check the layout rules (--ratchet: lower the allowances)
  deps                             check licences and sources of all dependencies
  coverage                         write the table of operations into README.md
  test [--unit] [--e2e] [ARG...]   install what the tests need and run them all (--fixtures: only build)
  limits [--out FILE] [--only WORD]
                                   measure each limit inside functions into docs/limits.md
  bench [...]                      measure against other ways to run functions
  scale [--functions N] [--versions N]
                                   measure 10,000 functions of 10 versions into docs/scale.md
  sim [--seed N] [--functions N]   measure how idle environments are kept into docs/keep-alive.md
  soak [...]                       a day of a busy server in 20 minutes: nothing may leak
  new-op <service> <Operation>     start a new operation: one new file, two edited lines";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = args.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(command, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask {command}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, args: &[String]) -> Result<(), String> {
    match command {
        "gen" => r#gen::run(args),
        "bench" => bench::run(args),
        "java" => java::run(args),
        "limits" => limits::run(args),
        "scale" => scale::run(args),
        "sim" => sim::run(args),
        "soak" => soak::run(args),
        "tidy" => tidy::run(args),
        "deps" => deps::run(args),
        "coverage" => coverage::run(args),
        "test" => test::run(args),
        "new-op" => new_op::run(args),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("there is no command '{other}'\n\n{USAGE}")),
    }
}
