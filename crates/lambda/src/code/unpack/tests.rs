//! Friendly and hostile zips, built byte by byte because no zip library writes hostile ones.

use proptest::prelude::*;

use super::*;
use crate::code::testing::{Item, zip_of};

const BYTES_MAX: u64 = 1_000_000;

/// Unpacks into `<temp>/in`, and proves that nothing else appeared in `<temp>`.
fn check(items: &[Item]) -> Result<(Unpacked, tempfile::TempDir), UnpackError> {
    check_bytes(&zip_of(items))
}

fn check_bytes(bytes: &[u8]) -> Result<(Unpacked, tempfile::TempDir), UnpackError> {
    let temp = tempfile::tempdir().unwrap();
    let into = temp.path().join("in");
    std::fs::create_dir(&into).unwrap();
    let outcome = unpack(bytes, &into, BYTES_MAX);
    let beside: Vec<_> = std::fs::read_dir(temp.path()).unwrap().collect();
    assert_eq!(beside.len(), 1, "something was written outside the staging folder");
    outcome.map(|unpacked| (unpacked, temp))
}

fn mode_of(temp: &tempfile::TempDir, path: &str) -> u32 {
    let metadata = std::fs::symlink_metadata(temp.path().join("in").join(path)).unwrap();
    metadata.permissions().mode() & 0o7777
}

#[test]
fn files_folders_links_and_modes() {
    let (unpacked, temp) = check(&[
        Item::file("main.py", b"print(1)").mode(0o600),
        Item::file("bin/bootstrap", b"#!/bin/sh\n").mode(0o4755),
        Item::file("bin/plain", b"x").mode(0o664),
        Item::folder("empty/").mode(0o700),
        Item::link("lib/current", "../bin/plain"),
        Item::file("windows.txt", b"hello").dos(),
    ])
    .unwrap();
    assert_eq!(unpacked, Unpacked { bytes: 8 + 10 + 1 + 5, files: 5 });
    assert_eq!(mode_of(&temp, "main.py"), 0o644);
    assert_eq!(mode_of(&temp, "bin/bootstrap"), 0o755);
    assert_eq!(mode_of(&temp, "bin/plain"), 0o644);
    assert_eq!(mode_of(&temp, "windows.txt"), 0o644);
    assert_eq!(mode_of(&temp, "empty"), 0o755);
    assert_eq!(mode_of(&temp, "bin"), 0o755);
    let through = std::fs::read(temp.path().join("in/lib/current")).unwrap();
    assert_eq!(through, b"x");
}

#[test]
fn the_zips_own_times_are_kept() {
    let (_, temp) = check(&[Item::file("a", b"1")]).unwrap();
    let metadata = std::fs::metadata(temp.path().join("in/a")).unwrap();
    // The builder writes 2020-02-29 12:30:10 as DOS time.
    let expected = UNIX_EPOCH + Duration::from_secs(1_582_979_410);
    assert_eq!(metadata.modified().unwrap(), expected);
}

#[test]
fn a_zip_behind_something_else_is_still_a_zip() {
    // As PEX and other self-executing packages are.
    let mut bytes = b"#!/usr/bin/env python3\n".to_vec();
    bytes.extend(zip_of(&[Item::file("a", b"1"), Item::file("b", b"2")]));
    let (unpacked, _temp) = check_bytes(&bytes).unwrap();
    assert_eq!(unpacked.files, 2);
}

#[test]
fn names_that_no_table_knows_are_taken_as_they_are() {
    let (_, temp) = check(&[Item::file("données/é.py", b"1")]).unwrap();
    assert!(temp.path().join("in/données/é.py").exists());
}

#[test]
fn what_is_refused_with_a_reason() {
    let cases: &[&[Item]] = &[
        &[Item::file("../a", b"1")],
        &[Item::file("/a", b"1")],
        &[Item::file("a\\..\\b", b"1")],
        &[Item::file("C:\\a", b"1")],
        &[Item::file("a\0.py", b"1")],
        &[Item::file("a", b"1"), Item::file("a", b"2")],
        &[Item::file("a", b"1"), Item::file("a/b", b"2")],
        &[Item::link("l", "/etc/passwd")],
        &[Item::link("l", "../../etc/passwd")],
        &[Item::link("l", "ok"), Item::file("l/through", b"2"), Item::file("ok/x", b"1")],
        &[Item::file("device", b"").mode(0o020_666)],
        &[Item::file("fifo", b"").mode(0o010_666)],
        &[Item::file("socket", b"").mode(0o140_666)],
    ];
    for case in cases {
        let outcome = check(case).map(|(unpacked, _)| unpacked);
        assert!(matches!(outcome, Err(UnpackError::Refused(_))), "{case:?}: {outcome:?}");
    }
}

#[test]
fn what_is_broken() {
    let good = zip_of(&[Item::file("a", b"hello")]);
    let mut damaged = good.clone();
    let at = damaged.windows(5).position(|window| window == b"hello").unwrap();
    damaged[at] = b'j';
    let cases: &[(&str, Vec<u8>)] = &[
        ("no zip", b"this is no zip".to_vec()),
        ("nothing", Vec::new()),
        ("cut off", good[..good.len() - 10].to_vec()),
        ("wrong checksum", damaged),
        ("empty", zip_of(&[])),
        ("only folders", zip_of(&[Item::folder("a/")])),
        ("encrypted", zip_of(&[Item::file("a", b"1").encrypted()])),
        ("unknown method", zip_of(&[Item::file("a", b"1").method(99)])),
    ];
    for (what, bytes) in cases {
        let outcome = check_bytes(bytes).map(|(unpacked, _)| unpacked);
        assert!(matches!(outcome, Err(UnpackError::Broken(_))), "{what}: {outcome:?}");
    }
}

#[test]
fn bombs_are_measured_not_believed() {
    use std::io::Write as _;
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    writer.start_file("bomb", options).unwrap();
    writer.write_all(&vec![0; BYTES_MAX as usize * 2]).unwrap();
    let mut bytes = writer.finish().unwrap().into_inner();
    // Declare one byte instead of two million, in both headers.
    let size = (BYTES_MAX as u32 * 2).to_le_bytes();
    while let Some(at) = bytes.windows(4).position(|window| window == size) {
        bytes[at..at + 4].copy_from_slice(&1_u32.to_le_bytes());
    }
    let outcome = check_bytes(&bytes).map(|(unpacked, _)| unpacked);
    assert!(matches!(outcome, Err(UnpackError::TooLarge { .. })), "{outcome:?}");
}

#[test]
fn exactly_the_limit_is_too_much() {
    let half = vec![7_u8; BYTES_MAX as usize / 2];
    let less = &half[1..];
    assert!(check(&[Item::file("a", &half), Item::file("b", less)]).is_ok());
    let outcome = check(&[Item::file("a", &half), Item::file("b", &half)]);
    assert!(matches!(outcome.map(|(u, _)| u), Err(UnpackError::TooLarge { .. })));
}

fn any_item() -> impl Strategy<Value = Item> {
    let name = prop_oneof![
        "[a-c]{1,2}(/[a-c.]{1,2}){0,3}/?",
        "(\\.\\./|/|\\./|[a-b]/){0,4}[a-c]{0,2}",
        "\\PC{0,12}"
    ];
    let target = prop_oneof!["(\\.\\./|[a-c]/){0,4}[a-c]?", "\\PC{0,8}"];
    let mode = prop_oneof![
        Just(0_u32),
        Just(0o100_755),
        Just(0o040_755),
        Just(0o120_777),
        any::<u16>().prop_map(u32::from)
    ];
    (name, target, mode)
        .prop_map(|(name, content, mode)| Item::file(&name, content.as_bytes()).mode(mode))
}

/// No link in the folder may lead out of it, whatever it goes through.
fn links_stay_inside(folder: &Path, root: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            links_stay_inside(&entry.path(), root);
        } else if let Ok(real) = entry.path().canonicalize() {
            assert!(real.starts_with(root), "{real:?} is outside {root:?}");
        }
    }
}

proptest! {
    #[test]
    fn never_writes_outside(items in proptest::collection::vec(any_item(), 0..6)) {
        if let Ok((_, temp)) = check(&items) {
            let root = temp.path().join("in").canonicalize().unwrap();
            links_stay_inside(&root, &root);
        }
    }

    #[test]
    fn any_bytes_are_survived(
        mut bytes in Just(zip_of(&[Item::file("a/b", b"hello"), Item::link("l", "a/b")])),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
    ) {
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = check_bytes(&bytes);
    }
}

#[test]
fn links_that_would_keep_a_processor_busy_are_refused() {
    let long = "x/../".repeat(700);
    let mut items = vec![Item::folder("x/")];
    let names: Vec<String> = (0..6_000).map(|number| format!("l{number}")).collect();
    let target = format!("{long}x");
    for name in &names {
        items.push(Item::link(name, &target));
    }
    let refused = check(&items).err().unwrap().to_string();
    assert!(refused.contains("too many and too long"), "{refused}");
}
