//! Where the results go: JSON after each part, and from the JSON of a whole run everything that the
//! documentation shows. So whether tables and plots are true to what was measured can be checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use lambic_bench::proc;

use crate::parts::Bench;
use crate::record::Record;
use crate::setup::Kit;
use crate::{peers, plots, tables, targets};

/// The last whole run.
const RECORD: &str = "docs/bench/record.json";
/// Why targets are not reached, by their keys.
const REASONS: &str = "bench/reasons.json";
const TABLE: &str = "docs/bench-table.md";
const README: [&str; 3] = ["README.md", "<!-- bench:begin -->", "<!-- bench:end -->"];
const PAGE: [&str; 3] = ["docs/performance.md", "<!-- targets:begin -->", "<!-- targets:end -->"];

/// The last run, whole or not.
///
/// # Errors
/// When there is none.
pub fn last(root: &Path) -> Result<Record, String> {
    Record::load(&root.join("bench/out/latest.json"))
}

/// Keeps what there is by now.
pub fn keep(bench: &Bench) -> Result<(), String> {
    let out = bench.options.root.join("bench/out");
    for name in [bench.record.at.as_str(), "latest"] {
        bench.record.save(&out.join(format!("{name}.json")))?;
    }
    Ok(())
}

/// The end of a run: prints the tables, writes the plots, and the documentation when it is a whole run.
///
/// # Errors
/// When a file cannot be written, or every part failed.
pub fn finish(bench: &Bench) -> Result<(), String> {
    keep(bench)?;
    let (record, root) = (&bench.record, &bench.options.root);
    println!("\n{}", tables::page(record, None));
    for (what, how) in &record.priorities {
        println!("priority  {what}: {how}");
    }
    for (what, error) in &record.failures {
        println!("failed    {what}: {error}");
    }
    let out = root.join("bench/out");
    for (name, svg) in plots::all(record) {
        write(&out.join(format!("{name}.svg")), &svg)?;
    }
    if record.samples.is_empty() {
        return Err("nothing could be measured".to_owned());
    }
    if bench.options.writes() {
        record.save(&root.join(RECORD))?;
        render(root)?;
    }
    Ok(())
}

/// Writes what the documentation shows, from the last whole run.
///
/// # Errors
/// When there is none, or a file cannot be written.
pub fn render(root: &Path) -> Result<(), String> {
    for (path, text) in documents(root)? {
        write(&path, &text)?;
    }
    Ok(())
}

/// Compares it instead.
///
/// # Errors
/// When a document is not what it should be.
pub fn check(root: &Path) -> Result<(), String> {
    let differs =
        |(path, text): &(PathBuf, String)| std::fs::read_to_string(path).ok().as_ref() != Some(text);
    let strange: Vec<String> = documents(root)?
        .iter()
        .filter(|one| differs(one))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if strange.is_empty() {
        return Ok(());
    }
    Err(format!("not made from {RECORD}: {}; `cargo xtask bench --render` writes them", strange.join(", ")))
}

/// All documents as they should be.
fn documents(root: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let record = Record::load(&root.join(RECORD))?;
    let reasons = std::fs::read_to_string(root.join(REASONS)).unwrap_or_else(|_| "{}".to_owned());
    let reasons: BTreeMap<String, String> =
        serde_json::from_str(&reasons).map_err(|error| format!("{REASONS}: {error}"))?;
    let verdicts = targets::all(&record);
    if let Some(strange) = reasons.keys().find(|key| verdicts.iter().all(|one| one.key != key.as_str())) {
        return Err(format!("{REASONS}: there is no target '{strange}'"));
    }
    let table = tables::page(&record, Some(&reasons));
    let mut with_reasons = tables::verdicts(&verdicts, Some(&reasons));
    let mut documents = Vec::new();
    for (name, svg) in plots::all(&record) {
        with_reasons.push_str(&format!("\n![{name}](bench/{name}.svg)\n"));
        documents.push((root.join(format!("docs/bench/{name}.svg")), svg));
    }
    documents.push(between(root, README, &table)?);
    documents.push(between(root, PAGE, &with_reasons)?);
    documents.push((root.join(TABLE), table));
    Ok(documents)
}

/// A document with this text between its marks.
fn between(root: &Path, [file, begin, end]: [&str; 3], table: &str) -> Result<(PathBuf, String), String> {
    let path = root.join(file);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let replaced =
        replace(&text, begin, end, table).ok_or_else(|| format!("{file} has no {begin} … {end}"))?;
    Ok((path, replaced))
}

fn replace(text: &str, begin: &str, end: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{table}{end}{after}"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Processor, kernel, groups, versions and priority, in one line.
pub fn machine(kit: &Kit, nice: i32) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let version =
        |program: &Path, word: &str| Kit::printed(Command::new(program).arg(word)).unwrap_or_default();
    format!(
        "{} × {model}, Linux {}, {}, {}, Node.js {}, nice {nice}",
        peers::processors(),
        read("/proc/sys/kernel/osrelease").trim(),
        proc::cgroup_version(),
        version(&kit.python(), "--version"),
        version(&kit.node(), "--version").trim_start_matches('v'),
    )
}

/// The load averages, as the kernel words them.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The commit that is checked out; empty outside a checkout.
pub fn commit(root: &Path) -> String {
    let mut git = Command::new("git");
    Kit::printed(git.current_dir(root).args(["rev-parse", "--short", "HEAD"])).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_goes_between_its_marks() {
        let text = "a\n<b>\nold\n</b>\nc";
        let new = replace(text, "<b>", "</b>", "new\n").unwrap();
        assert_eq!(new, "a\n<b>\nnew\n</b>\nc");
        assert_eq!(replace(&new, "<b>", "</b>", "new\n").unwrap(), new);
        assert!(replace("a", "<b>", "</b>", "new").is_none() && replace("<b>", "<b>", "</b>", "").is_none());
    }

    #[test]
    fn the_documentation_shows_what_was_measured() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        check(&root).unwrap();
    }
}
