//! The functions of the soak: their packages, the requests that make, change and delete them, and the
//! ledger of what the server has acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use lambic_bench::http::{self, Message};
use lambic_bench::sign;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

/// What kind of function it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A native program, for volume.
    Native,
    /// The same program with a timeout of one second.
    Slow,
    Python,
    Node,
}

/// The functions that are there from the start to the end.
pub const PERMANENT: [(&str, Kind); 9] = [
    ("soak-native-0", Kind::Native),
    ("soak-native-1", Kind::Native),
    ("soak-native-2", Kind::Native),
    ("soak-native-3", Kind::Native),
    ("soak-slow", Kind::Slow),
    ("soak-python-0", Kind::Python),
    ("soak-python-1", Kind::Python),
    ("soak-node-0", Kind::Node),
    ("soak-node-1", Kind::Node),
];

const FUNCTIONS: &str = "/2015-03-31/functions";
/// An ordinary request that takes longer is a failure; a cold start on a busy machine may take long.
pub const REQUEST_S_MAX: u64 = 60;
/// Until a function is `Active`, or its update done.
const SETTLED_S_MAX: u64 = 30;
/// The configuration names the round of its last change.
const ROUND: &str = "ROUND";

/// The zips, in base64.
pub struct Packages(BTreeMap<&'static str, String>);

impl Packages {
    /// `native` is the compiled function.
    pub fn make(bench: &Path, native: &Path) -> Result<Packages, String> {
        let churn = bench.join("functions/churn");
        let files = [
            ("bootstrap", native.to_owned()),
            ("app.py", churn.join("python/app.py")),
            ("index.mjs", churn.join("node/index.mjs")),
        ];
        let mut packages = BTreeMap::new();
        for (name, path) in files {
            let content = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
            let mode = SimpleFileOptions::default().unix_permissions(0o755);
            zip.start_file(name, mode).map_err(|error| error.to_string())?;
            zip.write_all(&content).map_err(|error| error.to_string())?;
            let zip = zip.finish().map_err(|error| error.to_string())?.into_inner();
            packages.insert(name, base64::engine::general_purpose::STANDARD.encode(zip));
        }
        Ok(Packages(packages))
    }

    /// The document of CreateFunction.
    fn document(&self, name: &str, kind: Kind, round: u64) -> Value {
        let (runtime, handler, file) = match kind {
            Kind::Native | Kind::Slow => ("provided.al2023", "bootstrap", "bootstrap"),
            Kind::Python => ("python3.13", "app.handler", "app.py"),
            Kind::Node => ("nodejs22.x", "index.handler", "index.mjs"),
        };
        // Enough that the deeds fit and little enough that it is soon full.
        let memory_mb = if kind == Kind::Node { 256 } else { 128 };
        json!({
            "FunctionName": name, "Runtime": runtime, "Handler": handler, "MemorySize": memory_mb,
            "Timeout": if kind == Kind::Slow { 1 } else { 50 },
            "Role": "arn:aws:iam::000000000000:role/soak",
            "Code": {"ZipFile": self.0[file]}, "Environment": variables(round),
        })
    }
}

fn variables(round: u64) -> Value {
    json!({"Variables": {ROUND: round.to_string()}})
}

/// How a change of a function ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Changed {
    Done,
    /// Another change was in progress: nothing has happened.
    Busy,
}

/// Sends requests to one server.
#[derive(Clone)]
pub struct Api {
    pub address: String,
}

impl Api {
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Result<Message, String> {
        let request = sign::request(method, &self.address, path, body.as_bytes(), None);
        http::ask(&self.address, &request, Duration::from_secs(REQUEST_S_MAX))
    }

    pub fn create(&self, packages: &Packages, name: &str, kind: Kind, round: u64) -> Result<Changed, String> {
        let document = packages.document(name, kind, round).to_string();
        self.change("POST", FUNCTIONS, &document, 201)
    }

    /// Gives the function another configuration, so that its environments are retired.
    pub fn update(&self, name: &str, round: u64) -> Result<Changed, String> {
        let document = json!({"Environment": variables(round)}).to_string();
        self.change("PUT", &format!("{FUNCTIONS}/{name}/configuration"), &document, 200)
    }

    pub fn delete(&self, name: &str) -> Result<Changed, String> {
        self.change("DELETE", &format!("{FUNCTIONS}/{name}"), "", 204)
    }

    fn change(&self, method: &str, path: &str, document: &str, wanted: u16) -> Result<Changed, String> {
        let reply = self.ask(method, path, document)?;
        match reply.status() {
            status if status == wanted => Ok(Changed::Done),
            409 => Ok(Changed::Busy),
            status => Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&reply.body))),
        }
    }

    /// The round of the function's last change; nothing when there is no such function.
    pub fn round(&self, name: &str) -> Result<Option<u64>, String> {
        Ok(self.configuration(name)?.and_then(|found| {
            found["Environment"]["Variables"][ROUND].as_str().and_then(|text| text.parse().ok())
        }))
    }

    fn configuration(&self, name: &str) -> Result<Option<Value>, String> {
        let path = format!("{FUNCTIONS}/{name}/configuration");
        let reply = self.ask("GET", &path, "")?;
        let text = String::from_utf8_lossy(&reply.body);
        match reply.status() {
            200 => serde_json::from_slice(&reply.body).map(Some).map_err(|error| error.to_string()),
            404 => Ok(None),
            status => Err(format!("GET {path}: {status} {text}")),
        }
    }

    /// Waits until a function that was made or changed can be changed again.
    pub fn settled(&self, name: &str) -> Result<(), String> {
        crate::until(Duration::from_secs(SETTLED_S_MAX), &format!("{name} to be settled"), || {
            let found = self.configuration(name)?.ok_or(format!("{name} is gone"))?;
            Ok(found["State"] == "Active" && found["LastUpdateStatus"] == "Successful")
        })
    }

    /// A figure of `/metrics`.
    pub fn figure(&self, name: &str) -> Result<u64, String> {
        let reply = self.ask("GET", "/metrics", "")?;
        let text = String::from_utf8_lossy(&reply.body);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<f64>().ok())
            .map(|value| value as u64)
            .ok_or(format!("/metrics has no {name}"))
    }

    /// The names of all functions; the soak has fewer than a page holds.
    pub fn names(&self) -> Result<BTreeSet<String>, String> {
        let reply = self.ask("GET", &format!("{FUNCTIONS}/"), "")?;
        let found: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
        let names = found["Functions"].as_array().ok_or(format!("ListFunctions: {found}"))?;
        Ok(names.iter().filter_map(|one| one["FunctionName"].as_str()).map(str::to_owned).collect())
    }
}

/// What each function may look like: the round of its last change, or nothing for no function. One
/// entry after an acknowledged request, two while one is under way or was cut off.
#[derive(Default)]
pub struct Ledger(BTreeMap<String, BTreeSet<Option<u64>>>);

impl Ledger {
    /// A change is about to be asked for.
    pub fn begins(&mut self, name: &str, wanted: Option<u64>) {
        self.0.entry(name.to_owned()).or_insert_with(|| BTreeSet::from([None])).insert(wanted);
    }

    /// It was acknowledged.
    pub fn acknowledged(&mut self, name: &str, now: Option<u64>) {
        self.0.insert(name.to_owned(), BTreeSet::from([now]));
    }

    /// It was refused, so nothing has happened.
    pub fn refused(&mut self, name: &str, wanted: Option<u64>) {
        if let Some(may) = self.0.get_mut(name)
            && may.len() > 1
        {
            may.remove(&wanted);
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Compares with what there is. What is wrong, in words.
    pub fn check(&mut self, name: &str, found: Option<u64>) -> Result<(), String> {
        let may = self.0.entry(name.to_owned()).or_default();
        if !may.contains(&found) {
            return Err(format!("{name}: acknowledged {may:?}, found {found:?}"));
        }
        *may = BTreeSet::from([found]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_off_change_may_have_happened_or_not_and_an_acknowledged_one_has() {
        let mut ledger = Ledger::default();
        ledger.begins("f", Some(1));
        ledger.acknowledged("f", Some(1));
        assert!(ledger.check("f", None).is_err());
        ledger.begins("f", Some(2));
        assert!(ledger.check("f", Some(3)).is_err());
        ledger.check("f", Some(1)).unwrap();
        assert!(ledger.check("f", Some(2)).is_err(), "what was seen once is what there is");
        ledger.begins("f", None);
        ledger.refused("f", None);
        ledger.check("f", Some(1)).unwrap();
    }
}
