"""The other clients: the AWS CLI and the JavaScript SDK; and the functions that are compiled."""

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import zipfile

from .server import REGION, ROOT, environment

HERE = pathlib.Path(__file__).resolve().parents[1]
TARGET = ROOT / "target/fixtures"


def need(program, package):
    """Tests never skip: what is missing is named and fails."""
    path = shutil.which(program)
    assert path, f"the tests need {program} (Debian: apt-get install {package})"
    return path


class Cli:
    """The AWS CLI of this environment, as a shell user calls it."""

    def __init__(self, endpoint, folder, account="test", region=REGION):
        self.folder = folder
        self.program = pathlib.Path(sys.executable).parent / "aws"
        assert self.program.is_file(), f"there is no {self.program}: pip install -r tests/e2e/requirements.txt"
        self.env = environment(
            AWS_ENDPOINT_URL=endpoint, AWS_DEFAULT_REGION=region, AWS_ACCESS_KEY_ID=account,
            AWS_SECRET_ACCESS_KEY="test", AWS_MAX_ATTEMPTS="1", AWS_PAGER="", HOME=str(folder),
            AWS_CONFIG_FILE=str(folder / "none"), AWS_SHARED_CREDENTIALS_FILE=str(folder / "none"),
        )

    def run(self, *words):
        return subprocess.run(
            [sys.executable, self.program, "lambda", *words], env=self.env, cwd=self.folder, text=True,
            capture_output=True, timeout=120)

    def __call__(self, *words):
        """Runs `aws lambda <words>`, which must succeed; its output as JSON, if there is any."""
        done = self.run(*words)
        assert done.returncode == 0, f"aws lambda {' '.join(words)}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def fails(self, *words):
        """Runs a command that must be refused; what it prints about it."""
        done = self.run(*words)
        assert done.returncode != 0, f"aws lambda {' '.join(words)} was not refused: {done.stdout}"
        return done.stderr


class CliProcess(Cli):
    """The same, in one process for all commands: for tests that give very many."""

    def __init__(self, *words, **more):
        super().__init__(*words, **more)
        self.process = subprocess.Popen(
            # -P: the modules beside it are not to be taken for Python's own of the same names.
            [sys.executable, "-P", HERE / "support/cli_driver.py"], env=self.env, cwd=self.folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, *words):
        self.process.stdin.write(json.dumps(["lambda", *words]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the AWS CLI's process ended while it did {words}"
        done = json.loads(line)
        return subprocess.CompletedProcess(words, done["status"], done["out"], done["err"])

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)


class JavaScript:
    """One Node.js process with the SDK v3: JSON commands in, JSON results out."""

    def __init__(self, endpoint):
        node = need("node", "nodejs")
        assert (HERE / "node_modules/@aws-sdk/client-lambda").is_dir(), "run `npm ci` in tests/e2e"
        self.process = subprocess.Popen(
            [node, HERE / "support/driver.mjs", endpoint, REGION], env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE)

    def raw(self, command, **words):
        return self.ask({"command": command, "input": words})

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the JavaScript SDK's process ended while it did {request}"
        return json.loads(line)

    def stream(self, after=None, **words):
        """The head and the events of an InvokeWithResponseStream; after the first event the command `after` is run,
        `(name, input)`."""
        request = {"command": "InvokeWithResponseStream", "input": words}
        if after:
            request["after"] = {"command": after[0], "input": after[1]}
        answer = self.ask(request)
        assert "error" not in answer, answer
        return answer["ok"]["head"], answer["ok"]["events"]

    def __call__(self, command, **words):
        """`CreateFunction`, `Invoke`, `waitUntilFunctionActiveV2`, …; bytes as `{"base64": …}`."""
        answer = self.raw(command, **words)
        assert "error" not in answer, f"{command}: {answer['error']}"
        return answer["ok"]

    def fails(self, command, **words):
        answer = self.raw(command, **words)
        assert "error" in answer, f"{command} was not refused: {answer}"
        return answer["error"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)


def built(path):
    """Something that `cargo xtask test` has made of the fixtures; made now if it is not there."""
    if not (TARGET / path).exists():
        subprocess.run([need("cargo", "cargo"), "xtask", "test", "--fixtures"], cwd=ROOT, check=True, timeout=1800)
    return TARGET / path


def rust_bootstrap():
    """The function on the official `lambda_runtime` crate."""
    return built("release/bootstrap").read_bytes()


def rust_extension():
    """The extension on the official `lambda-extension` crate."""
    return built("release/rust-extension").read_bytes()


def rust_sdk():
    """The program on the AWS SDK for Rust that drives a server."""
    return built("release/rust-sdk")


def go_bootstrap():
    """The function on the official `aws-lambda-go` library."""
    return built("go-hello/bootstrap").read_bytes()


def java_classes():
    """The custom runtime in Java, compiled: `{path: bytes}`."""
    out = TARGET / "java"
    subprocess.run([need("javac", "default-jdk-headless"), "-d", out, HERE / "fixtures/java/Bootstrap.java"],
                   check=True, timeout=300)
    return {path.name: path.read_bytes() for path in out.glob("*.class")}


def dotnet_files():
    """The custom runtime in C# and the .NET it runs on, which comes with the Python package `dotnetcore2`."""
    found = importlib.util.find_spec("dotnetcore2")
    assert found, "there is no dotnetcore2: pip install -r tests/e2e/requirements.txt"
    runtime = pathlib.Path(found.origin).parent / "bin"
    [framework] = runtime.glob("shared/Microsoft.NETCore.App/*")
    out = TARGET / "dotnet/Bootstrap.dll"
    out.parent.mkdir(parents=True, exist_ok=True)
    # Debian has a compiler, mono's; what it compiles against are the assemblies of the runtime itself.
    assemblies = [f"-r:{path}" for path in framework.glob("System.*.dll")]
    subprocess.run([need("mcs", "mono-mcs"), "-nostdlib", "-noconfig", "-nowarn:1685", *assemblies, f"-out:{out}",
                    HERE / "fixtures/dotnet/Bootstrap.cs"], check=True, timeout=300)
    settings = {"framework": {"name": "Microsoft.NETCore.App", "version": framework.name},
                "configProperties": {"System.Globalization.Invariant": True}}
    files = {"Bootstrap.dll": out.read_bytes(),
             "Bootstrap.runtimeconfig.json": json.dumps({"runtimeOptions": settings})}
    for path in sorted(runtime.rglob("*")):
        if path.is_file():
            files[f"dotnet/{path.relative_to(runtime)}"] = path.read_bytes()
    return files


def files_below(folder, *parts):
    """`{path below folder: bytes}` of all files in these parts of it."""
    found = {}
    for part in parts or [""]:
        start = folder / part
        for path in [start] if start.is_file() else sorted(start.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def python_ric():
    """The package of the function on the official `awslambdaric`."""
    return {**files_below(built("python-ric")), **files_below(HERE / "fixtures/python-ric", "app.py", "bootstrap")}


def node_ric():
    """The package of the function on the official `aws-lambda-ric`, without what only built it."""
    client = "node_modules/aws-lambda-ric/"
    installed = files_below(built("node-ric"), client + "bin", client + "dist", client + "package.json")
    return {**installed, **files_below(HERE / "fixtures/node-ric", "index.js", "bootstrap")}


def java_package():
    """The Java function as Maven lays it out for a zip: jars in `lib`, AWS's among them."""
    return files_below(built("java-function"), "lib")


def java_classes_of_package():
    """The same as the deployment package that is one jar: its classes, and those of what it needs."""
    files = {}
    for jar in sorted((built("java-function") / "lib").glob("*.jar")):
        with zipfile.ZipFile(jar) as opened:
            names = [name for name in opened.namelist() if not name.endswith("/") and not name.startswith("META-INF/")]
            files.update({name: opened.read(name) for name in names})
    return files


def java_ric():
    """The package of the function on the official `aws-lambda-java-runtime-interface-client`."""
    return {**files_below(built("java-ric"), "lib"), **files_below(HERE / "fixtures/java-ric", "bootstrap")}
