//! Compiles what the Java runtime client needs of the system (`src/runtimes/java/native.c`) to a library
//! that stands alone, so that it loads whatever C library a function's Java is made with.

#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

use std::path::Path;

const SOURCE: &str = "src/runtimes/java/native.c";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets it");
    let library = Path::new(&folder).join("liblambic.so");
    let compiler = cc::Build::new().cargo_metadata(false).get_compiler();
    let mut command = compiler.to_command();
    command.args(["-shared", "-fPIC", "-nostdlib", "-Os", "-s", "-o"]).arg(library).arg(SOURCE);
    let status = command.status().expect("a C compiler is needed");
    assert!(status.success(), "{command:?}: {status}");
}
