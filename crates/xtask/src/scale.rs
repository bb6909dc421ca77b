//! `cargo xtask scale`: a server with ten thousand functions of ten versions each.
//!
//! The measuring is `tests/e2e/scale.py`, because it is done through a real client. This command prepares
//! what it needs as the end-to-end tests do, and hands over. The table it writes is `docs/scale.md`.

use std::process::Command;

use crate::{shell, test};

/// `cargo xtask scale [--out FILE] [--functions N] [--versions N]`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let root = shell::root();
    let python = test::prepare(&root)?;
    shell::run(Command::new(python).current_dir(&root).arg("tests/e2e/scale.py").args(args))
}
