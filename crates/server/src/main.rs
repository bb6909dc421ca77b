//! `lambic`: AWS Lambda on your own machines, as one program.
//!
//! This crate wires the others together and talks to the person who started it. It decides nothing
//! about AWS: configuration in, a running server out, one sentence and an exit code when that
//! cannot be.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

mod announce;
mod awake;
mod cli;
mod config;
mod demo;
mod doctor;
mod failure;
mod functions;
mod heap;
mod logging;
mod machine_runtimes;
mod notify;
mod serve;
mod sign;
mod signals;
mod spawner;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, DemoArgs, SettingArgs};
use crate::config::{Config, Sources};
use crate::failure::Failure;
use crate::serve::Purpose;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print_failure(&failure);
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(args) if args.print_default_config => {
            print_defaults();
            Ok(())
        }
        Command::Serve(args) => serve::run(configuration(&args.settings)?, Purpose::Serve),
        Command::Demo(args) => run_demo(&args),
        Command::Doctor(settings) => doctor::run(&configuration(&settings)?),
        Command::Config => {
            print_defaults();
            Ok(())
        }
        Command::Sign(args) => sign::run(&args),
        Command::SigningProfile(args) => sign::profile(&args),
    }
}

fn configuration(settings: &SettingArgs) -> Result<Config, Failure> {
    config::load(Sources::real(settings.config.clone(), settings.flags()))
}

/// The demo keeps away from real data: unless flags say otherwise it has a directory of its own,
/// which goes when the demo ends, and takes another port when the usual one is busy.
fn run_demo(args: &DemoArgs) -> Result<(), Failure> {
    let mut config = configuration(&args.settings)?;
    if args.settings.listen.is_none() && TcpListener::bind(config.listen).is_err() {
        config.listen.set_port(0);
    }
    // What the demo prints is the point; the log speaks up only when something is wrong.
    config.log.json = false;
    if args.settings.log_level.is_none() {
        config.log.level = "warn".to_owned();
    }
    let scratch = args.settings.data_dir.is_none().then(scratch_folder);
    if let Some(folder) = &scratch {
        config.data_dir.clone_from(folder);
    }
    let ended = serve::run(config, Purpose::Demo { once: args.once });
    if let Some(folder) = &scratch {
        remove(folder);
    }
    ended
}

fn scratch_folder() -> PathBuf {
    std::env::temp_dir().join(format!("lambic-demo-{}", std::process::id()))
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        eprintln!("lambic: cannot remove {}: {error}", folder.display());
    }
}

/// One line on standard error, which may be closed.
fn print_failure(failure: &Failure) {
    drop(writeln!(std::io::stderr(), "lambic: {failure}"));
}

/// Whoever reads the defaults may stop reading in the middle.
fn print_defaults() {
    drop(std::io::stdout().write_all(config::DEFAULTS.as_bytes()));
}
