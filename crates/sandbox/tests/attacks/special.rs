//! Attempts that need more than a program inside: a frozen environment, a killed spawner, code that
//! has taken over the server.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use lambic_sandbox::{Sandbox, Sandboxes, Spec};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Outcome;
use crate::world::World;

/// How long something may take to happen that has to.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long something that must not happen has the time for it.
const A_WHILE: Duration = Duration::from_millis(300);

/// Whether it goes on printing after it was stopped.
pub(crate) async fn work_while_frozen(mut sandbox: Sandbox) -> Outcome {
    let mut output = sandbox.output.take().unwrap();
    let mut buffer = [0; 4096];
    let first = tokio::time::timeout(PATIENCE, output.read(&mut buffer)).await;
    assert!(first.expect("it begins").unwrap() > 0);
    sandbox.control().freeze().unwrap();
    // Stopping takes the kernel a moment; then what was printed before is read.
    tokio::time::sleep(A_WHILE).await;
    while output.try_read(&mut buffer).is_ok_and(|count| count > 0) {}
    match tokio::time::timeout(A_WHILE, output.read(&mut buffer)).await {
        Ok(Ok(1..)) => Outcome::Through,
        _ => Outcome::Stopped("it printed nothing".to_owned()),
    }
}

/// Whether a frozen environment is still there after its spawner was killed.
pub(crate) async fn outlive_the_spawner(sandboxes: &Sandboxes, spec: &Spec) -> Outcome {
    let sandbox = sandboxes.launch(spec).await.unwrap();
    let control = sandbox.control();
    control.freeze().unwrap();
    // The kernel has only been told to; a process that it has not stopped yet can be killed.
    let frozen = async {
        while !is_frozen(control.pid()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, frozen).await.expect("it is frozen");
    let spawner = children_of(std::process::id())
        .into_iter()
        .find(|pid| comm(*pid) == "lambic-spawner")
        .expect("there is a spawner");
    let keeper = children_of(spawner as u32).into_iter().any(|pid| comm(pid) == "lambic-keeper");
    kill(Pid::from_raw(spawner), Signal::SIGKILL).unwrap();
    let folder = format!("/proc/{}", control.pid());
    let gone = async {
        while Path::new(&folder).exists() && state(&folder) != Some('Z') {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let patience = if keeper { PATIENCE } else { 4 * A_WHILE };
    let outcome = match tokio::time::timeout(patience, gone).await {
        Ok(()) => Outcome::Stopped("it ended".to_owned()),
        Err(_) => Outcome::Through,
    };
    control.thaw().ok();
    outcome
}

pub(crate) fn children_of(pid: u32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn comm(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// Whether all processes of the group that this one is frozen with have stopped.
fn is_frozen(pid: i32) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let of = |marker: &str| groups.lines().find_map(|line| Some(line.split_once(marker)?.1));
    let says = |path: String, text| {
        fs::read_to_string(path).is_ok_and(|state| state.lines().any(|line| line == text))
    };
    if let Some(group) = of(":freezer:") {
        return says(format!("/sys/fs/cgroup/freezer{group}/freezer.state"), "FROZEN");
    }
    let group = of("0::").unwrap_or_default();
    says(format!("/sys/fs/cgroup{group}/cgroup.events"), "frozen 1")
}

fn state(folder: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// What code does that has taken over the server, after it has given up its privileges.
pub(crate) fn in_the_server(name: &str, world: &World) -> Outcome {
    let result = match name {
        "read_the_passwords_of_the_host" => fs::read("/etc/shadow").map(drop),
        "write_a_file_of_the_host" => fs::write(world.path("written"), "x"),
        "leave_a_set_user_id_program" => {
            let file = world.path("data").join("program");
            fs::write(&file, "x").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o4755))
        }
        "make_a_namespace_in_the_server" => {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).map_err(Into::into)
        }
        "signal_another_process_of_root" => {
            kill(Pid::from_raw(world.served()), None).map_err(Into::into)
        }
        other => panic!("nobody knows how to {other}"),
    };
    match result {
        Ok(()) => Outcome::Through,
        Err(error) => Outcome::Stopped(error.to_string()),
    }
}
