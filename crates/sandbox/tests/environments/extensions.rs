//! Environments with programs beside the runtime.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use lambic_sandbox::{Bind, Event, Extensions, Output, ProgramEnd, Sandboxes, Spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn exited(program: usize, code: Option<i32>, signal: Option<i32>) -> Event {
    Event::ProgramEnded { program, end: ProgramEnd::Exited { code, signal } }
}

async fn line(output: &mut Output) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 1];
    while output.read(&mut buffer).await.unwrap() == 1 && buffer != *b"\n" {
        all.push(buffer[0]);
    }
    String::from_utf8(all).unwrap()
}

pub(crate) async fn extensions(sandboxes: &Sandboxes, code: &Path, spec: &Spec) {
    let folder = code.join("extensions");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        std::fs::write(folder.join(name), text).unwrap();
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.join(name), permissions).unwrap();
    };
    write(
        "stays",
        "#!/bin/bash\ntrap 'echo told to end; exit 4' TERM\n\
         echo begun $MINE $PWD $(ls /proc/self/fd | tr '\\n' ' ')\n\
         sleep infinity & wait\n",
        0o755,
    );
    write("listens", LISTENER, 0o755);
    write("no-program", "", 0o644);
    let mut spec = spec.clone();
    spec.argv[2] = "echo runtime; while :; do sleep 0.01; done".to_owned();
    spec.binds = vec![Bind { source: code.to_owned(), target: "/opt".to_owned() }];
    let programs = ["stays", "listens", "no-program"];
    spec.extensions = Some(Extensions {
        programs: programs.map(|name| format!("/opt/extensions/{name}")).to_vec(),
        env: vec![
            ("MINE".to_owned(), "1".to_owned()),
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ],
        cwd: "/tmp".to_owned(),
    });
    tokio::time::timeout(PATIENCE, together(sandboxes, &spec)).await.expect("all of it happens");
}

const LISTENER: &str = r#"#!/usr/bin/env python3
import socket
server = socket.create_server(("127.0.0.1", 8123))
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b"heard " + connection.recv(100))
    connection.close()
"#;

async fn together(sandboxes: &Sandboxes, spec: &Spec) {
    let mut sandbox = sandboxes.launch(spec).await.unwrap();
    let control = sandbox.control();
    let mut events = sandbox.take_events().unwrap();
    let mut printed = sandbox.extensions_output.take().unwrap();
    let mut output = sandbox.output.take().unwrap();
    // Who cannot be started is told first; the others have begun, the runtime has not.
    let refused = ProgramEnd::NotExecuted { errno: 13 };
    assert_eq!(events.next().await, Event::ProgramEnded { program: 3, end: refused });
    let mut lines = [line(&mut printed).await, line(&mut printed).await];
    lines.sort();
    // 3 is what `ls` reads the folder with.
    assert_eq!(lines, ["begun 1 /tmp 0 1 2 3 ", "listening"].map(str::trim_end));
    let mut buffer = [0; 16];
    assert!(output.try_read(&mut buffer).is_err(), "the runtime began without a word");

    // A connection from outside to what listens inside.
    let heard = async {
        let mut connection = control.connect(8123).await.unwrap();
        connection.write_all(b"hello").await.unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).await.unwrap();
        assert!(control.connect(8124).await.is_err(), "nobody listens there");
        text
    };
    let heard = tokio::select! {
        heard = heard => heard,
        event = events.next() => panic!("{event:?}"),
    };
    assert_eq!(heard, "heard hello");

    control.go().unwrap();
    assert_eq!(line(&mut output).await, "runtime");
    // The runtime's end does not end the environment, the last program's does.
    control.signal(0, 15).unwrap();
    assert_eq!(events.next().await, exited(0, None, Some(15)));
    control.signal(1, 15).unwrap();
    assert_eq!(line(&mut printed).await, "told to end");
    assert_eq!(events.next().await, exited(1, Some(4), None));
    // To somebody who is no more: nothing happens.
    control.signal(1, 9).unwrap();
    control.signal(9, 9).unwrap();
    control.signal(2, 9).unwrap();
    assert_eq!(events.next().await, exited(2, None, Some(9)));
    match events.next().await {
        Event::Ended(exit) => assert_eq!((exit.code, exit.signal), (None, Some(15))),
        event => panic!("{event:?}"),
    }

    // One that is killed while its runtime waits.
    let mut sandbox = sandboxes.launch(spec).await.unwrap();
    let events = sandbox.take_events().unwrap();
    sandbox.control().kill();
    let exit = events.exit().await;
    assert_eq!((exit.code, exit.signal), (None, None));
}
