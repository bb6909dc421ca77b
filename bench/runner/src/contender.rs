//! Lambic as users run it: the release binary, full isolation, logs, and signatures verified.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use lambic_bench::http::{self, Connection, Message};
use lambic_bench::sign::{self, Signer};
use lambic_bench::{burst, priority};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::peers::{Running, connected, free_port, retried};
use crate::record::LAMBIC;
use crate::setup::Kit;
use crate::window::Target;
use crate::{EVENT, Options};

const KEY: &str = "LKIABENCH";
const SECRET: &str = "bench-secret";
const FUNCTIONS: &str = "/2015-03-31/functions";
const ANSWER: Duration = Duration::from_secs(60);
/// Functions that are created at a time.
const AT_ONCE: usize = 16;
/// Of memory for each function, where the size plays no part: one processor.
pub const MEMORY_MB: u32 = 1_769;

/// A running server with a data directory of its own.
pub struct Contender {
    // Before the plan and its folder, so that the server has ended when its data is removed.
    server: Running,
    plan: Plan,
    pub address: String,
    connection: Connection,
    packages: Vec<Package>,
    renewals: u64,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a function of a kind is created.
struct Package {
    kind: &'static str,
    id: String,
    handler: &'static str,
    zip: Vec<u8>,
}

impl Package {
    /// What CreateFunction is sent.
    fn document(&self, name: &str, memory_mb: u32) -> String {
        let document = json!({
            "FunctionName": name, "Runtime": self.id, "Handler": self.handler, "Timeout": 30,
            "MemorySize": memory_mb, "Role": "arn:aws:iam::111122223333:role/bench",
            "Code": {"ZipFile": base64::engine::general_purpose::STANDARD.encode(&self.zip)},
        });
        document.to_string()
    }
}

/// The kinds of functions that there are.
pub const KINDS: [&str; 6] = ["Rust", "Ruby", "Java", "Node.js", "Python", "Python with boto3"];

/// The command and the folder of a server; `settings` are lines of its configuration, by section.
pub struct Plan {
    folder: Folder,
    pub address: String,
    program: PathBuf,
}

impl Plan {
    /// Writes the configuration.
    pub fn new(options: &Options, kit: &Kit, functions: &[(&str, &str)]) -> Result<Plan, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            Folder(std::env::temp_dir().join(format!("lambic-bench-{}-{count}", std::process::id())));
        let text = |error: std::io::Error| format!("{}: {error}", folder.0.display());
        std::fs::create_dir_all(&folder.0).map_err(text)?;
        let mut config = format!(
            "auth = \"required\"\n[[user]]\naccess_key_id = \"{KEY}\"\nsecret_access_key = \"{SECRET}\"\n\
             account = \"111122223333\"\n[functions]\ntransition_ms = 0\n"
        );
        for (name, value) in functions {
            config.push_str(&format!("{name} = {value}\n"));
        }
        config.push_str(&format!(
            "[runtimes.interpreters]\n\"{}\" = \"{}\"\n",
            kit.python,
            kit.python().display()
        ));
        let node = kit.node();
        if node.is_absolute() {
            config.push_str(&format!("\"{}\" = \"{}\"\n", node_id(kit)?, node.display()));
        }
        std::fs::write(folder.0.join("lambic.toml"), config).map_err(text)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        Ok(Plan { folder, address, program: options.lambic.clone() })
    }

    /// Starts the server; it may not listen yet.
    pub fn start(&self) -> Result<Running, String> {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--listen", &self.address, "--config"]).arg(self.folder.0.join("lambic.toml"));
        command.arg("--data-dir").arg(self.folder.0.join("data"));
        Running::start(&mut command)
    }
}

/// Starts a server and waits until it listens.
pub fn start(options: &Options, kit: &Kit, functions: &[(&str, &str)]) -> Result<Contender, String> {
    let plan = Plan::new(options, kit, functions)?;
    let server = plan.start()?;
    connected(&plan.address)?;
    Contender::of(plan, server, kit)
}

fn package(kit: &Kit, kind: &'static str) -> Result<Package, String> {
    let (id, handler, file, path) = match kind {
        "Python" | "Python with boto3" => {
            (kit.python.clone(), "app.handler", "app.py", kit.function(kind).join("app.py"))
        }
        // The nearest that the machine has serves it.
        "Ruby" => ("ruby3.4".to_owned(), "app.handler", "app.rb", kit.function(kind).join("app.rb")),
        "Java" => ("java17".to_owned(), "Hello", "Hello.class", kit.java_class()?),
        "Node.js" => (node_id(kit)?, "index.handler", "index.mjs", kit.function(kind).join("index.mjs")),
        _ => ("provided.al2023".to_owned(), "bootstrap", "bootstrap", kit.program("bootstrap")),
    };
    let content = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mode = SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file(file, mode).map_err(|error| error.to_string())?;
    zip.write_all(&content).map_err(|error| error.to_string())?;
    let zip = zip.finish().map_err(|error| error.to_string())?.into_inner();
    Ok(Package { kind, id, handler, zip })
}

fn node_id(kit: &Kit) -> Result<String, String> {
    Kit::printed(Command::new(kit.node()).args(["-p", "`nodejs${process.versions.node.split('.')[0]}.x`"]))
}

impl Contender {
    fn of(plan: Plan, server: Running, kit: &Kit) -> Result<Contender, String> {
        let connection = Connection::open(&plan.address, ANSWER)?;
        let mut packages = Vec::new();
        for kind in KINDS {
            packages.push(package(kit, kind)?);
        }
        let address = plan.address.clone();
        Ok(Contender { server, plan, address, connection, packages, renewals: 0 })
    }

    /// Another server on the same data; the one before has ended.
    pub fn restarted(self, kit: &Kit) -> Result<Contender, String> {
        let Contender { server, plan, .. } = self;
        drop(server);
        let server = plan.start()?;
        connected(&plan.address)?;
        Contender::of(plan, server, kit)
    }

    /// The server's process; all others descend from it.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Creates a function that is measured warm, and has it answer once.
    pub fn target(&mut self, kind: &str, name: &str) -> Result<Target, String> {
        self.create(name, kind, MEMORY_MB)?;
        self.invoke(name)?;
        priority::weigh_groups(&lambic_bench::proc::family(self.pid()));
        Ok(Target {
            name: LAMBIC,
            address: self.address.clone(),
            path: path_of(name),
            body: EVENT.to_owned(),
            sign: Some(format!("{KEY}:{SECRET}")),
            roots: vec![self.pid()],
        })
    }

    /// Milliseconds from the first byte of an invoke to the first of its answer, on an open connection.
    pub fn first_byte_ms(&mut self, name: &str) -> Result<f64, String> {
        let request = self.invoke_request(name);
        let (reply, first) = self.connection.timed(&request)?;
        good(&reply)?;
        Ok(first.as_secs_f64() * 1_000.0)
    }

    /// A signed invoke of this function.
    pub fn invoke_request(&self, name: &str) -> Vec<u8> {
        self.signed("POST", &path_of(name), EVENT.as_bytes())
    }

    /// A figure of the server about itself; nothing when it tells none of this name.
    pub fn figure(&mut self, name: &str) -> Result<Option<u64>, String> {
        let reply = self.connection.call(&sign::request("GET", &self.address, "/metrics", b"", None))?;
        let text = String::from_utf8_lossy(&reply.body);
        Ok(text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()))
    }

    /// How many environments wait for functions of this kind, and how many are to.
    pub fn waiting(&mut self, kind: &str) -> Result<(u64, u64), String> {
        let runtime = match kind {
            "Python" | "Python with boto3" => "python",
            "Node.js" => "nodejs",
            "Ruby" => "ruby",
            "Java" => "java",
            _ => "any",
        };
        let mut of = |name: &str| {
            let figure = self.figure(&format!("{name}{{runtime=\"{runtime}\"}}"))?;
            figure.ok_or_else(|| format!("Lambic does not tell {name} of {runtime}"))
        };
        Ok((of("lambic_environments_waiting")?, of("lambic_environments_waiting_wanted")?))
    }

    /// Waits until as many environments wait for functions of this kind as the server wants for these
    /// `many`, which may be fewer: it is told how many there are.
    pub fn wait_for_many(&mut self, kind: &str, many: usize, limit: Duration) -> Result<(), String> {
        let begun = Instant::now();
        let is_known = |wanted: u64| wanted > many as u64 / 10;
        loop {
            let (now, wanted) = self.waiting(kind)?;
            if is_known(wanted) && now >= wanted {
                return Ok(());
            }
            if begun.elapsed() > limit {
                return match is_known(wanted) {
                    true => Ok(()),
                    false => Err(format!("Lambic prepares for {wanted} starts of {many}")),
                };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the server keeps some spares and has had the same number of them for a moment.
    pub fn wait_for_spares(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let now = self.figure("lambic_spares")?.unwrap_or(0);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            // Longer than it takes to make one, so that none is in the making.
            if now > 0 && since.elapsed() > Duration::from_millis(120) {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(format!("Lambic keeps {now} spares after ten seconds"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn create(&mut self, name: &str, kind: &str, memory_mb: u32) -> Result<(), String> {
        let package = self.packages.iter().find(|one| one.kind == kind).ok_or("no such kind")?;
        let document = package.document(name, memory_mb);
        let reply = self.ask("POST", FUNCTIONS, document.as_bytes())?;
        if reply.status() != 201 {
            return Err(format!("Lambic, {name}: {}", String::from_utf8_lossy(&reply.body)));
        }
        self.settled(name)
    }

    /// Creates many functions, several at a time, which the server commits together.
    pub fn create_many(&mut self, names: &[String], kind: &str, memory_mb: u32) -> Result<(), String> {
        let package = self.packages.iter().find(|one| one.kind == kind).ok_or("no such kind")?;
        let address = self.address.parse().map_err(|error| format!("{}: {error}", self.address))?;
        for some in names.chunks(AT_ONCE) {
            let request = |name: &String| {
                signed(&self.address, "POST", FUNCTIONS, package.document(name, memory_mb).as_bytes())
            };
            let requests: Vec<Vec<u8>> = some.iter().map(request).collect();
            let answers = burst::run(address, &requests, ANSWER)?;
            let strange = answers.failures.iter().find(|text| !text.starts_with("HTTP/1.1 201"));
            if let Some(text) = strange {
                return Err(format!("Lambic, creating functions: {text}"));
            }
            if answers.answered_ms.len() < requests.len() {
                return Err(format!(
                    "Lambic created {} of {} functions",
                    answers.answered_ms.len(),
                    requests.len()
                ));
            }
        }
        match names.last() {
            Some(name) => self.settled(name),
            None => Ok(()),
        }
    }

    /// Changes a function's variables, so that its environments end and the next invoke is a cold start.
    pub fn renew(&mut self, name: &str) -> Result<(), String> {
        self.renewals += 1;
        let document = json!({"Environment": {"Variables": {"RENEWAL": self.renewals.to_string()}}});
        let path = format!("/2015-03-31/functions/{name}/configuration");
        let reply = self.ask("PUT", &path, document.to_string().as_bytes())?;
        if reply.status() != 200 {
            return Err(format!("Lambic, {name}: {}", String::from_utf8_lossy(&reply.body)));
        }
        self.settled(name)
    }

    fn settled(&mut self, name: &str) -> Result<(), String> {
        retried(|| {
            let reply = self.ask("GET", &format!("/2015-03-31/functions/{name}/configuration"), b"")?;
            let found: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
            let done = found["State"] == "Active" && found["LastUpdateStatus"] == "Successful";
            if done { Ok(()) } else { Err(format!("Lambic, {name}: {found}")) }
        })
    }

    pub fn invoke(&mut self, name: &str) -> Result<(), String> {
        good(&self.ask("POST", &path_of(name), EVENT.as_bytes())?)
    }

    fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Message, String> {
        let request = self.signed(method, path, body);
        self.connection.call(&request)
    }

    fn signed(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        signed(&self.address, method, path, body)
    }
}

fn signed(address: &str, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let signer = Signer { key: KEY.into(), secret: SECRET.into(), region: "us-east-1".into() };
    sign::request(method, address, path, body, Some(&signer))
}

/// One signed request to whoever listens there, on a connection of its own: the list of the functions,
/// or an invoke.
pub fn once(address: &str, function: Option<&str>) -> Result<(), String> {
    let request = match function {
        None => signed(address, "GET", FUNCTIONS, b""),
        Some(name) => signed(address, "POST", &path_of(name), EVENT.as_bytes()),
    };
    let reply = http::ask(address, &request, ANSWER)?;
    if reply.status() == 200 { Ok(()) } else { Err(String::from_utf8_lossy(&reply.body).into_owned()) }
}

/// Creates a function of Rust through whoever listens there.
pub fn create_once(address: &str, kit: &Kit, name: &str) -> Result<(), String> {
    let document = package(kit, "Rust")?.document(name, MEMORY_MB);
    let reply = http::ask(address, &signed(address, "POST", FUNCTIONS, document.as_bytes()), ANSWER)?;
    if reply.status() == 201 { Ok(()) } else { Err(String::from_utf8_lossy(&reply.body).into_owned()) }
}

fn path_of(name: &str) -> String {
    format!("/2015-03-31/functions/{name}/invocations")
}

fn good(reply: &Message) -> Result<(), String> {
    let text = String::from_utf8_lossy(&reply.body);
    if reply.status() == 200 && text.contains("\"n\"") { Ok(()) } else { Err(format!("Lambic: {text}")) }
}
