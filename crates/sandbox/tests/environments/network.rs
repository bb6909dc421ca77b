//! What environments reach, and what they do not: with links, and with each carrier.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use lambic_sandbox::{Mode, PrivateNetwork, Reach, Sandboxes, SpawnerConfig, start};

use super::{Ran, run, spec};

/// The user without rights.
const USER: &str = "61234";
/// Where the world's server says hello; one of its two addresses.
const SERVER: &str = "198.51.100.2";
const OTHER_ADDRESS: &str = "198.51.100.6";
const METADATA: &str = "169.254.169.254";
/// The host, as the world sees it.
const HOST: &str = "198.51.100.1";

fn network(name: &str, reach: &[&str], members_reach_each_other: bool) -> PrivateNetwork {
    let ranges = reach.iter().map(|range| range.parse().unwrap()).collect();
    PrivateNetwork { name: name.to_owned(), reach: Reach::Only(ranges), members_reach_each_other }
}

/// The private networks of all tests.
pub(crate) fn networks(mode: Mode) -> Vec<PrivateNetwork> {
    let mut networks =
        vec![network("server-only", &[SERVER], false), network("closed", &[], false)];
    match mode {
        Mode::Privileged => networks.push(network("together", &[], true)),
        Mode::Rootless => {}
        Mode::None => networks.clear(),
    }
    networks
}

/// Networks that cannot be made end the start, and are named.
pub(crate) fn refused(config: &SpawnerConfig) {
    let why = match config.mode {
        Mode::Privileged => return,
        Mode::Rootless => "members that reach each other need root",
        Mode::None => "private networks need isolation",
    };
    let mut config = config.clone();
    config.networks.push(network("together", &[], true));
    let error = start(&config).err().expect("it is refused").to_string();
    assert!(error.contains(why), "{error}");
}

/// Starts this program again in a network of its own, which stands for the host's: other servers'
/// filters, and what this machine is connected with, have no say in it.
pub(crate) fn run_apart() {
    let root = nix::unistd::geteuid().is_root();
    assert!(root, "this test needs root, to try the privileged mode and the rootless one");
    let me = std::env::current_exe().unwrap();
    let apart = ["--net", "--mount", "--propagation", "private"];
    let error = Command::new("unshare").args(apart).arg(me).arg("--apart").exec();
    panic!("unshare (package util-linux): {error}");
}

fn ip(line: &str) {
    let status = Command::new("ip").args(line.split(' ')).status();
    let status = status.expect("the ip command (package iproute2) is needed");
    assert!(status.success(), "ip {line}");
}

/// A host usually has a default route, and pasta asks for one; nobody is there.
pub(crate) fn give_host_a_way_out() {
    ip("link set lo up");
    ip("link add lmw1 type veth peer name lmw2");
    ip("link set lmw1 up");
    ip("link set lmw2 up");
    ip("addr add 198.51.100.129/30 dev lmw1");
    ip("route add default via 198.51.100.130");
}

/// Says hello to everyone who connects, until it is killed.
pub(crate) fn serve_greetings(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    println!("listening");
    for stream in listener.incoming() {
        let _ = stream.and_then(|mut stream| stream.write_all(b"hello"));
    }
}

fn world_name(builder: u32) -> String {
    format!("lambic-world-{builder}")
}

/// A network namespace that stands for the rest of the world, linked with the host.
pub(crate) struct World {
    name: String,
    server: Child,
}

impl World {
    pub(crate) fn build() -> World {
        let name = world_name(std::process::id());
        ip(&format!("netns add {name}"));
        ip(&format!("link add lmw0 type veth peer name eth0 netns {name}"));
        ip(&format!("addr add {HOST}/30 dev lmw0"));
        ip("link set lmw0 up");
        ip(&format!("-n {name} addr add {SERVER}/30 dev eth0"));
        ip(&format!("-n {name} addr add {OTHER_ADDRESS}/32 dev eth0"));
        ip(&format!("-n {name} addr add {METADATA}/32 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        // As if somebody outside had found out about the links.
        ip(&format!("-n {name} route add 198.18.0.0/15 via {HOST}"));
        ip(&format!("route add {METADATA}/32 dev lmw0"));
        ip(&format!("route add {OTHER_ADDRESS}/32 dev lmw0"));
        let me = std::env::current_exe().unwrap();
        let mut server = Command::new("ip")
            .args(["netns", "exec", &name])
            .arg(me)
            .args(["--serve", "0.0.0.0:8080"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 9];
        std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut line).unwrap();
        World { name, server }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// The command that runs `program` as a user without rights who has this carrier only, and a tun
/// device that everybody may use (as most systems have it, but not all), in a mount namespace.
pub(crate) fn as_user(program: &Path, folder: &Path, carrier: &str) -> Command {
    let tools = folder.join(format!("only-{carrier}"));
    std::fs::create_dir(&tools).unwrap();
    let real = ["/usr/bin", "/usr/local/bin", "/bin"].map(|folder| Path::new(folder).join(carrier));
    let real = real.iter().find(|path| path.exists());
    let real = real.unwrap_or_else(|| panic!("{carrier} is needed (Debian: passt, slirp4netns)"));
    std::os::unix::fs::symlink(real, tools.join(carrier)).unwrap();
    let script = format!(
        "mkdir -p /dev/net && mount -t tmpfs -o mode=755 lambic-test /dev/net &&
         mknod -m 666 /dev/net/tun c 10 200 &&
         exec setpriv --reuid {USER} --regid {USER} --clear-groups env PATH={} \"$@\"",
        tools.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(program);
    command
}

/// A shell that keeps the rights of this process and does what it is told.
pub(crate) struct Hand {
    shell: Child,
    /// The shell ends with it.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Hand {
    pub(crate) fn new() -> Hand {
        let (orders, answers) = (Stdio::piped(), Stdio::piped());
        let mut shell = Command::new("/bin/sh").stdin(orders).stdout(answers).spawn().unwrap();
        let (orders, answers) = (shell.stdin.take(), shell.stdout.take().unwrap());
        Hand { shell, orders, answers: BufReader::new(answers) }
    }

    /// What the command printed, errors included, and its exit status in the last line.
    pub(crate) fn order(&mut self, command: &str) -> String {
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{{ {command}; }} 2>&1; echo \"end $?\"").unwrap();
        let mut text = String::new();
        while !text.lines().last().is_some_and(|line| line.starts_with("end ")) {
            assert_ne!(self.answers.read_line(&mut text).unwrap(), 0, "{text}");
        }
        text
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        // This process may no longer have the right to end it.
        drop(self.orders.take());
        let _ = self.shell.wait();
    }
}

/// Checks whether an environment of this network hears the greeting at an address. What is to be
/// reached may take its time on a busy machine; silence is believed after two seconds.
async fn check_reach(
    sandboxes: &Sandboxes,
    network: Option<&str>,
    address: &str,
    port: u16,
    expected: bool,
) {
    let spec = reaching(network, address, port, expected);
    judge(sandboxes, &spec, address, expected).await;
}

fn reaching(
    network: Option<&str>,
    address: &str,
    port: u16,
    expected: bool,
) -> lambic_sandbox::Spec {
    let limit_s = if expected { 30 } else { 2 };
    let connect = format!("bash -c 'cat < /dev/tcp/{address}/{port}'");
    let mut spec = spec(&format!("timeout {limit_s} {connect} 2>&1; echo \" $?\""));
    spec.network = network.map(str::to_owned);
    spec
}

async fn judge(sandboxes: &Sandboxes, spec: &lambic_sandbox::Spec, address: &str, expected: bool) {
    let network = spec.network.as_deref();
    let Ran { output, .. } = run(sandboxes, spec).await;
    let refused = output.ends_with(" 124\n") || output.ends_with(" 1\n");
    assert!(output == "hello 0\n" || refused, "{address}: {output}");
    assert_eq!(!refused, expected, "{address} from network {network:?}: {output}");
}

/// A server on all addresses of this process's network, which nobody inside may reach.
fn host_server() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"hello"));
        }
    });
    let mut greeting = [0; 5];
    let mut stream = std::net::TcpStream::connect((HOST, port)).unwrap();
    std::io::Read::read_exact(&mut stream, &mut greeting).unwrap();
    port
}

/// What holds however the way out is made.
async fn the_same_everywhere(sandboxes: &Sandboxes, host_port: u16) {
    let check = async |network, address, port, expected| {
        check_reach(sandboxes, network, address, port, expected).await;
    };
    check(None, SERVER, 8080, true).await;
    check(None, OTHER_ADDRESS, 8080, true).await;
    check(None, HOST, host_port, false).await;
    check(None, METADATA, 8080, false).await;
    check(None, "127.0.0.1", host_port, false).await;

    let only = Some("server-only");
    check(only, SERVER, 8080, true).await;
    check(only, OTHER_ADDRESS, 8080, false).await;
    check(only, HOST, host_port, false).await;
    check(only, METADATA, 8080, false).await;
    check(Some("closed"), SERVER, 8080, false).await;

    allow_lists(sandboxes).await;

    let mut unknown = spec("true");
    unknown.network = Some("other".to_owned());
    let error = sandboxes.launch(&unknown).await.err().expect("it is refused").to_string();
    assert!(error.contains("there is no network \"other\""), "{error}");
}

/// What a list allows of what the network reaches, and not more.
async fn allow_lists(sandboxes: &Sandboxes) {
    let entry = |address: &str, port: u16| format!("{address}/32:{port}").parse().unwrap();
    for (network, allowed, address, expected) in [
        (Some("server-only"), vec![entry(OTHER_ADDRESS, 1), entry(SERVER, 8080)], SERVER, true),
        (Some("server-only"), vec![entry(SERVER, 8079)], SERVER, false),
        (Some("server-only"), vec![entry(OTHER_ADDRESS, 8080)], OTHER_ADDRESS, false),
        (None, vec!["0.0.0.0/0:8000-8100".parse().unwrap()], OTHER_ADDRESS, true),
        (None, vec!["0.0.0.0/0:8080/udp".parse().unwrap()], OTHER_ADDRESS, false),
        (None, vec![], SERVER, false),
    ] {
        let spec = lambic_sandbox::Spec {
            egress: Some(allowed),
            ..reaching(network, address, 8080, expected)
        };
        judge(sandboxes, &spec, address, expected).await;
    }
    // Whoever is inside cannot change it, and its own loopback is its own.
    let mut inside = spec(
        "PATH=$PATH:/usr/sbin; nft flush ruleset 2>/dev/null && echo flushed; \
         python3 -c 'import socket; s = socket.create_server((\"127.0.0.1\", 7001)); \
         socket.create_connection((\"127.0.0.1\", 7001)); print(\"own\")'",
    );
    inside.egress = Some(Vec::new());
    assert_eq!(run(sandboxes, &inside).await.output, "own\n");
}

pub(crate) async fn privileged(sandboxes: &Sandboxes, hand: &mut Hand) {
    let host_port = host_server();
    the_same_everywhere(sandboxes, host_port).await;
    neighbours(sandboxes).await;
    nothing_inwards(sandboxes, hand).await;
    numbers_that_are_taken(sandboxes, hand).await;
    no_address_is_a_broadcast(sandboxes, hand).await;

    let spawner = children(std::process::id(), "lambic-spawner")[0];
    let table = format!("inet lambic_{spawner}");
    let listed = hand.order(&format!("nft list table {table}"));
    assert!(listed.ends_with("end 0\n"), "{listed}");
    let gone = hand.order(&format!("nft delete table {table}"));
    assert_eq!(gone, "end 0\n");
    until(hand, &format!("nft list table {table}"), |text| text.ends_with("end 0\n")).await;
    the_same_everywhere(sandboxes, host_port).await;

    let added = hand.order(&format!("nft insert rule {table} outwards accept comment intruder"));
    assert_eq!(added, "end 0\n");
    until(hand, &format!("nft list table {table}"), |text| !text.contains("intruder")).await;
    check_reach(sandboxes, Some("closed"), SERVER, 8080, false).await;
    neighbours(sandboxes).await;
}

/// The last address of 256 belongs to a link like any other. It was the broadcast address of every
/// link near it, so that one environment in 128 had no way out.
async fn no_address_is_a_broadcast(sandboxes: &Sandboxes, hand: &mut Hand) {
    let sandbox = sandboxes.launch(&spec("sleep 100")).await.unwrap();
    let links = hand.order("ip -4 -o addr show");
    assert!(links.contains("lmb"), "{links}");
    let routes = hand.order("ip -4 route show table local type broadcast");
    assert!(!routes.contains("lmb"), "{routes}");
    drop(sandbox);
}

async fn until(hand: &mut Hand, command: &str, check: impl Fn(&str) -> bool) {
    let wait = async {
        while !check(&hand.order(command)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect(command);
}

/// Prints its address and says hello on port 7000 to everyone who connects.
const SERVE_INSIDE: &str = "python3 -c '
import socket, subprocess
server = socket.create_server((\"0.0.0.0\", 7000))
line = subprocess.check_output([\"ip\", \"-4\", \"-o\", \"addr\", \"show\", \"dev\", \"eth0\"], text=True)
print(line.split()[3].split(\"/\")[0], flush=True)
while True:
    server.accept()[0].sendall(b\"hello\")
'";

/// Who reaches an environment that listens on every address it has.
async fn neighbours(sandboxes: &Sandboxes) {
    for network in [None, Some("server-only"), Some("closed"), Some("together")] {
        let mut listening = spec(SERVE_INSIDE);
        listening.network = network.map(str::to_owned);
        let mut other = sandboxes.launch(&listening).await.unwrap();
        let mut output = other.output.take().unwrap();
        let mut address = [0; 64];
        let length = output.read(&mut address).await.unwrap();
        let address = String::from_utf8_lossy(&address[..length]).trim().to_owned();
        let from = |from| {
            let member = network == Some("together") && from == network;
            Box::pin(check_reach(sandboxes, from, &address, 7000, member))
        };
        tokio::join!(
            from(None),
            from(Some("server-only")),
            from(Some("closed")),
            from(Some("together"))
        );
        let refused = std::net::TcpStream::connect_timeout(
            &format!("{address}:7000").parse().unwrap(),
            Duration::from_millis(300),
        );
        assert!(refused.is_err(), "a program of the host reached into {network:?}");
    }
}

/// Prints its address and then what is sent to it, with no answer that could be stopped.
const HEAR_INSIDE: &str = "python3 -c '
import socket, subprocess
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.bind((\"0.0.0.0\", 7001))
line = subprocess.check_output([\"ip\", \"-4\", \"-o\", \"addr\", \"show\", \"dev\", \"eth0\"], text=True)
print(line.split()[3].split(\"/\")[0], flush=True)
while True:
    print(ear.recv(100).decode().strip(), flush=True)
'";

/// Neither from programs of the host nor from outside; what a member says arrives.
async fn nothing_inwards(sandboxes: &Sandboxes, hand: &mut Hand) {
    let mut hearing = spec(HEAR_INSIDE);
    hearing.network = Some("together".to_owned());
    let mut other = sandboxes.launch(&hearing).await.unwrap();
    let mut output = other.output.take().unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 256]);
    while !text.ends_with('\n') {
        let length = output.read(&mut buffer).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let address = text.trim().to_owned();
    text.clear();
    let say = |what: &str| format!("bash -c 'echo {what} > /dev/udp/{address}/7001'");
    // The kernel tells the sender that it may not, or nobody.
    hand.order(&say("host"));
    let world = world_name(nix::unistd::getppid().as_raw() as u32);
    assert_eq!(hand.order(&format!("ip netns exec {world} {}", say("world"))), "end 0\n");
    let mut member = spec(&say("member"));
    member.network = Some("together".to_owned());
    run(sandboxes, &member).await;
    while !text.contains("member") {
        let length = output.read(&mut buffer).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    assert_eq!(text, "member\n", "somebody reached in");
}

/// The addresses of a link are nobody else's: another server may have taken its number.
async fn numbers_that_are_taken(sandboxes: &Sandboxes, hand: &mut Hand) {
    let address = "ip -4 -o addr show dev eth0 | grep -o '198[0-9.]*' | head -1";
    let number = |ran: Ran| {
        let inside: std::net::Ipv4Addr = ran.output.trim().parse().unwrap();
        (u32::from(inside) - u32::from(std::net::Ipv4Addr::new(198, 18, 0, 0))) / 2
    };
    let first = number(run(sandboxes, &spec(address)).await);
    let taken = first + 4;
    assert_eq!(
        hand.order(&format!("ip link add lmb{taken} type veth peer name lmt{taken}")),
        "end 0\n"
    );
    // Each of those that make environments counts from another number on.
    let mut numbers: Vec<u32> = Vec::new();
    while !numbers.iter().any(|number| (taken + 1..taken + 100).contains(number)) {
        numbers.push(number(run(sandboxes, &spec(address)).await));
        assert!(numbers.len() < 60, "{numbers:?} after {first}");
    }
    assert!(!numbers.contains(&taken), "{numbers:?}");
    assert_eq!(hand.order(&format!("ip link del lmb{taken}")), "end 0\n");
}

pub(crate) async fn rootless(sandboxes: &Sandboxes) {
    let host_port = host_server();
    the_same_everywhere(sandboxes, host_port).await;
    // A socket that is bound to the interface does not care for most routes.
    let script = |address: &str, port: u16| {
        format!(
            "python3 -c '
import socket
s = socket.socket()
s.settimeout(1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b\"eth0\")
try:
    s.connect((\"{address}\", {port}))
    print(s.recv(5).decode())
except OSError as error:
    print(\"no\", error)
'"
        )
    };
    let ran = run(sandboxes, &spec(&script(SERVER, 8080))).await;
    assert_eq!(ran.output, "hello\n", "the outside can be reached from a bound socket");
    let of_carriers = ["198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.0.100"];
    for address in ["127.0.0.1", HOST, "0.0.0.0"].into_iter().chain(of_carriers) {
        let ran = run(sandboxes, &spec(&script(address, host_port))).await;
        assert!(ran.output.starts_with("no "), "{address}: {}", ran.output);
    }
    let ran = run(sandboxes, &spec(&script(METADATA, 8080))).await;
    assert!(ran.output.starts_with("no "), "{}", ran.output);
    let mut only = spec(&script(OTHER_ADDRESS, 8080));
    only.network = Some("server-only".to_owned());
    let ran = run(sandboxes, &only).await;
    assert!(ran.output.starts_with("no "), "{}", ran.output);

    let change = "ip route del local 169.254.0.0/16 table local 2>&1; ip link set eth0 down 2>&1";
    let ran = run(sandboxes, &spec(change)).await;
    assert_eq!(ran.output.matches("Operation not permitted").count(), 2, "{}", ran.output);

    // Those that have ended take their carriers along; the one that waits keeps its own.
    let spawner = children(std::process::id(), "lambic-spawner")[0];
    wait_for(|| children(spawner, "lambic-carrier").len() == 1, "the carriers of the ended").await;
}

/// However the spawner ends, the carriers do.
pub(crate) async fn the_end_of_carriers(sandboxes: &Sandboxes, hand: &mut Hand) {
    let spawner = children(std::process::id(), "lambic-spawner")[0];
    let _running = sandboxes.launch(&spec("sleep 1000")).await.unwrap();
    wait_for(|| children(spawner, "lambic-carrier").len() == 2, "a carrier for each").await;
    let programs = || -> Vec<u32> {
        let carriers = children(spawner, "lambic-carrier").into_iter();
        carriers.flat_map(|carrier| children(carrier, "")).collect()
    };
    // A program may have a second process for the moment of its start.
    wait_for(|| programs().len() == 2, "a program for each carrier").await;
    let before = programs();
    assert_eq!(hand.order(&format!("kill -9 {spawner}")), "end 0\n");
    let lives = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    };
    wait_for(|| !before.iter().any(lives), "the end of the carriers").await;
}

pub(crate) async fn wait_for(check: impl Fn() -> bool, what: &str) {
    let wait = async {
        while !check() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect(what);
}

/// The living children of a process that have this name; all of them for an empty one.
pub(crate) fn children(parent: u32, name: &str) -> Vec<u32> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((start, rest)) = stat.rsplit_once(')') else { continue };
        let own_name = start.split_once('(').map_or("", |(_, name)| name);
        let mut fields = rest.split_whitespace();
        let (state, of) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let matches = own_name == name || name.is_empty();
        if state != "Z" && of == parent.to_string() && matches {
            found.insert(pid, ());
        }
    }
    found.into_keys().collect()
}
