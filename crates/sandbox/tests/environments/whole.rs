//! Spares that are copied with all of their threads, from a program that does not fork itself.

use std::path::Path;

use lambic_sandbox::{Bind, Sandboxes, Spec};

use super::copies::{KIND, PATIENCE, python, told, wait_for};

/// Has threads that work, and what they wait for in the kernel. A copy says whether it is one.
const STANDS: &str = r#"
import ctypes, os, queue, select, signal, socket, sys, threading
stream = socket.socket(fileno=3)
is_template = os.environ.pop("_LAMBIC_TEMPLATE", None) is not None
asked, answered = queue.Queue(), queue.Queue()
def work():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    open(f"/proc/self/task/{threading.get_native_id()}/comm", "w").write("worker")
    while True:
        answered.put((asked.get() * 2, threading.get_ident()))
workers = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for worker in workers:
    worker.start()
count, epoll, (reads, writes) = os.eventfd(2, os.EFD_NONBLOCK), select.epoll(), os.pipe()
os.set_blocking(reads, False)
os.write(writes, b"held")
epoll.register(count, select.EPOLLIN)
waker = os.eventfd(0, os.EFD_NONBLOCK)
epoll.register(waker, select.EPOLLIN)
before = os.getpid()
"#;
/// Waits for a word that never comes.
const WAITS: &str = r#"
is_copy = False
if is_template:
    stream.sendall(b"\n")
    try:
        while os.read(6, 64):
            pass
        os._exit(0)
    except OSError:
        is_copy = True
"#;
const SERVES: &str = r#"
stream.sendall(b"loaded\n")
exec(stream.recv(65536).decode())
sys.stdout.flush()
"#;

const LOOKS: &str = r#"
print(is_copy, before != os.getpid())
for number in range(6):
    asked.put(number)
results = [answered.get(timeout=30) for _ in range(6)]
print(sorted(result for result, _ in results), {one for _, one in results} <= {worker.ident for worker in workers})
print(os.eventfd_read(count), os.read(reads, 64), epoll.poll(0))
os.eventfd_write(waker, 1)
print([number == waker for number, _ in epoll.poll(30)], os.get_inheritable(waker), os.get_blocking(reads), os.get_blocking(writes))
for task in sorted(map(int, os.listdir("/proc/self/task"))):
    status = open(f"/proc/self/task/{task}/status").read().split("\n")
    want = ("Name", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp:", "SigBlk", "TracerPid")
    print(*[line.split()[1] for line in status if line.startswith(want)])
# The library of threads knows them by their numbers: it can signal them, and be woken where they end.
libc = ctypes.CDLL(None)
print([libc.pthread_kill(ctypes.c_ulong(worker.ident), 0) for worker in workers])
more = threading.Thread(target=asked.put, args=(50,))
more.start()
more.join()
print(answered.get(timeout=30)[0], libc.sched_getcpu() >= 0)
sys.stdout.flush()
sys.exit(6)
"#;
const SEEN: &str = "\
True True
[0, 2, 4, 6, 8, 10] True
2 b'held' []
[True] True False True
python3 0 0000000000000000 0000000000000000 0000000000000000 0000000000000000 1 2
worker 0 0000000000000800 0000000000000000 0000000000000000 0000000000000000 1 2
worker 0 0000000000000800 0000000000000000 0000000000000000 0000000000000000 1 2
worker 0 0000000000000800 0000000000000000 0000000000000000 0000000000000000 1 2
[0, 0, 0]
100 True
";

pub(crate) async fn whole(sandboxes: &Sandboxes, code: &Path, spec: &Spec) {
    if !sandboxes.has_templates() {
        return;
    }
    let prepared = python(spec, &[STANDS, WAITS, SERVES]);
    let bind = Bind { source: code.to_owned(), target: "/var/task".to_owned() };
    let spec = Spec { binds: vec![bind], ..prepared.clone() };
    sandboxes.keep_copied_spares(KIND, &prepared, 2).unwrap();
    // Living at the same time: none takes what another one waits for.
    let mut living = Vec::new();
    for _ in 0..4 {
        wait_for(sandboxes, 2).await;
        let sandbox = sandboxes.launch_from_spare(&spec, KIND, None).await.unwrap();
        assert!(sandbox.is_from_spare);
        living.push(sandbox);
    }
    for sandbox in living {
        let (text, code, _) = told(sandbox, LOOKS).await;
        assert_eq!((text.as_str(), code), (SEEN, Some(6)));
    }
    sandboxes.keep_spares(KIND, &prepared, 0).unwrap();
    wait_for(sandboxes, 0).await;
    few_things(sandboxes, &prepared).await;
    started_instead(sandboxes, &prepared).await;
}

/// One that waits for nothing in the kernel.
async fn few_things(sandboxes: &Sandboxes, spec: &Spec) {
    let plain = r#"
import os, socket, sys, threading
stream = socket.socket(fileno=3)
is_template = os.environ.pop("_LAMBIC_TEMPLATE", None) is not None
threading.Thread(target=threading.Event().wait, daemon=True).start()
"#;
    let prepared = python(spec, &[plain, WAITS, SERVES]);
    let kind = KIND + 10;
    sandboxes.keep_copied_spares(kind, &prepared, 1).unwrap();
    at_hand(sandboxes, kind).await;
    let sandbox = sandboxes.launch_from_spare(&prepared, kind, None).await.unwrap();
    let (text, ..) = told(sandbox, "print(len(os.listdir('/proc/self/task')), os.getppid())").await;
    assert_eq!(text, "2 1\n");
    sandboxes.keep_spares(kind, &prepared, 0).unwrap();
}

async fn at_hand(sandboxes: &Sandboxes, kind: u64) {
    let at_hand = async {
        while sandboxes.spares_at_hand(kind) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, at_hand).await.unwrap_or_else(|_| panic!("none of {kind}"));
}

/// What cannot be copied, or does not live as a copy, is started.
async fn started_instead(sandboxes: &Sandboxes, spec: &Spec) {
    let cases = [
        "pair = socket.socketpair()\n",
        "end, other = os.pipe()\nos.close(other)\n",
        "written = open('/tmp/x', 'w')\n",
    ];
    let dies = [WAITS, "if is_copy: os._exit(1)\n"].concat();
    let cases = cases.map(|case| (case, WAITS)).into_iter().chain([("", dies.as_str())]);
    for (number, (case, waits)) in (1..).zip(cases) {
        let prepared = python(spec, &[STANDS, case, waits, SERVES]);
        let kind = KIND + number;
        sandboxes.keep_copied_spares(kind, &prepared, 1).unwrap();
        at_hand(sandboxes, kind).await;
        let sandbox = sandboxes.launch_from_spare(&prepared, kind, None).await.unwrap();
        assert!(sandbox.is_from_spare);
        let (text, ..) = told(sandbox, "print(is_copy)").await;
        assert_eq!(text, "False\n", "{case}");
        sandboxes.keep_spares(kind, &prepared, 0).unwrap();
    }
}
