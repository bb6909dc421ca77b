//! Environments made from spares: started before it is known for what, complete when they are used.

use std::path::Path;
use std::time::Duration;

use lambic_sandbox::{Bind, Mode, Sandbox, Sandboxes, Spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tries what it must not, says that it has loaded itself, and then does what it is told.
const PROGRAM: &str = r#"
{ cat /proc/1/environ || echo closed; touch /x /var/task/x /opt/x || echo read-only; } 2>/dev/null
kill -9 1 2>/dev/null; mount -t tmpfs x /opt 2>/dev/null || echo no mounts
echo loaded >&3
read -r line <&3
eval "$line"
"#;
const TRIED: &str = "closed\nread-only\nno mounts\n";
/// As the daemon numbers them.
const KIND: u64 = 7;
const OTHER_KIND: u64 = 8;

async fn wait_for(sandboxes: &Sandboxes, kind: u64, count: usize) {
    let reached = async {
        while sandboxes.spares_at_hand(kind) != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    reached.unwrap_or_else(|_| panic!("{} instead of {count}", sandboxes.spares_at_hand(kind)));
}

/// Tells the program of a spare what to do; what it printed, and whether memory ran out.
async fn told(mut sandbox: Sandbox, line: &str) -> (String, bool) {
    let mut stream = sandbox.runtime_stream.take().unwrap();
    let mut loaded = [0; 7];
    stream.read_exact(&mut loaded).await.unwrap();
    assert_eq!(&loaded, b"loaded\n");
    stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    let events = sandbox.take_events().unwrap();
    let mut output = sandbox.output.take().unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while let count @ 1.. = output.read(&mut buffer).await.unwrap() {
            text.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("output ends");
    let exit = tokio::time::timeout(PATIENCE, events.exit()).await.expect("it ends");
    (String::from_utf8(text).unwrap(), exit.oom)
}

pub(crate) async fn spares(sandboxes: &Sandboxes, code: &Path, spec: &Spec, mode: Mode) {
    let mut prepared = spec.clone();
    prepared.argv[2] = PROGRAM.to_owned();
    assert_eq!(sandboxes.has_spares(), mode == Mode::Privileged);
    if !sandboxes.has_spares() {
        sandboxes.keep_spares(KIND, &prepared, 1).unwrap();
        let sandbox = sandboxes.launch_from_spare(&prepared, KIND, None).await.unwrap();
        assert!(!sandbox.is_from_spare);
        return;
    }
    let with_code = |target: &str| {
        let bind = Bind { source: code.to_owned(), target: target.to_owned() };
        Spec { binds: vec![bind], ..prepared.clone() }
    };
    sandboxes.keep_spares(KIND, &prepared, 2).unwrap();
    wait_for(sandboxes, KIND, 2).await;

    // Code is there, the other place is empty, and init has no right left.
    let sandbox = sandboxes.launch_from_spare(&with_code("/var/task"), KIND, None).await.unwrap();
    assert!(sandbox.is_from_spare);
    assert_eq!(sandboxes.spares_at_hand(KIND), 1);
    let look = "cat /var/task/file; echo; ls -A /opt; touch /var/task/y /opt/y 2>&1 | wc -l; \
                grep -h -e CapEff -e CapBnd -e NoNew /proc/1/status; id -u";
    let rights = "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\n";
    let (text, _) = told(sandbox, look).await;
    assert_eq!(text, format!("{TRIED}from outside\n2\n{rights}993\n"));

    // The next one, and the limits that came with its function.
    let sandbox = sandboxes.launch_from_spare(&with_code("/opt"), KIND, None).await.unwrap();
    let hog =
        "cat /opt/file; ls -A /var/task; x=$(head -c 400000000 /dev/zero | tr '\\0' x); echo y";
    let (text, oom) = told(sandbox, hog).await;
    assert!(text.ends_with("from outside") && oom, "{text}");
    wait_for(sandboxes, KIND, 2).await;
    let sandbox = sandboxes.launch_from_spare(&with_code("/opt"), KIND, None).await.unwrap();
    let bomb = "for i in $(seq 200); do sleep 5 & done; echo grown";
    let (text, _) = told(sandbox, bomb).await;
    assert!(text.contains("Resource temporarily unavailable"), "{text}");

    // What was started for something else is not taken.
    wait_for(sandboxes, KIND, 2).await;
    let mut other = with_code("/var/task");
    other.argv[2] = "echo other".to_owned();
    assert!(!sandboxes.launch_from_spare(&other, KIND, None).await.unwrap().is_from_spare);
    let fresh = sandboxes.launch_from_spare(&with_code("/var/task"), KIND + 1, None).await.unwrap();
    assert!(!fresh.is_from_spare);
    let mut refused = with_code("/var/task");
    refused.binds[0].source = "/etc".into();
    assert!(sandboxes.launch_from_spare(&refused, KIND, None).await.is_err());
    assert_eq!(sandboxes.spares_at_hand(KIND), 2);

    many_at_once(sandboxes, &with_code("/var/task")).await;
    broken(sandboxes, &prepared).await;
    sandboxes.keep_spares(KIND, &prepared, 0).unwrap();
    wait_for(sandboxes, KIND, 0).await;
}

/// More than there are spares: each gets an environment, and none the same.
async fn many_at_once(sandboxes: &Sandboxes, spec: &Spec) {
    wait_for(sandboxes, KIND, 2).await;
    let launches = (0..6).map(|_| sandboxes.launch_from_spare(spec, KIND, None));
    let mut pids = Vec::new();
    let mut tasks = Vec::new();
    for launch in launches {
        let sandbox = launch.await.unwrap();
        pids.push(sandbox.control().pid());
        tasks.push(tokio::spawn(told(sandbox, "cat /var/task/file")));
    }
    for task in tasks {
        let (text, _) = task.await.unwrap();
        assert_eq!(text, format!("{TRIED}from outside"));
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 6);
}

/// Programs that end before they are wanted: nobody waits for them, and no launch fails.
async fn broken(sandboxes: &Sandboxes, prepared: &Spec) {
    let mut ends = prepared.clone();
    ends.argv[2] = "exit 3".to_owned();
    sandboxes.keep_spares(OTHER_KIND, &ends, 1).unwrap();
    let mut absent = prepared.clone();
    absent.argv = vec!["/var/task/absent".to_owned()];
    sandboxes.keep_spares(OTHER_KIND + 1, &absent, 1).unwrap();
    // The others are not kept from being made by those.
    sandboxes.keep_spares(KIND, prepared, 3).unwrap();
    wait_for(sandboxes, KIND, 3).await;
    // One may look for a moment as if it had loaded itself.
    wait_for(sandboxes, OTHER_KIND, 0).await;
    let mut sandbox = sandboxes.launch_from_spare(&ends, OTHER_KIND, None).await.unwrap();
    let exit = sandbox.take_events().unwrap().exit();
    let exit = tokio::time::timeout(PATIENCE, exit).await.unwrap();
    assert_eq!(exit.code, Some(3));
    for kind in [OTHER_KIND, OTHER_KIND + 1] {
        sandboxes.keep_spares(kind, prepared, 0).unwrap();
    }
}
