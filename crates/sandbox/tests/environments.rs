//! Real environments on this machine: what a program inside can and cannot do.
//!
//! Runs without the test harness, because the spawner must be forked before the first thread.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test"
)]

#[path = "environments/copies.rs"]
mod copies;
#[path = "environments/extensions.rs"]
mod extensions;
#[path = "environments/file_systems.rs"]
mod file_systems;
#[path = "environments/makers.rs"]
mod makers;
#[path = "environments/network.rs"]
mod network;
#[path = "environments/spares.rs"]
mod spares;
#[path = "environments/whole.rs"]
mod whole;
#[path = "environments/zygotes.rs"]
mod zygotes;

use std::process::Command;
use std::time::Duration;

use lambic_rt::Rt;
use lambic_sandbox::{
    Bind, Exit, FileReach, Mode, Sandboxes, SpawnerConfig, Spec, StartFailure, start,
};

use network::{Hand, World};

struct Ran {
    output: String,
    exit: Exit,
    peak_mb: u64,
}

fn spec(script: &str) -> Spec {
    Spec {
        name: "test".to_owned(),
        memory_mb: 128,
        tmp_mb: 512,
        pids_max: 64,
        files_max: 1024,
        binds: vec![],
        argv: vec!["/bin/bash".to_owned(), "-c".to_owned(), script.to_owned()],
        env: vec![("PATH".to_owned(), "/usr/bin:/bin:/usr/sbin".to_owned())],
        cwd: "/".to_owned(),
        network: None,
        egress: None,
        file_system: None,
        log_pipe: false,
        extensions: None,
    }
}

async fn run(sandboxes: &Sandboxes, spec: &Spec) -> Ran {
    let mut sandbox = sandboxes.launch(spec).await.unwrap();
    let exit = sandbox.take_events().unwrap();
    let control = sandbox.control();
    let mut output = sandbox.output.take().unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        loop {
            match output.read(&mut buffer).await.unwrap() {
                0 => break,
                n => text.extend_from_slice(&buffer[..n]),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), read).await.expect("output ends");
    let peak_mb = control.memory_peak_bytes() >> 20;
    let exit = tokio::time::timeout(Duration::from_secs(60), exit.exit()).await.expect("it ends");
    Ran { output: String::from_utf8_lossy(&text).into_owned(), exit, peak_mb }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--serve") {
        return network::serve_greetings(&arguments[at + 1]);
    }
    match arguments.iter().position(|argument| argument == "--mode") {
        Some(at) => in_mode(match arguments[at + 1].as_str() {
            "privileged" => Mode::Privileged,
            "rootless" => Mode::Rootless,
            _ => Mode::None,
        }),
        None if arguments.iter().any(|argument| argument == "--apart") => in_every_mode(),
        None => network::run_apart(),
    }
}

/// Each mode in a process of its own, because each forks a spawner; rootless as another user.
fn in_every_mode() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("environments");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    for path in [folder.path(), copy.as_path()] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
    network::give_host_a_way_out();
    // Made here, because the process under test gives its privileges up.
    let world = World::build();
    for (mode, carrier) in [
        ("privileged", None),
        ("rootless", Some("pasta")),
        ("rootless", Some("slirp4netns")),
        ("none", None),
    ] {
        let mut command = match carrier {
            Some(carrier) => network::as_user(&copy, folder.path(), carrier),
            None => Command::new(&copy),
        };
        let status = command.args(["--mode", mode]).env("TMPDIR", "/tmp").current_dir("/").status();
        let status = status.unwrap();
        assert!(status.success(), "mode {mode}, {carrier:?}: {status}");
        println!("test environments in mode {mode}, way out {carrier:?} ... ok");
    }
    drop(world);
    println!("\ntest result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}

fn in_mode(mode: Mode) {
    let data = tempfile::tempdir().unwrap();
    let code = data.path().join("code");
    std::fs::create_dir(&code).unwrap();
    std::fs::write(code.join("file"), "from outside").unwrap();
    std::fs::create_dir(data.path().join("images")).unwrap();
    let config = SpawnerConfig {
        mode,
        run_dir: data.path().join("run"),
        images_dir: data.path().join("images"),
        bind_roots: vec![data.path().to_owned()],
        outbound: true,
        networks: network::networks(mode),
        limits_egress: false,
        file_systems: file_systems::file_systems(mode, data.path()),
        io_uring: false,
        ready_count: 1,
    };
    network::refused(&config);
    // It keeps the privileges that this process gives up.
    let hand = Hand::new();
    let host = start(&config).unwrap();
    println!("{mode:?}");
    for barrier in host.barriers() {
        println!("  {}: {:?}", barrier.kind.name(), barrier.state);
    }
    let reach = FileReach {
        read: vec!["/usr".into(), "/lib".into(), "/lib64".into()],
        written: vec![data.path().to_owned()],
        left: vec![data.path().parent().unwrap().to_owned()],
    };
    host.drop_privileges(&reach).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rt = Rt::real();
    runtime.block_on(async {
        let sandboxes = host.into_async(&rt).unwrap();
        match mode {
            Mode::None => without_isolation(&sandboxes, &code).await,
            _ => {
                file_systems::inside(&sandboxes, mode, data.path()).await;
                everything(&sandboxes, &code, mode, hand).await;
            }
        }
    });
}

async fn without_isolation(sandboxes: &Sandboxes, code: &std::path::Path) {
    let mut spec = spec("cat /var/task/file; echo $API; cat $FILE; sleep 1000 & exit 3");
    spec.binds = vec![Bind { source: code.to_owned(), target: "/var/task".to_owned() }];
    spec.env.push(("FILE".to_owned(), "/var/task/file".to_owned()));
    spec.env.push(("API".to_owned(), "127.0.0.1:9001".to_owned()));
    let ran = run(sandboxes, &spec).await;
    assert!(ran.output.contains("from outside"), "{}", ran.output);
    assert!(ran.output.contains("127.0.0.1:") && !ran.output.contains(":9001"), "{}", ran.output);
    assert_eq!(ran.exit.code, Some(3));
    log_pipe(sandboxes).await;
}

async fn everything(sandboxes: &Sandboxes, code: &std::path::Path, mode: Mode, mut hand: Hand) {
    if let Some(script) = std::env::var_os("TRY") {
        let ran = run(sandboxes, &spec(script.to_str().unwrap())).await;
        println!("{}\n{:?} peak {} MB", ran.output, ran.exit, ran.peak_mb);
        return;
    }
    if std::env::var_os("COPIES").is_some() {
        copies::copies(sandboxes, code, &spec(""), mode).await;
        return whole::whole(sandboxes, code, &spec("")).await;
    }
    let ran = run(sandboxes, &spec("id -u; id -g; hostname; echo $$; exit 7")).await;
    assert_eq!(ran.output, "993\n990\nsandbox\n2\n");
    assert_eq!(ran.exit, Exit { code: Some(7), ..Exit::default() });

    priority(sandboxes).await;
    log_pipe(sandboxes).await;
    extensions::extensions(sandboxes, code, &spec("")).await;
    spares::spares(sandboxes, code, &spec(""), mode).await;
    copies::copies(sandboxes, code, &spec(""), mode).await;
    whole::whole(sandboxes, code, &spec("")).await;
    files(sandboxes, code).await;
    refusals(sandboxes).await;
    resources(sandboxes, mode).await;
    if limited(mode) {
        odd_disks(sandboxes).await;
    }
    match mode {
        Mode::Privileged => network::privileged(sandboxes, &mut hand).await,
        _ => network::rootless(sandboxes).await,
    }
    endings(sandboxes).await;
    makers::makers(sandboxes, mode, &mut hand).await;
    if mode == Mode::Rootless {
        network::the_end_of_carriers(sandboxes, &mut hand).await;
    }
}

/// The launch is urgent; what it launches is not. Told are policy and nice value, and for how long the
/// scheduler lets it run at a time, which is the same as for this process.
async fn priority(sandboxes: &Sandboxes) {
    let told = |text: &str| {
        let slice = |line: &&str| line.contains("slice") || line.starts_with("policy");
        text.lines().filter(slice).map(str::to_owned).collect::<Vec<_>>()
    };
    let script = "chrt -p $$; nice; cat /proc/self/sched";
    let mut spec = spec(script);
    let usual = told(&std::fs::read_to_string("/proc/self/sched").unwrap_or_default());
    let ran = run(sandboxes, &spec).await;
    assert!(ran.output.contains("SCHED_OTHER\n"), "{}", ran.output);
    assert!(ran.output.contains("priority: 0\n0\n"), "{}", ran.output);
    assert_eq!(told(&ran.output), usual);
    // Another `/tmp` is another way to the same.
    spec.tmp_mb = 64;
    assert_eq!(told(&run(sandboxes, &spec).await.output), usual);
}

/// The second pipe is there for a program that is to have it, and only then.
async fn log_pipe(sandboxes: &Sandboxes) {
    let mut spec = spec("echo printed; (echo logged >&5) 2> /dev/null || echo nothing");
    assert_eq!(run(sandboxes, &spec).await.output, "printed\nnothing\n");
    spec.log_pipe = true;
    let mut sandbox = sandboxes.launch(&spec).await.unwrap();
    let exit = sandbox.take_events().unwrap();
    let (mut output, mut log) = (sandbox.output.take().unwrap(), sandbox.log.take().unwrap());
    for (pipe, text) in [(&mut output, "printed\n"), (&mut log, "logged\n")] {
        let mut all = Vec::new();
        let mut buffer = [0; 64];
        while let count @ 1.. = pipe.read(&mut buffer).await.unwrap() {
            all.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(String::from_utf8(all).unwrap(), text);
    }
    assert_eq!(exit.exit().await.code, Some(0));
}

async fn files(sandboxes: &Sandboxes, code: &std::path::Path) {
    let mut with_code =
        spec("cat /var/task/file; touch /var/task/x /etc/x /x /usr/x /dev/x /proc/x /opt/x");
    with_code.binds = vec![Bind { source: code.to_owned(), target: "/var/task".to_owned() }];
    let ran = run(sandboxes, &with_code).await;
    assert!(ran.output.starts_with("from outside"), "{}", ran.output);
    assert_eq!(ran.output.matches("touch: cannot touch").count(), 7, "{}", ran.output);

    let ran = run(
        sandboxes,
        &spec("echo hello > /tmp/a; cat /tmp/a; ls /tmp | wc -l; cat /etc/shadow; ls /root"),
    )
    .await;
    assert!(ran.output.starts_with("hello\n1\n"), "{}", ran.output);
    assert!(ran.output.contains("/etc/shadow: No such file"), "{}", ran.output);
    assert!(ran.output.contains("/root': No such file"), "{}", ran.output);
    let ran =
        run(sandboxes, &spec("ls -A /tmp; ls /proc | grep -c '^[0-9]'; grep -c ext4 /proc/mounts"))
            .await;
    assert!(
        ran.output.trim().lines().next().unwrap().parse::<u32>().unwrap() <= 5,
        "{}",
        ran.output
    );
    let mut outside = spec("true");
    outside.binds = vec![Bind { source: "/etc".into(), target: "/var/task".to_owned() }];
    assert!(sandboxes.launch(&outside).await.is_err());
}

async fn refusals(sandboxes: &Sandboxes) {
    for (script, refusal) in [
        ("mount -t tmpfs x /tmp", "must be superuser|permission denied|Operation not permitted"),
        ("unshare -U true", "Operation not permitted"),
        ("chroot /tmp true", "Operation not permitted"),
        ("kill -9 1; echo still here", "still here"),
        ("mknod /tmp/sda b 8 0", "Operation not permitted"),
        ("cat /proc/1/environ", "Permission denied"),
        ("test -s /proc/kcore || echo empty", "empty"),
        ("dmesg", "Operation not permitted"),
        ("echo > /dev/tcp/127.0.0.1/80", "Connection refused"),
        ("cat /proc/cmdline; test -s /proc/cmdline || echo empty", "empty"),
        ("grep -c . /proc/self/limits; ulimit -Hi", "4096"),
        ("setpriv --reuid 0 true", "Operation not permitted|Invalid argument"),
    ] {
        let ran = run(sandboxes, &spec(&format!("{script} 2>&1"))).await;
        let refused = refusal.split('|').any(|text| ran.output.contains(text));
        assert!(refused, "{script}: {:?}", ran.output);
    }
}

fn limited(mode: Mode) -> bool {
    mode == Mode::Privileged
}

async fn resources(sandboxes: &Sandboxes, mode: Mode) {
    let limited = limited(mode);
    let hog = "x=$(head -c 400000000 /dev/zero | tr '\\0' x); echo ${#x}";
    let ran = run(sandboxes, &spec(hog)).await;
    assert!(!ran.output.contains("400000000"), "{}", ran.output);
    assert!(!limited || ran.exit.oom, "{:?}", ran.exit);
    assert!(ran.peak_mb <= 129, "{}", ran.peak_mb);

    let bomb = "for i in $(seq 200); do sleep 5 & done; echo grown";
    let ran = run(sandboxes, &spec(bomb)).await;
    assert!(!limited || ran.output.contains("Resource temporarily unavailable"), "{}", ran.output);

    let fill = "head -c 600000000 /dev/zero > /tmp/full; stat -c %s /tmp/full";
    let ran = run(sandboxes, &spec(fill)).await;
    assert!(ran.output.contains("No space left on device"), "{}", ran.output);
    if limited {
        let size: u64 = ran.output.trim().lines().last().unwrap().parse().unwrap();
        assert!((size as i64 - (512 << 20)).abs() < 1 << 20, "{size}");
        assert!(!ran.exit.oom);
    }
}

/// Sizes for which the first lengths of the disk that come to mind do not fit.
async fn odd_disks(sandboxes: &Sandboxes) {
    for tmp_mb in [512, 513, 1_000, 10_216, 10_235, 10_236, 10_240] {
        let mut spec = spec("stat -f -c '%a %S' /tmp; for i in 1 2; do :; done");
        spec.tmp_mb = tmp_mb;
        let ran = run(sandboxes, &spec).await;
        let numbers: Vec<u64> =
            ran.output.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let excess = (numbers[0] * numbers[1]) as i64 - (i64::from(tmp_mb) << 20);
        assert!((0..2 << 20).contains(&excess), "{tmp_mb} MB: {excess} bytes more");
    }
}

async fn endings(sandboxes: &Sandboxes) {
    let mut missing = spec("");
    missing.argv = vec!["/var/task/bootstrap".to_owned()];
    let ran = run(sandboxes, &missing).await;
    assert_eq!(ran.exit.start_failure, Some(StartFailure::Exec { errno: 2 }));

    let ran = run(sandboxes, &spec("kill -SEGV $$")).await;
    assert_eq!(ran.exit.signal, Some(11));

    let mut sandbox = sandboxes.launch(&spec("sleep 1000 & sleep 1000")).await.unwrap();
    let exit = sandbox.take_events().unwrap();
    let pid = sandbox.control().pid();
    sandbox.control().kill();
    let exit = tokio::time::timeout(Duration::from_secs(5), exit.exit()).await.unwrap();
    assert_eq!(exit, Exit::default());
    drop(sandbox);
    let gone = async {
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the process is gone");
}
