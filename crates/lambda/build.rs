//! Compiles what the Java runtime client needs of the system (`src/runtimes/java/native.c`) to a library
//! that stands alone, so that it loads whatever C library a function's Java is made with.
//!
//! Writes down the digests of that client's files, too, some megabytes: so the server tells at its start
//! whether they are in place without reading its own copies.

#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

const SOURCE: &str = "src/runtimes/java/native.c";

/// In the order of `clients::JAVA`; the library comes after them.
const FILES: [&str; 5] = [
    "src/runtimes/java/lib/lambic-runtime.jar",
    "src/runtimes/java/lib/aws-lambda-java-core-1.4.0.jar",
    "src/runtimes/java/lib/aws-lambda-java-serialization-1.2.0.jar",
    "src/runtimes/java/lib/rehearsal.jar",
    "src/runtimes/java/lib/OfMaps.class",
];

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets it");
    let library = Path::new(&folder).join("liblambic.so");
    let compiler = cc::Build::new().cargo_metadata(false).get_compiler();
    let mut command = compiler.to_command();
    command.args(["-shared", "-fPIC", "-nostdlib", "-Os", "-s", "-o"]).arg(&library).arg(SOURCE);
    let status = command.status().expect("a C compiler is needed");
    assert!(status.success(), "{command:?}: {status}");
    let mut text = String::from("[");
    FILES.iter().for_each(|file| println!("cargo:rerun-if-changed={file}"));
    for file in FILES.map(Path::new).into_iter().chain([library.as_path()]) {
        let bytes = fs::read(file).expect("a file of the Java client is missing");
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        write!(text, "{digest:?}, ").expect("a text takes everything");
    }
    text.push(']');
    fs::write(Path::new(&folder).join("java_digests.rs"), text).expect("cannot write the digests");
}
