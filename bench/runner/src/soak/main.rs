//! `soak`: a day of a busy server in twenty minutes, and at its end nothing may be left of it.
//!
//! Life of a run: one data directory; on it one server after the other ([`lives`]). The first lives for
//! half of the time, so that a slow leak has time to show; the others die after some seconds each, by
//! every death there is. Meanwhile callers, a churner and a killer do what their chance says ([`load`]).
//! At checkpoints the load pauses, all environments are retired, and what the server has is compared
//! with what it had at its start ([`census`]); after a death, nothing may be left of the dead one, and
//! what was acknowledged has to be there ([`zoo::Ledger`]). What nobody explains fails the run.

mod census;
mod chance;
mod lives;
mod load;
mod server;
mod soak;
mod table;
mod zoo;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What the run was asked to do.
pub struct Options {
    pub root: PathBuf,
    /// The binary under soak.
    pub lambic: PathBuf,
    pub minutes: f64,
    pub seed: u64,
    pub invokes: u64,
    pub environments: u64,
}

/// A million invokes and 20,000 environments in 20 minutes, and so on in proportion.
const INVOKES_PER_MINUTE: f64 = 50_000.0;
const ENVIRONMENTS_PER_MINUTE: f64 = 1_000.0;
const MINUTES: f64 = 20.0;

fn main() -> ExitCode {
    let run = options().and_then(|options| lives::run(&options));
    match run {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut root = std::env::current_dir().map_err(|error| error.to_string())?;
    let (mut minutes, mut seed, mut lambic) = (MINUTES, 1, None);
    let (mut invokes, mut environments) = (None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--root" => root = PathBuf::from(value()?),
            "--lambic" => lambic = Some(PathBuf::from(value()?)),
            "--minutes" => minutes = number(&word, &value()?)?,
            "--seed" => seed = number(&word, &value()?)?,
            "--invokes" => invokes = Some(number(&word, &value()?)?),
            "--environments" => environments = Some(number(&word, &value()?)?),
            other => {
                return Err(format!(
                    "'{other}' is none of --minutes N, --seed N, --invokes N, --environments N, --lambic FILE"
                ));
            }
        }
    }
    if !(minutes > 0.0 && minutes <= 24.0 * 60.0) {
        return Err("--minutes takes a number above 0, up to a day".to_owned());
    }
    let lambic = lambic.unwrap_or_else(|| root.join("target/release/lambic"));
    if !lambic.is_file() {
        return Err(format!("there is no {}: build it with `cargo build --release`", lambic.display()));
    }
    // SAFETY: a system call without arguments.
    if unsafe { libc::geteuid() } != 0 {
        return Err("the soak needs root: without, environments have no control groups and links".to_owned());
    }
    let invokes = invokes.unwrap_or((INVOKES_PER_MINUTE * minutes) as u64).max(1);
    let environments = environments.unwrap_or((ENVIRONMENTS_PER_MINUTE * minutes) as u64);
    Ok(Options { root, lambic, minutes, seed, invokes, environments })
}

fn number<T: std::str::FromStr>(word: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{word} takes a number, not '{value}'"))
}

/// Asks until the answer is yes.
///
/// # Errors
/// What the question says, or that the time is over.
pub fn until(
    limit: Duration,
    what: &str,
    mut question: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        if question()? {
            return Ok(());
        }
        if begun.elapsed() > limit {
            return Err(format!("waited {} s for {what}", limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
