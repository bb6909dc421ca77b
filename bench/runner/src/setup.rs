//! Puts the peers into `bench/peers`, once: AWS's runtime interface emulator (its binary is inside the
//! `aws-sam-cli` wheel), AWS's Python runtime client and `cargo lambda`, all from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

const WHEELS: [&str; 3] = ["aws-sam-cli==1.170.0", "awslambdaric==4.2.2", "cargo-lambda==1.9.2"];
const RIE: &str = "samcli/local/rapid/aws-lambda-rie-x86_64";

/// Where everything is.
pub struct Kit {
    pub bench: PathBuf,
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

    pub fn function(&self, runtime: &str) -> PathBuf {
        let folder = match runtime {
            "Python" => "python",
            "Node.js" => "node",
            _ => "rust",
        };
        self.bench.join("functions").join(folder)
    }

    /// What runs a function of this runtime on a bare Runtime API.
    pub fn worker(&self, runtime: &str) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        match runtime {
            "Python" => {
                [text(self.peer("python")), "-m".into(), "awslambdaric".into(), "app.handler".into()].into()
            }
            "Node.js" => ["node".into(), text(self.function(runtime).join("client.mjs"))].into(),
            _ => [text(self.program("bootstrap"))].into(),
        }
    }
}

/// Installs what is missing.
///
/// # Errors
/// A sentence that names the command that failed.
pub fn install(root: &Path) -> Result<Kit, String> {
    let kit = Kit { bench: root.join("bench") };
    let peers = kit.bench.join("peers");
    let stamp = peers.join("installed");
    let wanted = WHEELS.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return Ok(kit);
    }
    println!("installing the peers into {}", peers.display());
    std::fs::create_dir_all(&peers).map_err(|error| format!("{}: {error}", peers.display()))?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(peers.join("venv")))?;
    let pip = || {
        let mut pip = Command::new(kit.peer("python"));
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
        pip
    };
    run(pip().args(["install", "--no-deps", WHEELS[2]]))?;
    run(pip().args(["install", WHEELS[1]]))?;
    run(pip().args(["download", "--no-deps", "--only-binary=:all:", "--dest"]).arg(&peers).arg(WHEELS[0]))?;
    let script = "import glob, os, sys, zipfile\n\
                  wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/aws_sam_cli-*.whl')[0])\n\
                  open(sys.argv[1] + '/aws-lambda-rie', 'wb').write(wheel.read(sys.argv[2]))\n\
                  os.chmod(sys.argv[1] + '/aws-lambda-rie', 0o755)\n";
    run(Command::new(kit.peer("python")).args(["-c", script]).arg(&peers).arg(RIE))?;
    std::fs::write(&stamp, wanted).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(kit)
}

fn run(command: &mut Command) -> Result<(), String> {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown}: {status}")),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}
