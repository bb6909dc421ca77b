//! `execs MANY PROGRAM`: starts so many programs at once, waits for the first byte of each, and prints the
//! seconds that it took. What the machine can do without any sandbox.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [many, program] = &words[..] else {
        eprintln!("usage: execs MANY PROGRAM");
        std::process::exit(2);
    };
    let many: usize = many.parse().unwrap_or(1);
    let begun = Instant::now();
    let mut children = Vec::with_capacity(many);
    for _ in 0..many {
        children.push(Command::new(program).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    }
    for child in &mut children {
        let mut byte = [0];
        if let Some(output) = &mut child.stdout {
            output.read_exact(&mut byte)?;
        }
    }
    println!("{}", begun.elapsed().as_secs_f64());
    for child in &mut children {
        child.wait()?;
    }
    Ok(())
}
