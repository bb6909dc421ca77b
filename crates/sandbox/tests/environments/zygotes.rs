//! Spares that are copied from one process of their kind, its zygote.

use std::path::Path;

use lambic_sandbox::{Bind, Sandboxes, Spec};

use super::copies::{KIND, LOOKS, PATIENCE, SEEN, STANDS, python, told, wait_for};

pub(crate) async fn zygotes(sandboxes: &Sandboxes, code: &Path, spec: &Spec, serves: &Spec) {
    spares(sandboxes, code, serves).await;
    never_quiet(sandboxes, serves).await;
    later_copies_that_hang(sandboxes, spec).await;
}

/// Spares that are copied from one process of their kind.
async fn spares(sandboxes: &Sandboxes, code: &Path, prepared: &Spec) {
    let bind = Bind { source: code.to_owned(), target: "/var/task".to_owned() };
    let spec = Spec { binds: vec![bind], ..prepared.clone() };
    sandboxes.keep_copied_spares(KIND, prepared, 2).unwrap();
    wait_for(sandboxes, 2).await;
    let sandbox = sandboxes.launch_from_spare(&spec, KIND, None).await.unwrap();
    assert!(sandbox.is_from_spare);
    let (text, code, _) = told(sandbox, LOOKS).await;
    assert_eq!((text.as_str(), code), (format!("{SEEN}1\n5\nTrue True\n").as_str(), Some(0)));
    // They are copies of one process, each in namespaces of its own and as a user of its own.
    let tells = "print(hash('x'), open('/var/task/file').read())\n\
                 for n in ('user', 'pid', 'mnt', 'net', 'ipc', 'uts', 'cgroup'):\n    \
                 print(os.readlink('/proc/self/ns/' + n))\nprint(os.urandom(8))";
    // All of them at the same time: users are given again when their environments are gone.
    let mut living = Vec::new();
    for _ in 0..3 {
        wait_for(sandboxes, 2).await;
        let sandbox = sandboxes.launch_from_spare(&spec, KIND, None).await.unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.control().pid()));
        let user =
            status.unwrap().lines().find(|line| line.starts_with("Uid:")).unwrap().to_owned();
        living.push((user, sandbox));
    }
    let mut seen = Vec::new();
    for (user, sandbox) in living {
        let (text, code, _) = told(sandbox, tells).await;
        assert_eq!(code, Some(0), "{text}");
        seen.push((user, text.lines().map(str::to_owned).collect::<Vec<_>>()));
    }
    let [first, second, third] = [0, 1, 2].map(|at| &seen[at]);
    for (a, b) in [(first, second), (second, third), (first, third)] {
        assert_eq!(a.1[0], b.1[0]);
        assert!(a.1[0].ends_with("from outside"));
        assert_ne!(a.0, b.0);
        for line in 1..a.1.len() {
            assert_ne!(a.1[line], b.1[line], "{a:?} {b:?}");
        }
    }
    limits(sandboxes, &spec).await;
    many_at_once(sandboxes, &spec).await;
    sandboxes.keep_spares(KIND, prepared, 0).unwrap();
    wait_for(sandboxes, 0).await;
}

/// More launches at once than there are spares and environments for copies.
async fn many_at_once(sandboxes: &Sandboxes, spec: &Spec) {
    wait_for(sandboxes, 2).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (sandboxes, spec) = (sandboxes.clone(), spec.clone());
        tasks.spawn(async move { sandboxes.launch_from_spare(&spec, KIND, None).await.unwrap() });
    }
    let tells = "print(hash('x'), open('/var/task/file').read(), os.listdir('/opt'))\n\
                 print(os.readlink('/proc/self/ns/pid'))";
    let mut seen = Vec::new();
    // All of them have been made before the first one ends.
    for sandbox in tasks.join_all().await {
        assert!(sandbox.is_from_spare);
        let (text, code, _) = told(sandbox, tells).await;
        assert_eq!(code, Some(0), "{text}");
        let (same, own) = text.split_once('\n').unwrap();
        assert!(same.ends_with("from outside []"), "{text}");
        seen.push((same.to_owned(), own.to_owned()));
    }
    // All of them are copies of one process, and each is in an environment of its own.
    assert!(seen.iter().all(|(same, _)| *same == seen[0].0), "{seen:?}");
    let own: std::collections::HashSet<_> = seen.iter().map(|(_, own)| own).collect();
    assert_eq!(own.len(), seen.len());
}

/// Launches that leave no moment between them: sooner or later they are copies, too.
async fn never_quiet(sandboxes: &Sandboxes, prepared: &Spec) {
    sandboxes.keep_copied_spares(KIND + 1, prepared, 1).unwrap();
    let is_found = std::cell::Cell::new(false);
    let launches = (0..4).map(|_| async {
        while !is_found.get() {
            let sandbox = sandboxes.launch_from_spare(prepared, KIND + 1, None).await.unwrap();
            is_found.set(is_found.get() || sandbox.is_from_spare);
            sandbox.control().kill();
        }
    });
    let launches = futures_util::future::join_all(launches);
    tokio::time::timeout(PATIENCE, launches).await.expect("a copy");
    sandboxes.keep_spares(KIND + 1, prepared, 0).unwrap();
}

/// Its first copies live, all others do nothing.
const HANGS: &str = r#"
stream.sendall(b"x")
count = 0
while os.read(6, 64):
    count += 1
    copy = os.fork()
    if not copy:
        break
    os.waitpid(copy, 0)
if count > 1:
    import time
    time.sleep(600)
stream.sendall(b"loaded\n")
exec(stream.recv(65536).decode())
sys.stdout.flush()
"#;

/// A later copy that does nothing is ended, whether somebody waits for it or not, and launches go on
/// without.
async fn later_copies_that_hang(sandboxes: &Sandboxes, spec: &Spec) {
    let hangs = python(spec, &[STANDS, HANGS]);
    sandboxes.keep_copied_spares(KIND, &hangs, 1).unwrap();
    wait_for(sandboxes, 1).await;
    let first = sandboxes.launch_from_spare(&hangs, KIND, None).await.unwrap();
    assert!(first.is_from_spare);
    let (text, ..) = told(first, "print('lives')").await;
    assert_eq!(text, "lives\n");
    // The next copy, be it made for this or before, does not ask what it becomes.
    let launched = sandboxes.launch_from_spare(&hangs, KIND, None);
    let launched = tokio::time::timeout(PATIENCE, launched).await.expect("an answer").unwrap();
    assert!(!launched.is_from_spare);
    drop(launched);
    // And one for nobody: there are spares again, of another zygote or started by themselves.
    wait_for(sandboxes, 1).await;
    sandboxes.keep_spares(KIND, &hangs, 0).unwrap();
    wait_for(sandboxes, 0).await;
}

/// The limits come with the function, and count from the copy's beginning.
async fn limits(sandboxes: &Sandboxes, spec: &Spec) {
    wait_for(sandboxes, 2).await;
    let sandbox = sandboxes.launch_from_spare(spec, KIND, None).await.unwrap();
    let control = sandbox.control();
    let (text, _, oom) = told(sandbox, "x = b'x' * 400_000_000\nprint('y')").await;
    assert!(oom && text.is_empty(), "{text}");
    assert!(control.memory_peak_bytes() <= 128 << 20);
    wait_for(sandboxes, 2).await;
    let sandbox = sandboxes.launch_from_spare(spec, KIND, None).await.unwrap();
    let bomb = "import time\ntry:\n    for _ in range(200):\n        os.fork() or time.sleep(60)\n\
                except OSError as error:\n    print(error.errno, flush=True)\n    os._exit(4)";
    let (text, code, _) = told(sandbox, bomb).await;
    assert_eq!((text.as_str(), code), ("11\n", Some(4)));
    // One that is killed, and one that is stopped first.
    wait_for(sandboxes, 2).await;
    for freezes in [false, true] {
        let mut sandbox = sandboxes.launch_from_spare(spec, KIND, None).await.unwrap();
        if freezes {
            sandbox.control().freeze().unwrap();
        }
        sandbox.control().kill();
        let exit = sandbox.take_events().unwrap().exit();
        tokio::time::timeout(PATIENCE, exit).await.expect("it ends");
    }
}
