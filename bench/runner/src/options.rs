//! What the run was asked to do.

use std::path::PathBuf;

use crate::parts::PARTS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Measure,
    /// Writes tables and plots again, from what was measured.
    Render,
    /// Tells whether tables and plots are those of what was measured.
    Check,
}

#[derive(Debug)]
pub struct Options {
    pub mode: Mode,
    pub root: PathBuf,
    /// The binary that is measured.
    pub lambic: PathBuf,
    pub rounds: usize,
    pub window_ms: u64,
    pub quick: bool,
    /// No real-time priority, whether or not it could be had.
    pub nice_only: bool,
    /// Parts to run; all when empty.
    pub only: Vec<String>,
    /// Goes on with the run that was interrupted: its parts that are done are not run again.
    pub resume: bool,
    /// Whether the documentation is written though the run is quick or of some parts only.
    pub write: bool,
}

const USAGE: &str = "--quick, --only PART,..., --rounds N, --window-ms N (at most 800), --nice-only, \
                     --lambic FILE, --resume, --write, --check, --render";
/// With what comes before it, within the second of which the kernel leaves real time 950 ms.
const WINDOW_MS_MAX: u64 = 800;

impl Options {
    /// Whether a part is to run.
    pub fn runs(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == part)
    }

    /// Whether the documentation is to show what was measured.
    pub fn writes(&self) -> bool {
        self.write || (self.only.is_empty() && !self.quick)
    }
}

/// # Errors
/// For words that are no options, and when there is nothing to measure.
pub fn parse(words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        mode: Mode::Measure,
        root: std::env::current_dir().map_err(|error| error.to_string())?,
        lambic: PathBuf::new(),
        rounds: 0,
        window_ms: 0,
        quick: false,
        nice_only: false,
        only: Vec::new(),
        resume: false,
        write: false,
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--quick" => options.quick = true,
            "--nice-only" => options.nice_only = true,
            "--resume" => options.resume = true,
            "--write" => options.write = true,
            "--check" => options.mode = Mode::Check,
            "--render" => options.mode = Mode::Render,
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--root" => options.root = PathBuf::from(value()?),
            "--lambic" => options.lambic = PathBuf::from(value()?),
            "--rounds" => options.rounds = number(&value()?)? as usize,
            "--window-ms" => options.window_ms = number(&value()?)?.min(WINDOW_MS_MAX),
            other => return Err(format!("'{other}' is none of {USAGE}")),
        }
    }
    let known: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
    if let Some(strange) = options.only.iter().find(|one| !known.contains(&one.as_str())) {
        return Err(format!("'{strange}' is no part; parts are {}", known.join(", ")));
    }
    if options.rounds == 0 {
        options.rounds = if options.quick { 3 } else { 7 };
    }
    if options.window_ms == 0 {
        options.window_ms = if options.quick { 400 } else { WINDOW_MS_MAX };
    }
    if options.lambic.as_os_str().is_empty() {
        options.lambic = options.root.join("target/release/lambic");
    }
    if options.mode == Mode::Measure && !options.lambic.is_file() {
        return Err(format!(
            "there is no {}: build it with `cargo build --release`",
            options.lambic.display()
        ));
    }
    Ok(options)
}

fn number(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("'{text}' is no number above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_full_run_writes_and_parts_do_not() {
        let full = parsed("--lambic /proc/self/exe").unwrap();
        assert!(full.writes() && full.runs("warm") && full.rounds >= 5 && full.window_ms <= 800);
        let parts = parsed("--lambic /proc/self/exe --only warm,cold --window-ms 5000").unwrap();
        assert!(!parts.writes() && parts.runs("cold") && !parts.runs("tail") && parts.window_ms == 800);
        assert!(!parsed("--lambic /proc/self/exe --quick").unwrap().writes());
        assert!(parsed("--lambic /proc/self/exe --quick --write").unwrap().writes());
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert!(parsed("--only hot --lambic /proc/self/exe").unwrap_err().contains("'hot' is no part"));
        assert!(parsed("--fast").unwrap_err().contains("--quick"));
        assert!(parsed("--rounds 0").unwrap_err().contains("no number above 0"));
        assert!(parsed("--rounds").unwrap_err().contains("needs a value"));
        assert!(parsed("--lambic /nowhere/lambic").unwrap_err().contains("/nowhere/lambic"));
        assert!(parsed("--check --lambic /nowhere/lambic").is_ok());
    }
}
