//! Lambic as users run it: the release binary, full isolation, logs, and signatures verified.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use lambic_bench::http::{self, Message};
use lambic_bench::sign::{self, Signer};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::peers::{Running, connected, free_port, retried};
use crate::setup::Kit;
use crate::{CALLERS, EVENT, Options, RUNTIMES, Start, Target};

/// Of each kind; Lambic's default.
const SPARES: usize = 2;
/// Spares may come back while they are being given away.
const TRIES: usize = 5;
const KEY: &str = "LKIABENCH";
const SECRET: &str = "bench-secret";

pub struct Contender {
    // Before the folder, so that the server has ended when its data is removed.
    _server: Running,
    _folder: Folder,
    address: String,
    packages: Vec<Package>,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a runtime's function is created.
struct Package {
    runtime: &'static str,
    id: String,
    handler: &'static str,
    zip: Vec<u8>,
}

/// Starts the server and creates one function for each runtime.
pub fn start(options: &Options, kit: &Kit) -> Result<Contender, String> {
    let folder = Folder(std::env::temp_dir().join(format!("lambic-bench-{}", std::process::id())));
    let text = |error: std::io::Error| format!("{}: {error}", folder.0.display());
    std::fs::create_dir_all(&folder.0).map_err(text)?;
    let config = folder.0.join("lambic.toml");
    let user = format!(
        "auth = \"required\"\n[[user]]\naccess_key_id = \"{KEY}\"\nsecret_access_key = \"{SECRET}\"\naccount = \"111122223333\"\n"
    );
    std::fs::write(&config, user).map_err(text)?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new(&options.lambic);
    command.args(["serve", "--listen", &address, "--config"]).arg(&config);
    command.arg("--data-dir").arg(folder.0.join("data"));
    let server = Running::start(&mut command)?;
    connected(&address)?;
    let mut packages = Vec::new();
    for runtime in RUNTIMES {
        packages.push(package(kit, runtime)?);
    }
    let contender = Contender { _server: server, _folder: folder, address, packages };
    for package in &contender.packages {
        contender.create(name_of(package.runtime), package)?;
        contender.invoke(name_of(package.runtime))?;
    }
    Ok(contender)
}

fn name_of(runtime: &str) -> &'static str {
    match runtime {
        "Python" => "python",
        "Node.js" => "node",
        _ => "rust",
    }
}

fn package(kit: &Kit, runtime: &'static str) -> Result<Package, String> {
    let (id, handler, file, path) = match runtime {
        "Python" => (python_id(kit)?, "app.handler", "app.py", kit.function(runtime).join("app.py")),
        "Node.js" => (node_id()?, "index.handler", "index.mjs", kit.function(runtime).join("index.mjs")),
        _ => ("provided.al2023".to_owned(), "bootstrap", "bootstrap", kit.program("bootstrap")),
    };
    let content = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mode = SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file(file, mode).map_err(|error| error.to_string())?;
    zip.write_all(&content).map_err(|error| error.to_string())?;
    let zip = zip.finish().map_err(|error| error.to_string())?.into_inner();
    Ok(Package { runtime, id, handler, zip })
}

/// The id of the interpreter that the peers use too.
fn python_id(kit: &Kit) -> Result<String, String> {
    let script = "import sys; print('python%d.%d' % sys.version_info[:2])";
    printed(Command::new(kit.peer("python")).args(["-c", script]))
}

fn node_id() -> Result<String, String> {
    printed(Command::new("node").args(["-p", "`nodejs${process.versions.node.split('.')[0]}.x`"]))
}

fn printed(command: &mut Command) -> Result<String, String> {
    let done = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

impl Contender {
    pub fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for runtime in RUNTIMES {
            for callers in CALLERS {
                targets.push(Target {
                    name: "Lambic",
                    runtime,
                    callers,
                    address: self.address.clone(),
                    path: path_of(name_of(runtime)),
                    sign: Some(format!("{KEY}:{SECRET}")),
                });
            }
        }
        targets
    }

    /// A function that nobody has invoked yet: its first invoke.
    pub fn cold_ms(&self, runtime: &str, start: Start, round: usize) -> Result<f64, String> {
        let package = self.packages.iter().find(|one| one.runtime == runtime).ok_or("no such runtime")?;
        // Those that wait are given to others first, if none are to be there.
        let others = match start {
            Start::Fresh if runtime != "Rust" => SPARES,
            _ => 0,
        };
        let names: Vec<String> =
            (0..=others).map(|at| format!("cold-{}-{round}-{at}", name_of(runtime))).collect();
        let mut measured = None;
        for _ in 0..TRIES {
            for name in &names {
                self.create(name, package)?;
            }
            // Of Python and of Node.js, which are there from the start.
            retried(|| match self.figure("lambic_spares")? {
                found if found == 2 * SPARES as u64 => Ok(()),
                found => Err(format!("Lambic keeps {found} spares")),
            })?;
            let figure = if start == Start::SpareAtHand { "used" } else { "missed" };
            let figure = format!("lambic_spares_{figure}_total");
            let before = self.figure(&figure)?;
            let mut ms = 0.0;
            // The last one counts.
            for name in &names {
                let request = self.signed("POST", &path_of(name), EVENT.as_bytes());
                let begun = Instant::now();
                let reply = self.send(&request)?;
                ms = begun.elapsed().as_secs_f64() * 1_000.0;
                good(&reply)?;
            }
            let was_meant = runtime == "Rust" || self.figure(&figure)? == before + 1;
            for name in &names {
                self.ask("DELETE", &format!("/2015-03-31/functions/{name}"), b"")?;
            }
            if was_meant {
                measured = Some(ms);
                break;
            }
        }
        measured.ok_or_else(|| format!("{runtime}: no start was {start:?} in {TRIES} tries"))
    }

    /// A figure of the server about itself.
    fn figure(&self, name: &str) -> Result<u64, String> {
        let reply = self.send(&sign::request("GET", &self.address, "/metrics", b"", None))?;
        let text = String::from_utf8_lossy(&reply.body);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| format!("Lambic tells no {name}"))
    }

    fn create(&self, name: &str, package: &Package) -> Result<(), String> {
        let document = json!({
            "FunctionName": name, "Runtime": package.id, "Handler": package.handler, "Timeout": 30, "MemorySize": 1769,
            "Role": "arn:aws:iam::111122223333:role/bench",
            "Code": {"ZipFile": base64::engine::general_purpose::STANDARD.encode(&package.zip)},
        });
        let reply = self.ask("POST", "/2015-03-31/functions", document.to_string().as_bytes())?;
        if reply.status() != 201 {
            return Err(format!("Lambic, {name}: {}", String::from_utf8_lossy(&reply.body)));
        }
        retried(|| {
            let reply = self.ask("GET", &format!("/2015-03-31/functions/{name}/configuration"), b"")?;
            let found: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
            if found["State"] == "Active" { Ok(()) } else { Err(format!("Lambic, {name}: {found}")) }
        })
    }

    fn invoke(&self, name: &str) -> Result<(), String> {
        good(&self.ask("POST", &path_of(name), EVENT.as_bytes())?)
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Message, String> {
        self.send(&self.signed(method, path, body))
    }

    fn send(&self, request: &[u8]) -> Result<Message, String> {
        http::ask(&self.address, request, Duration::from_secs(60))
    }

    fn signed(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let signer = Signer { key: KEY.into(), secret: SECRET.into(), region: "us-east-1".into() };
        sign::request(method, &self.address, path, body, Some(&signer))
    }
}

fn path_of(name: &str) -> String {
    format!("/2015-03-31/functions/{name}/invocations")
}

fn good(reply: &Message) -> Result<(), String> {
    let text = String::from_utf8_lossy(&reply.body);
    if reply.status() == 200 && text.contains("\"n\"") { Ok(()) } else { Err(format!("Lambic: {text}")) }
}
