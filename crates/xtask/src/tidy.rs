//! The layout rules of the repository, as a test.
//!
//! Each rule is a plain function from the files to the sins it finds. Sizes have a ratchet: what
//! was too long when the rule came stands in `tidy-ratchet.toml` with its size, may shrink, and may
//! not grow. Nothing else can be excused.

mod edges;
mod layout;
mod lengths;
mod lexer;
mod words;

pub(crate) use layout::camel_case;

use std::path::Path;

use crate::{coverage, shell};

/// One file of the repository.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether a program wrote it; such files keep to no length and no style.
    pub(crate) fn is_generated(&self) -> bool {
        self.path.rsplit('/').next() == Some("generated.rs") || self.path.contains("/generated/")
    }

    /// `crates/<folder>/...` gives `<folder>`.
    pub(crate) fn crate_folder(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }
}

/// What is wrong, and where: `path:line: message` or `path: message`.
pub(crate) type Sin = String;

const RATCHET: &str = "crates/xtask/tidy-ratchet.toml";

/// `cargo xtask tidy [--ratchet]`
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let root = shell::root();
    let files = read_all(&root)?;
    let lengths = lengths::measure(&files);
    match args {
        [] => {}
        [flag] if flag == "--ratchet" => return lower_ratchet(&root, &lengths),
        _ => return Err("usage: cargo xtask tidy [--ratchet]".to_owned()),
    }
    let ratchet = lengths::parse(&shell::read(&root.join(RATCHET)).unwrap_or_default())?;
    let mut sins = Vec::new();
    sins.extend(edges::check(&edges::manifests(&files)?));
    sins.extend(layout::check(&files));
    sins.extend(words::check(&files));
    sins.extend(lengths::check(&lengths, &ratchet));
    sins.extend(coverage::check(&root)?);
    if sins.is_empty() {
        println!("tidy: {} files, nothing to say", files.len());
        return Ok(());
    }
    for sin in &sins {
        println!("{sin}");
    }
    Err(format!("{} found; each line above says what to do", count(sins.len(), "sin")))
}

fn lower_ratchet(root: &Path, lengths: &lengths::Lengths) -> Result<(), String> {
    let path = root.join(RATCHET);
    let text = if path.exists() {
        lengths::lowered(lengths, &lengths::parse(&shell::read(&path)?)?)
    } else {
        lengths::fresh(lengths)
    };
    shell::write(&path, &text)?;
    println!("tidy: wrote {RATCHET}");
    Ok(())
}

fn read_all(root: &Path) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    for path in shell::repository_files(root)? {
        // Files that are no text (zip packages, pictures) have no words and no length.
        if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
            files.push(File { path, text });
        }
    }
    Ok(files)
}

fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
pub(crate) fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}
