//! The closing table.

use std::collections::BTreeMap;

/// What the run came to.
#[derive(Default)]
pub struct Tally {
    pub seconds: f64,
    pub environments: u64,
    /// Deaths of servers by kind.
    pub deaths: BTreeMap<&'static str, u64>,
    pub checkpoints: u64,
    /// Leaks by kind, and in words.
    pub leaks: BTreeMap<&'static str, u64>,
    pub leak_texts: Vec<String>,
    /// Figures of the longest life: at its start and at its end.
    pub figures: Vec<(&'static str, u64, u64)>,
    pub restart_slowest_ms: u64,
}

/// Kinds of leaks that the table names even when there are none.
const KINDS: [&str; 13] = [
    "processes",
    "control groups",
    "mounts",
    "namespaces",
    "links",
    "filter tables",
    "loop devices",
    "descriptors of the daemon",
    "descriptors of the spawner",
    "memory of the daemon, kB",
    "memory of the spawner, kB",
    "disk, kB",
    "folders",
];

/// Texts of leaks at the end.
const TEXTS_MAX: usize = 40;

impl Tally {
    pub fn leaked(&mut self, kind: &'static str, many: u64, text: String) {
        eprintln!("leak: {text}");
        *self.leaks.entry(kind).or_default() += many;
        self.leak_texts.push(text);
    }
}

/// One line: a name and what there is of it.
fn row(name: &str, value: &str) {
    println!("  {name:<34} {value}");
}

/// Prints everything.
pub fn print(tally: &Tally, counts: &crate::soak::Counts, texts: &[String]) {
    use std::sync::atomic::{AtomicU64, Ordering};
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed).to_string();
    println!("\nsoak of {:.0} s", tally.seconds);
    row("invokes", &of(&counts.invokes));
    row("  cut off by a server's death", &of(&counts.cut_off));
    row("  explained by a kill inside", &of(&counts.excused));
    row("environments", &tally.environments.to_string());
    row("functions made, changed, deleted", &of(&counts.changes));
    row("processes killed inside", &of(&counts.kills_inside));
    for (kind, count) in &tally.deaths {
        row(&format!("server: {kind}"), &count.to_string());
    }
    row("slowest restart, ms", &tally.restart_slowest_ms.to_string());
    let slowest = counts.slowest_us.load(Ordering::Relaxed) as f64 / 1_000.0;
    row("slowest quick answer, ms", &format!("{slowest:.1}"));
    row("checkpoints", &tally.checkpoints.to_string());
    row("unexpected", &of(&counts.unexpected));
    println!("\n  leaks");
    let others = tally.leaks.keys().filter(|kind| !KINDS.contains(kind));
    for kind in KINDS.iter().chain(others) {
        row(&format!("  {kind}"), &tally.leaks.get(kind).copied().unwrap_or(0).to_string());
    }
    println!("\n  the longest life: first checkpoint, last checkpoint");
    for (name, first, last) in &tally.figures {
        row(&format!("  {name}"), &format!("{first:>8} {last:>8}"));
    }
    println!();
    for text in texts.iter().chain(tally.leak_texts.iter().take(TEXTS_MAX)) {
        println!("  ! {text}");
    }
    let more = tally.leak_texts.len().saturating_sub(TEXTS_MAX);
    if more > 0 {
        println!("  ! and {more} leaks more; each was printed when it was found");
    }
}
