//! Environments that are copies of a template: spares (`zygotes`), and those of one function. Each is as any other,
//! and what a template does not want to be copied, or cannot, harms nobody else.

use std::path::Path;
use std::time::Duration;

use lambic_sandbox::{Bind, Event, LaunchError, Mode, Role, Sandbox, Sandboxes, Spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::zygotes::zygotes;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const KIND: u64 = 21;

/// Stands as a template; a copy says that it has loaded itself and then does what it is told.
pub(crate) const STANDS: &str = r#"
import os, socket, sys
os.environ.pop("_LAMBIC_TEMPLATE", None)
stream = socket.socket(fileno=3)
before = os.getpid()
def stand():
    while os.read(6, 64):
        copy = os.fork()
        if not copy:
            return
        os.waitpid(copy, 0)
    os._exit(0)
"#;
const SERVES: &str = r#"
stream.sendall(b"x")
stand()
stream.sendall(b"loaded\n")
exec(stream.recv(65536).decode())
sys.stdout.flush()
"#;

/// What a copy can see and do. Prints one line for each.
pub(crate) const LOOKS: &str = r#"
import ctypes
status = open("/proc/self/status").read().split("\n")
want = ("CapInh", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp:", "Threads")
print([" ".join(line.split()) for line in status if line.startswith(want)])
init = open("/proc/1/status").read().split("\n")
print([" ".join(line.split()) for line in init if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))])
print(open("/proc/1/comm").read().strip(), os.getppid(), os.getuid(), os.getgid(), os.getsid(0) == os.getpid())
print(sorted(int(p) for p in os.listdir("/proc") if p.isdigit()) == [1, os.getpid()])
print(sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1])
libc = ctypes.CDLL(None, use_errno=True)
print(libc.unshare(0x10000000), libc.setns(0, 0), libc.mount(b"x", b"/tmp", b"tmpfs", 0, None), ctypes.get_errno())
def denied(path):
    try:
        open(path, "w")
        return False
    except OSError:
        return True
print(denied("/x"), denied("/var/task/x"), denied("/opt/x"), denied("/etc/x"), sorted(os.listdir("/tmp")))
open("/tmp/own", "w").write("own")
open("/proc/self/comm", "w").write("named")
print(os.stat("/tmp").st_dev != os.stat("/").st_dev, open("/proc/self/comm").read().strip())
print(socket.gethostname(), os.statvfs("/tmp").f_blocks > 0)
try:
    os.kill(1, 9)
except OSError as error:
    print(error.errno)
child = os.fork()
if not child:
    os._exit(5)
print(os.waitpid(child, 0)[1] >> 8)
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname())
print(len(open("/proc/net/dev").read().split("\n")) > 3, before != os.getpid())
"#;
pub(crate) const SEEN: &str = "\
['Threads: 1', 'CapInh: 0000000000000000', 'CapPrm: 0000000000000000', 'CapEff: 0000000000000000', \
'CapBnd: 0000000000000000', 'NoNewPrivs: 1', 'Seccomp: 2']
['CapEff: 0000000000000000', 'CapBnd: 0000000000000000', 'NoNewPrivs: 1']
lambic-init 1 993 990 True
True
[0, 1, 2, 3]
-1 -1 -1 1
True True True True []
True named
sandbox True
";

pub(crate) fn python(spec: &Spec, parts: &[&str]) -> Spec {
    let program = parts.concat();
    let argv = ["/usr/bin/python3", "-I", "-S", "-c", &program].map(str::to_owned).to_vec();
    Spec { argv, ..spec.clone() }
}

pub(crate) async fn wait_for(sandboxes: &Sandboxes, count: usize) {
    let reached = async {
        while sandboxes.spares_at_hand(KIND) != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    reached.unwrap_or_else(|_| panic!("{} instead of {count}", sandboxes.spares_at_hand(KIND)));
}

/// Tells a copy what to do; what it printed, its exit status, and whether memory ran out.
pub(crate) async fn told(mut sandbox: Sandbox, line: &str) -> (String, Option<i32>, bool) {
    let mut stream = sandbox.runtime_stream.take().unwrap();
    let mut loaded = [0; 7];
    stream.read_exact(&mut loaded).await.unwrap();
    assert_eq!(&loaded, b"loaded\n");
    stream.write_all(line.as_bytes()).await.unwrap();
    let events = sandbox.take_events().unwrap();
    let mut output = sandbox.output.take().unwrap();
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    let read = async {
        while let count @ 1.. = output.read(&mut buffer).await.unwrap() {
            text.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("output ends");
    let exit = tokio::time::timeout(PATIENCE, events.exit()).await.expect("it ends");
    (String::from_utf8(text).unwrap(), exit.code, exit.oom)
}

pub(crate) async fn copies(sandboxes: &Sandboxes, code: &Path, spec: &Spec, mode: Mode) {
    assert_eq!(sandboxes.has_templates(), mode == Mode::Privileged && cfg!(target_arch = "x86_64"));
    let serves = python(spec, &[STANDS, SERVES]);
    if !sandboxes.has_templates() {
        let refused = sandboxes.launch_as(&serves, Role::From(1)).await;
        assert!(matches!(refused, Err(LaunchError::Template(_))));
        return;
    }
    zygotes(sandboxes, code, spec, &serves).await;
    one_function(sandboxes, &serves).await;
    files(sandboxes, code, spec).await;
    turns(sandboxes, spec).await;
    what_is_no_template(sandboxes, spec).await;
    hostile(sandboxes, spec).await;
}

/// Has a file and a connection when it stands, and says who it is.
const ONE: &str = r#"
listener = socket.create_server(("127.0.0.1", 0))
connection = socket.create_connection(listener.getsockname())
number, text = 40, open("/etc/passwd")
os.mkdir("/tmp/left")
open("/tmp/left/file", "w").write("left")
os.symlink("/etc/passwd", "/tmp/link")
text.readline()
sys.stdout.write("in the template\n")
sys.stdout.flush()
stream.sendall(b"ready\n")
stand()
number += 2
stream.sendall(b"loaded\n")
exec(stream.recv(65536).decode())
sys.stdout.flush()
"#;

/// What can be executed in it.
const CODE: &str = r#"
import ctypes, hashlib
def code():
    found = hashlib.sha256()
    for line in open("/proc/self/maps"):
        place, rights = line.split()[:2]
        if "x" in rights and "[vsyscall]" not in line:
            begin, end = (int(number, 16) for number in place.split("-"))
            found.update(place.encode() + ctypes.string_at(begin, end - begin))
    return found.hexdigest()
before_it_stands = code()
"#;

async fn one_function(sandboxes: &Sandboxes, serves: &Spec) {
    let spec = python(serves, &[STANDS, CODE, ONE]);
    let mut template = template(sandboxes, &spec, 5, 6).await;
    template.control().freeze().unwrap();
    let refused = sandboxes.launch_as(&spec, Role::From(6)).await;
    assert!(matches!(refused, Err(LaunchError::Template(_))));
    // Several at once, each with its own pipes; none has the template's connections.
    let launches = (0..4).map(|_| sandboxes.launch_as(&spec, Role::From(5)));
    let mut tasks = Vec::new();
    for (at, launch) in launches.enumerate() {
        let sandbox = launch.await.unwrap();
        let line = "print(number, connection.recv(1), open('/tmp/left/file').read())\n\
                    open('/tmp/left/file', 'a').write('more')\n";
        let line = format!("{line}os._exit({at} if not sys.stdout.flush() else 9)");
        tasks.push(tokio::spawn(async move { told(sandbox, &line).await }));
    }
    for (at, task) in tasks.into_iter().enumerate() {
        let (text, code, _) = task.await.unwrap();
        // What one of them writes is not the other's.
        assert_eq!(text, "42 b'' left\n");
        assert_eq!(code, Some(at as i32));
    }
    let sandbox = sandboxes.launch_as(&spec, Role::From(5)).await.unwrap();
    let (text, code, _) = told(sandbox, LOOKS).await;
    let seen = SEEN.replace("[0, 1, 2, 3]", "[0, 1, 2, 3, 4, 5, 6]");
    let seen = seen.replace("True []", "True ['left', 'link']");
    assert_eq!((text.as_str(), code), (format!("{seen}1\n5\nTrue True\n").as_str(), Some(0)));
    // Nothing of what it was made to do is left in it.
    let sandbox = sandboxes.launch_as(&spec, Role::From(5)).await.unwrap();
    let (text, ..) = told(sandbox, "print(code() == before_it_stands)").await;
    assert_eq!(text, "True\n");
    // What is left of them ends with it.
    let mut left = sandboxes.launch_as(&spec, Role::From(5)).await.unwrap();
    template.control().kill();
    let mut events = left.take_events().unwrap();
    let ended = tokio::time::timeout(PATIENCE, events.next()).await.expect("it ends");
    assert!(matches!(ended, Event::Ended(_)), "{ended:?}");
    let mut buffer = [0; 64];
    let count = template.output.as_mut().unwrap().read(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..count], b"in the template\n");
    let over = async { while sandboxes.launch_as(&spec, Role::From(5)).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, over).await.expect("there is none any more");
}

/// Has files open, and reads on in them when it is told to.
const READS: &str = r#"
import fcntl
open("/tmp/own", "w").write("0123456789" * 3)
numbers = [os.open(path, os.O_RDONLY) for path in ("/var/task/file", "/tmp/own", "/etc/passwd", "/usr/bin/env")]
for number in numbers:
    os.lseek(number, 3, os.SEEK_SET)
same = os.dup(numbers[1])
os.set_inheritable(same, True)
other = os.open("/tmp/own", os.O_RDONLY | os.O_NONBLOCK)
os.lseek(other, 3, os.SEEK_SET)
"#;
/// What is in each of them where the template was; that two numbers of one are still so, and others not; and what
/// else is known of them.
const READ_ON: &str = r#"
print([os.read(number, 5) == open(path, "rb").read()[3:8] for number, path in
       zip(numbers, ("/var/task/file", "/tmp/own", "/etc/passwd", "/usr/bin/env"))])
print([os.lseek(number, 0, os.SEEK_CUR) for number in (numbers[1], same, other)])
print([os.get_inheritable(number) for number in (numbers[1], same, other)])
print([bool(fcntl.fcntl(number, fcntl.F_GETFL) & os.O_NONBLOCK) for number in (numbers[1], same, other)])
print(os.path.sameopenfile(same, os.open("/tmp/own", os.O_RDONLY)), len(os.listdir("/proc/self/fd")))
"#;

/// What one copy reads says nothing to the others, nor to the template.
async fn files(sandboxes: &Sandboxes, code: &Path, spec: &Spec) {
    let bind = Bind { source: code.to_owned(), target: "/var/task".to_owned() };
    let spec = Spec { binds: vec![bind], ..python(spec, &[STANDS, READS, SERVES]) };
    let _template = template(sandboxes, &spec, 7, 1).await;
    for _ in 0..3 {
        let sandbox = sandboxes.launch_as(&spec, Role::From(7)).await.unwrap();
        let (text, code, _) = told(sandbox, READ_ON).await;
        let seen = "[True, True, True, True]\n[8, 8, 3]\n[False, True, False]\n\
                    [False, False, True]\nTrue 12\n";
        assert_eq!((text.as_str(), code), (seen, Some(0)));
    }
}

/// An environment that stands as this template, and has said so in so many bytes.
async fn template(sandboxes: &Sandboxes, spec: &Spec, number: u64, bytes: usize) -> Sandbox {
    let mut template = sandboxes.launch_as(spec, Role::Becomes(number)).await.unwrap();
    let stream = template.runtime_stream.as_mut().unwrap();
    stream.read_exact(&mut vec![0; bytes]).await.unwrap();
    template
}

/// Takes its time to fork.
const FORKS_LATE: &str = r#"
import time
stream.sendall(b"r")
while os.read(6, 64):
    time.sleep(0.8)
    copy = os.fork()
    if not copy:
        break
    os.waitpid(copy, 0)
stream.sendall(b"loaded\n")
exec(stream.recv(65536).decode())
sys.stdout.flush()
"#;

/// One that is not to wait for others hears so; its template goes on. One that is next is made, however
/// late: here its environment is made after many others.
async fn turns(sandboxes: &Sandboxes, spec: &Spec) {
    let others: Vec<_> = (0..24).map(|_| sandboxes.launch(spec)).collect();
    let spec = python(spec, &[STANDS, FORKS_LATE]);
    let _template = template(sandboxes, &spec, 8, 1).await;
    let at_once = || sandboxes.launch_copy(&spec, 8, Duration::ZERO);
    let (others, first, second, third) = tokio::join!(
        futures_util::future::join_all(others),
        at_once(),
        at_once(),
        sandboxes.launch_copy(&spec, 8, PATIENCE),
    );
    assert!(matches!(second, Err(LaunchError::Busy)), "{:?}", second.err());
    for sandbox in [first, third] {
        let (text, ..) = told(sandbox.unwrap(), "print('copied')").await;
        assert_eq!(text, "copied\n");
    }
    others.into_iter().for_each(|other| drop(other.unwrap()));
}

/// Programs that cannot be copied; why.
async fn what_is_no_template(sandboxes: &Sandboxes, spec: &Spec) {
    let cases = [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()",
            "threads",
        ),
        ("import mmap\nshared = mmap.mmap(-1, 4096)", "shares memory"),
        ("import time\nif not os.fork(): time.sleep(600)", "other processes"),
        ("socket.socket(socket.AF_UNIX).bind('/tmp/socket')", "a pipe or a socket"),
        ("written = open('/tmp/x', 'w')", "open for writing"),
        ("nameless = open('/tmp/x', 'w+')\nos.unlink('/tmp/x')", "(deleted) open"),
        ("folder = os.open('/tmp', os.O_RDONLY)", "/tmp open"),
        ("open('/tmp/x', 'w').close()\npath = os.open('/tmp/x', os.O_PATH)", "/tmp/x open"),
        // What is not there for a copy.
        ("own = open('/proc/self/status')", "status open, which a copy cannot open as it was"),
        (
            "import fcntl\nopen('/tmp/x', 'w').close()\nlocked = open('/tmp/x')\n\
             fcntl.flock(locked, fcntl.LOCK_EX)",
            "a lock of /tmp/x",
        ),
        (
            "import fcntl\nlocked = open('/usr/bin/env')\nfcntl.lockf(locked, fcntl.LOCK_SH)",
            "a lock of",
        ),
        // What cannot be written now can be made so later.
        (
            "import mmap\nfd = os.memfd_create('m')\nos.ftruncate(fd, 4096)\n\
             shared = mmap.mmap(fd, 4096, prot=mmap.PROT_READ)\nos.close(fd)",
            "shares memory",
        ),
        (
            "fd = os.memfd_create('m')\nread = os.open('/proc/self/fd/%d' % fd, os.O_RDONLY)\nos.close(fd)",
            "memfd:m",
        ),
        ("fd = os.memfd_create('m')\nos.dup2(fd, 0)\nos.close(fd)", "memfd:m"),
        ("os.dup2(6, 0)", "twice"),
        ("os.close(2)", "closed"),
        ("import select\nqueue = select.epoll()", "eventpoll"),
        ("pipe = os.pipe()", "pipe:"),
    ];
    for (number, (case, why)) in (10..).zip(cases) {
        let spec = python(spec, &[STANDS, case, "\nstream.sendall(b'r')\nstand()\n"]);
        let error = refused(sandboxes, &spec, number, why).await;
        assert!(matches!(error, LaunchError::Unfit(_)), "{case}: {error:?}");
    }
}

/// Why it was not copied the first time.
async fn refused(sandboxes: &Sandboxes, spec: &Spec, number: u64, why: &str) -> LaunchError {
    let _template = template(sandboxes, spec, number, 1).await;
    let mut errors = Vec::new();
    for said in [why, "before"] {
        let launched = sandboxes.launch_as(spec, Role::From(number));
        let launched = tokio::time::timeout(PATIENCE, launched).await.expect("an answer");
        match launched {
            Err(error @ (LaunchError::Template(_) | LaunchError::Unfit(_)))
                if error.to_string().contains(said) =>
            {
                errors.push(error);
            }
            Err(error) => panic!("{said}: {error}"),
            Ok(_) => panic!("{said}: it was copied"),
        }
        // One that has ended is not known any more.
        if why.is_empty() {
            break;
        }
    }
    errors.swap_remove(0)
}

/// Programs that do something else than they should when they are told to fork.
async fn hostile(sandboxes: &Sandboxes, spec: &Spec) {
    let cases = [
        ("os.read(6, 64)\nwhile True: os.read(6, 64)", "nothing happened"),
        ("os.read(6, 64)\nos._exit(0)", ""),
        ("os.close(6)\nimport time\ntime.sleep(600)", ""),
        // Its own socket in place of ours, from which the copy would take something else.
        (
            "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
             own = os.dup(6)\nos.dup2(a.fileno(), 6)\nb.send(b'null')\nos.read(own, 64)\nos.fork()",
            "",
        ),
        // Threads that begin when it is told to fork.
        (
            "os.read(6, 64)\nimport threading, time\n\
             threading.Thread(target=time.sleep, args=(600,)).start()\nos.fork()",
            "threads",
        ),
    ];
    for (number, (case, why)) in (30..).zip(cases) {
        let spec = python(spec, &[STANDS, "stream.sendall(b'r')\n", case, "\n"]);
        refused(sandboxes, &spec, number, why).await;
    }
    claims_a_sequence(sandboxes, spec).await;
    // One that forks twice has one copy, and its own child.
    let twice = "stream.sendall(b'r')\nos.read(6, 64)\ncopy = os.fork()\nif copy: import time; os.fork(); time.sleep(600)\n\
                 else: stream.sendall(b'loaded\\n'); exec(stream.recv(99).decode())\n";
    let spec = python(spec, &[STANDS, twice]);
    let _template = template(sandboxes, &spec, 50, 1).await;
    let sandbox = sandboxes.launch_as(&spec, Role::From(50)).await.unwrap();
    let (text, ..) = told(sandbox, "print('copied')").await;
    assert_eq!(text, "copied\n");
}

/// Says that it is in a restartable sequence while it forks: whenever it is interrupted there, the kernel is
/// to take it to instructions of its own, which count that and go on.
const CLAIMS: &str = r#"
import ctypes, mmap, struct
libc = ctypes.CDLL(None)
libc.pthread_self.restype = ctypes.c_void_p
try:
    area = libc.pthread_self() + ctypes.c_ssize_t.in_dll(libc, "__rseq_offset").value
    registered = ctypes.c_uint.in_dll(libc, "__rseq_size").value
except ValueError:
    registered = 0
if not registered:
    # A C library that has none of its own.
    kept = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area = ctypes.addressof(ctypes.c_char.from_buffer(kept))
    assert libc.syscall(334, ctypes.c_void_p(area), 32, 0, 0x53053053) == 0
fork = ctypes.cast(libc._Fork, ctypes.c_void_p).value
enters = fork + ctypes.string_at(fork, 512).index(b"\x0f\x05")
page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
base = ctypes.addressof(ctypes.c_char.from_buffer(page))
# lock inc qword [base + 256]; jmp [base + 264], after the kernel's signature.
page[64:68] = struct.pack("<I", 0x53053053)
page[68:76] = b"\xf0\x48\xff\x05" + struct.pack("<i", 256 - 76)
page[76:82] = b"\xff\x25" + struct.pack("<i", 264 - 82)
page[264:272] = struct.pack("<Q", enters + 2)
page[0:32] = struct.pack("<IIQQQ", 0, 0, fork, 512, base + 68)
sequence = ctypes.c_uint64.from_address(area + 8)
taken = lambda: struct.unpack("<Q", page[256:264])[0]
stream.sendall(b"r")
for _ in range(3):
    os.read(6, 64)
    before = taken()
    sequence.value = base
    copy = os.fork()
    if not copy:
        break
    os.waitpid(copy, 0)
stream.sendall(b"loaded\n")
exec(stream.recv(65536).decode())
sys.stdout.flush()
"#;

async fn claims_a_sequence(sandboxes: &Sandboxes, spec: &Spec) {
    let spec = python(spec, &[STANDS, CLAIMS]);
    let _template = template(sandboxes, &spec, 51, 1).await;
    for _ in 0..2 {
        let sandbox = sandboxes.launch_as(&spec, Role::From(51)).await.unwrap();
        // The kernel still knows where the C library looks for its processor.
        let asks = "libc.sched_getcpu() >= 0 or sys.exit(3)\nprint('taken', taken() - before)";
        let (text, code, _) = told(sandbox, asks).await;
        assert_eq!((text.as_str(), code), ("taken 0\n", Some(0)));
    }
}
