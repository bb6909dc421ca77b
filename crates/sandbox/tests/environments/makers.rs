//! Many environments at once: who makes them, and what happens when one of those is ended.

use std::collections::HashSet;

use lambic_sandbox::{Mode, Sandbox, Sandboxes, Spec};
use tokio::task::JoinSet;

use super::network::{Hand, children, wait_for};
use super::spec;

/// More than are ready, and more than makers have orders.
const MANY: usize = 24;

/// Launches so many at once, and looks whether each is a user of its own and has a `/tmp` of its own, while
/// all of them live.
async fn many(sandboxes: &Sandboxes) {
    let script = "tr -s ' ' < /proc/self/uid_map; stat -f -c %a /tmp; ls -A /tmp; touch /tmp/file; \
                  echo .; exec sleep 600";
    let mut launched = JoinSet::new();
    for _ in 0..MANY {
        let (sandboxes, spec) = (sandboxes.clone(), spec(script));
        launched.spawn(async move { up_to_the_dot(&sandboxes, &spec).await });
    }
    let mut users = HashSet::new();
    for (sandbox, said) in launched.join_all().await {
        let (user, room) = said.trim().split_once('\n').unwrap();
        let room: u64 = room.parse().unwrap();
        assert!((512 << 20..513 << 20).contains(&(room * 4096)), "{room}");
        assert!(users.insert(user.to_owned()), "{user} is somebody else, too");
        sandbox.control().kill();
    }
}

async fn up_to_the_dot(sandboxes: &Sandboxes, spec: &Spec) -> (Sandbox, String) {
    let mut sandbox = sandboxes.launch(spec).await.unwrap();
    let mut output = sandbox.output.take().unwrap();
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    while !said.ends_with(b"\n.\n") {
        let count = output.read(&mut buffer).await.unwrap();
        said.extend_from_slice(&buffer[..count]);
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&said));
    }
    said.truncate(said.len() - 2);
    (sandbox, String::from_utf8(said).unwrap())
}

fn end(hand: &mut Hand, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    assert_eq!(hand.order(&format!("kill -9 {}", pids.join(" "))), "end 0\n");
}

pub(crate) async fn makers(sandboxes: &Sandboxes, mode: Mode, hand: &mut Hand) {
    let spawner = children(std::process::id(), "lambic-spawner")[0];
    let of_spawner = || children(spawner, "lambic-maker");
    if mode != Mode::Privileged {
        assert_eq!(of_spawner(), [0_u32; 0]);
        return;
    }
    many(sandboxes).await;
    let all = of_spawner();
    assert!(all.len() > 1, "{all:?}");
    for maker in &all {
        assert_eq!(children(*maker, ""), [0_u32; 0], "what it makes is the spawner's");
    }
    // One ends while all are at work; the launches that it worked for are made by others.
    tokio::join!(many(sandboxes), async {
        tokio::task::yield_now().await;
        end(hand, &all[..1]);
    });
    wait_for(|| of_spawner().len() == all.len() - 1, "the end of one").await;
    many(sandboxes).await;
    // With none left the spawner makes them itself.
    end(hand, &of_spawner());
    wait_for(|| of_spawner().is_empty(), "the end of all").await;
    many(sandboxes).await;
}
