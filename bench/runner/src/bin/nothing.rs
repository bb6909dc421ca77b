//! `nothing`: prints one byte. The least that a program can do and be seen.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(b".")
}
