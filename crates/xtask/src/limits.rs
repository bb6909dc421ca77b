//! `cargo xtask limits`: measures every limit of an execution environment inside functions.
//!
//! The measuring is `tests/e2e/limits.py`, because it is done by real functions through a real client.
//! This command prepares what it needs as the end-to-end tests do, and hands over. The table it writes
//! is `docs/limits.md`; a limit that does not hold makes it fail.

use std::process::Command;

use crate::{shell, test};

/// `cargo xtask limits [--out FILE] [--only WORD]`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    if !test::is_root() {
        return Err("root is needed, because without it some limits are weaker".to_owned());
    }
    let root = shell::root();
    let python = test::prepare(&root)?;
    shell::run(Command::new(python).current_dir(&root).arg("tests/e2e/limits.py").args(args))
}
