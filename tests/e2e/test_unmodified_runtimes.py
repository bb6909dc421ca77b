"""Interpreters as their makers ship them, under the system call filter: Java, Ruby, .NET, Python, Node.js.

Java, Ruby and C# speak the Runtime API themselves (`fixtures/java`, `fixtures/ruby`, `fixtures/dotnet`); Python
and Node.js run through the clients that are shipped. Every case answers with something that only a run gives.
"""

import hashlib
import pathlib
import subprocess
import sys

import pytest

from support.functions import Functions
from support.tools import HERE, dotnet_files, java_classes, need

# One whole processor, so that the cases do not wait for a share of it.
MEMORY_MB = 1_769


def generated(steps):
    """The state of a linear congruential generator modulo 2^64 after so many steps from 1, without taking them."""
    modulus, factor, summand = 1 << 64, 6364136223846793005, 1442695040888963407
    total_factor, total_summand = 1, 0
    while steps:
        if steps & 1:
            total_factor, total_summand = (total_factor * factor) % modulus, (total_summand * factor + summand) % modulus
        factor, summand = factor * factor % modulus, (summand * factor + summand) % modulus
        steps >>= 1
    return (total_factor + total_summand) % modulus


LOOP_STEPS = 50_000_000
SUM_TO_200_000 = sum(range(200_000))


@pytest.fixture(scope="module")
def shared(client):
    """Functions that several cases use."""
    made = Functions(client)
    yield made
    made.clean()


def value_of(functions, name, event):
    answer = functions.invoke(name, event)
    assert answer.error is None, f"{answer.value}\n{answer.log}"
    return answer.value


# Java

@pytest.fixture(scope="module")
def java_files():
    need("java", "default-jdk-headless")
    program = '#!/bin/sh\nexec java $JAVA_FLAGS -cp /var/task Bootstrap\n'
    return {"bootstrap": program, **java_classes()}


@pytest.fixture(scope="module")
def java(shared, java_files):
    return shared.create(files=java_files, Runtime="provided.al2023", Handler="x", MemorySize=MEMORY_MB, Timeout=60)


COLLECTORS = {
    "serial": ("-XX:+UseSerialGC", {"Copy", "MarkSweepCompact"}),
    "parallel": ("-XX:+UseParallelGC", {"PS Scavenge", "PS MarkSweep"}),
    "G1": ("-XX:+UseG1GC", {"G1 Young Generation", "G1 Old Generation"}),
    "Z": ("-XX:+UseZGC", {"ZGC Cycles", "ZGC Pauses"}),
}


@pytest.mark.parametrize("collector", COLLECTORS)
def test_java_collects_garbage(functions, java_files, collector):
    flag, names = COLLECTORS[collector]
    name = functions.create(files=java_files, Runtime="provided.al2023", Handler="x", MemorySize=MEMORY_MB,
                            Timeout=60, env={"JAVA_FLAGS": f"{flag} -Xmx256m"})
    value = value_of(functions, name, "collect")
    # Later releases of Java name the halves of their collectors anew; the family stays.
    assert {one.split()[0] for one in value["names"]} & {one.split()[0] for one in names}, value
    assert value["made"] > 4 * 256 << 20 and value["alive"] == 80
    assert value["collections"] > 0, "garbage of many times the heap was made without a collection"


def test_java_runs_threads(functions, java):
    assert value_of(functions, java, "threads") == [SUM_TO_200_000, SUM_TO_200_000, True]


def test_java_compiles_a_hot_loop(functions, java):
    state, compile_ms = value_of(functions, java, "hot loop")
    assert int(state) == generated(LOOP_STEPS)
    assert compile_ms > 0, "nothing was compiled to machine code"


def test_java_uses_files(functions, java):
    folder, length, letter = value_of(functions, java, "files")
    assert folder.startswith("/tmp/java") and (length, letter) == (1 << 20, "m")


def test_java_serves_and_asks_on_the_loopback(functions, java):
    assert value_of(functions, java, "loopback") == [200, "heard java"]


def test_java_starts_a_process(functions, java):
    assert value_of(functions, java, "process") == [42, 3, True]


def test_java_has_its_security_providers(functions, java):
    """They are configured by files that Debian keeps below /etc."""
    assert value_of(functions, java, "security") == [hashlib.sha256(b"java").hexdigest(), True, True]


# Ruby

@pytest.fixture(scope="module")
def ruby_files():
    need("ruby", "ruby")
    return {"bootstrap": (HERE / "fixtures/ruby/bootstrap").read_text()}


@pytest.fixture(scope="module")
def ruby(shared, ruby_files):
    return shared.create(files=ruby_files, Runtime="provided.al2023", Handler="x", MemorySize=MEMORY_MB)


RUBY = {
    "threads": sum(range(1001)),
    "processes": [True, 3, "shell"],
    "sockets": ["heard ruby", "pair"],
    "digests": [hashlib.sha256(b"ruby").hexdigest(), True, True],
    "files": [True, ["b"], "text"],
}


@pytest.mark.parametrize("case", RUBY)
def test_ruby(functions, ruby, case):
    assert value_of(functions, ruby, case) == RUBY[case]


def test_ruby_compiles_while_it_runs(functions, ruby_files):
    version = subprocess.run(["ruby", "--yjit", "-v"], capture_output=True, text=True)
    offered = "+YJIT" in version.stdout
    name = functions.create(files=ruby_files, Runtime="provided.al2023", Handler="x", MemorySize=MEMORY_MB,
                            env={"RUBYOPT": "--yjit"} if offered else {})
    assert value_of(functions, name, "jit") == [46_368, offered, offered]


# .NET

@pytest.fixture(scope="module")
def dotnet(shared):
    files = {"bootstrap": "#!/bin/sh\nexec dotnet/dotnet Bootstrap.dll\n", **dotnet_files()}
    return shared.create(files=files, executable=("bootstrap", "dotnet/dotnet"), Runtime="provided.al2023",
                         Handler="x", MemorySize=MEMORY_MB, Timeout=60)


DOTNET = {
    "version": "3.1.23",
    "tasks": [SUM_TO_200_000, 50],
    "hot loop": str(generated(LOOP_STEPS)),
    "files": ["/tmp/dotnet", "text"],
    "loopback": "dotnet",
    "process": [42, 3],
}


@pytest.mark.parametrize("case", DOTNET)
def test_dotnet(functions, dotnet, case):
    assert value_of(functions, dotnet, case) == DOTNET[case]


def test_dotnet_collects_garbage(functions, dotnet):
    alive, young, old = value_of(functions, dotnet, "garbage")
    assert alive == 80 and young > 1 and old > 0


# Python

@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of our own for localhost, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run([need("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True)
    return {name: (folder / name).read_bytes() for name in ("key.pem", "cert.pem")}


def test_python_runs_processes(functions):
    name = functions.python("""
        import multiprocessing, os, subprocess
        def child(pipe, number):
            pipe.send([number * number, os.getppid()])
            pipe.close()
        def handler(event, context):
            answers = []
            for method in ("fork", "spawn"):
                ways = multiprocessing.get_context(method)
                for number in (3, 4):
                    here, there = ways.Pipe()
                    process = ways.Process(target=child, args=(there, number))
                    process.start()
                    squared, parent = here.recv()
                    process.join()
                    answers.append([squared, parent == os.getpid(), process.exitcode])
            piped = subprocess.run("seq 1000 | sort -rn | head -1; exit 7", shell=True, capture_output=True, text=True)
            return [answers, piped.stdout, piped.returncode]
    """, MemorySize=MEMORY_MB)
    answers, printed, code = value_of(functions, name, None)
    assert answers == [[9, True, 0], [16, True, 0]] * 2
    assert (printed, code) == ("1000\n", 7)


def test_python_keeps_a_database(functions):
    name = functions.python("""
        import os, sqlite3
        def handler(event, context):
            with sqlite3.connect("/tmp/kept.db") as db:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("CREATE TABLE IF NOT EXISTS kept (n INTEGER)")
                db.executemany("INSERT INTO kept VALUES (?)", [(n,) for n in range(100)])
            # A connection of its own sees what the first has committed, through the shared WAL index.
            with sqlite3.connect("/tmp/kept.db") as other:
                return [*other.execute("SELECT count(*), sum(n) FROM kept").fetchone(),
                        os.path.exists("/tmp/kept.db-wal")]
    """)
    assert value_of(functions, name, None) == [100, 4_950, True]
    assert value_of(functions, name, None) == [200, 9_900, True]


def test_python_runs_a_native_package(functions):
    """NumPy as pip installs it, for the Python that runs these tests, so for that version's runtime."""
    import numpy
    home = pathlib.Path(numpy.__file__).parent
    files = {"app.py": """
        import numpy
        def handler(event, context):
            matrix = numpy.arange(250_000, dtype=float).reshape(500, 500) / 250_000 + numpy.eye(500)
            back = numpy.linalg.inv(matrix) @ matrix
            spectrum = numpy.fft.fft(numpy.ones(1024))
            return [numpy.__file__, bool(numpy.allclose(back, numpy.eye(500))), spectrum[0].real]
    """}
    for folder in (home, home.parent / "numpy.libs"):
        for path in folder.rglob("*"):
            left_out = {"tests", "__pycache__", "f2py", "include"} & set(path.parts[len(home.parent.parts):])
            if path.is_file() and path.suffix not in (".pyi", ".a") and not left_out:
                files[str(path.relative_to(home.parent))] = path.read_bytes()
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    name = functions.create(files=files, Runtime=runtime, MemorySize=MEMORY_MB, Timeout=60)
    assert value_of(functions, name, None) == ["/var/task/numpy/__init__.py", True, 1024.0]


def test_python_runs_asynchronous_servers(functions):
    name = functions.python("""
        import asyncio
        async def serve(reader, writer):
            writer.write(b"heard " + await reader.readline())
            await writer.drain()
            writer.close()
        async def ask(port, number):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"%d\\n" % number)
            answer = await reader.read()
            writer.close()
            return answer.decode().strip()
        async def main():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with server:
                answers = await asyncio.gather(*(ask(port, number) for number in range(50)))
            process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
            echoed, _ = await process.communicate(b"through a child")
            in_thread = await asyncio.to_thread(sum, range(10))
            return [answers, echoed.decode(), in_thread]
        def handler(event, context):
            return asyncio.run(main())
    """)
    assert value_of(functions, name, None) == [[f"heard {n}" for n in range(50)], "through a child", 45]


def test_python_speaks_tls(functions, certificate):
    name = functions.create(files={"app.py": """
        import socket, ssl, threading
        def handler(event, context):
            ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ours.load_cert_chain("cert.pem", "key.pem")
            listener = socket.create_server(("127.0.0.1", 0))
            def serve():
                with ours.wrap_socket(listener.accept()[0], server_side=True) as one:
                    one.sendall(b"heard " + one.recv(100))
            thread = threading.Thread(target=serve)
            thread.start()
            trusting = ssl.create_default_context(cafile="cert.pem")
            with trusting.wrap_socket(socket.create_connection(listener.getsockname()),
                                      server_hostname="localhost") as one:
                one.sendall(b"secret")
                heard, version = one.recv(100).decode(), one.version()
            thread.join()
            return [heard, version, len(ssl.create_default_context().get_ca_certs()) > 10]
    """, **certificate})
    # Certificates of the world are the host's; every Debian with these tests' tools has them.
    assert value_of(functions, name, None) == ["heard secret", "TLSv1.3", True]


# Node.js

NODE = {
    "fetch on the loopback": ("""
        const http = require('node:http');
        exports.handler = async () => {
            const server = http.createServer((request, reply) => request.pipe(reply));
            await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
            const url = `http://127.0.0.1:${server.address().port}/`;
            const replies = await Promise.all([...Array(20).keys()].map(async (n) =>
                (await fetch(url, { method: 'POST', body: `event ${n}` })).text()));
            server.closeAllConnections();
            server.close();
            return replies;
        };
    """, [f"event {n}" for n in range(20)]),
    "worker threads": ("""
        const { Worker } = require('node:worker_threads');
        const work = `
            const { parentPort, workerData, threadId } = require('node:worker_threads');
            const cells = new Int32Array(workerData.shared);
            for (let i = 0; i < 1000; i++) Atomics.add(cells, 0, 1);
            parentPort.postMessage(threadId > 0);`;
        exports.handler = async () => {
            const shared = new SharedArrayBuffer(4);
            const said = await Promise.all([1, 2, 3, 4].map(() => new Promise((resolve, reject) => {
                const worker = new Worker(work, { eval: true, workerData: { shared } });
                let message;
                worker.on('message', (one) => { message = one; });
                worker.on('error', reject);
                worker.on('exit', () => resolve(message));
            })));
            return [said, Atomics.load(new Int32Array(shared), 0)];
        };
    """, [[True] * 4, 4_000]),
    "compression": ("""
        const zlib = require('node:zlib');
        const { promisify } = require('node:util');
        exports.handler = async () => {
            const text = 'node'.repeat(100000);
            const round = async (pack, unpack) => {
                const packed = await promisify(zlib[pack])(text);
                return packed.length < 10000 && String(await promisify(zlib[unpack])(packed)) === text;
            };
            return [await round('gzip', 'gunzip'), await round('brotliCompress', 'brotliDecompress'),
                    zlib.inflateSync(zlib.deflateSync(text)).length];
        };
    """, [True, True, 400_000]),
    "child processes": ("""
        const { execFileSync, fork, spawn } = require('node:child_process');
        exports.handler = async () => {
            const printed = execFileSync('sh', ['-c', 'echo $((6 * 7))'], { encoding: 'utf8' }).trim();
            const child = fork('/var/task/child.js');
            const heard = await new Promise((resolve) => { child.on('message', resolve); child.send(20); });
            child.disconnect();
            const ended = spawn('sh', ['-c', 'kill -TERM $$']);
            const signal = await new Promise((resolve) => ended.on('exit', (_, signal) => resolve(signal)));
            return [printed, heard, signal];
        };
    """, ["42", 21, "SIGTERM"]),
    "watched files": ("""
        const fs = require('node:fs');
        exports.handler = async () => {
            fs.mkdirSync('/tmp/watched', { recursive: true });
            const watcher = fs.watch('/tmp/watched');
            const seen = new Promise((resolve) => watcher.on('change', (_, name) => resolve(name)));
            await fs.promises.writeFile('/tmp/watched/a', 'text');
            const name = await seen;
            watcher.close();
            return [name, await fs.promises.readFile('/tmp/watched/a', 'utf8')];
        };
    """, ["a", "text"]),
    "digests and keys": ("""
        const crypto = require('node:crypto');
        const { promisify } = require('node:util');
        exports.handler = async () => {
            const { privateKey, publicKey } = await promisify(crypto.generateKeyPair)('ec', { namedCurve: 'P-256' });
            const signed = crypto.sign('sha256', Buffer.from('node'), privateKey);
            const derived = await promisify(crypto.scrypt)('word', 'salt', 32);
            return [crypto.createHash('sha256').update('node').digest('hex'),
                    crypto.verify('sha256', Buffer.from('node'), publicKey, signed), derived.length];
        };
    """, [hashlib.sha256(b"node").hexdigest(), True, 32]),
}


@pytest.mark.parametrize("case", NODE)
def test_node(functions, case):
    source, expected = NODE[case]
    child = "process.on('message', (n) => process.send(n + 1));"
    name = functions.create(files={"index.js": source, "child.js": child}, Runtime="nodejs22.x", MemorySize=512)
    assert value_of(functions, name, None) == expected
