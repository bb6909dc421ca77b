//! What a zip would make, decided before anything is written.
//!
//! Names come from strangers. Every entry is put into a tree first; an entry that leaves the
//! package, lies under a file or a link, or stands twice is refused there. Because no planned path
//! leads through a link, writing afterwards needs no further care, and links, made last, can
//! redirect nothing.

use std::collections::HashMap;

use super::unpack::UnpackError;

/// A path's longest form, in bytes.
pub(crate) const PATH_BYTES_MAX: usize = 1_024;
/// Folders on top of each other.
pub(crate) const PATH_DEPTH_MAX: usize = 100;
/// One file or folder name, in bytes (Linux's own limit).
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// A link's target, in bytes.
pub(crate) const LINK_BYTES_MAX: usize = 4_095;
/// Files, folders and links of one package, with the folders that names only imply.
pub(crate) const NODES_MAX: usize = 200_000;
/// Parts of links looked at for a whole package; more would keep a processor busy for seconds.
const LINK_STEPS_MAX: usize = 2_000_000;
/// Links followed while one is resolved (Linux's own limit).
const LINK_HOPS_MAX: usize = 40;

const ROOT: usize = 0;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    /// With its target as written.
    Link(String),
}

#[derive(Debug)]
struct Node {
    parent: usize,
    kind: Kind,
    children: HashMap<Box<str>, usize>,
}

/// The tree of everything that is to be written.
#[derive(Debug)]
pub(crate) struct Plan {
    nodes: Vec<Node>,
    links: Vec<usize>,
}

impl Plan {
    pub(crate) fn new() -> Plan {
        let root = Node { parent: ROOT, kind: Kind::Folder, children: HashMap::new() };
        Plan { nodes: vec![root], links: Vec::new() }
    }

    /// Files, folders and links so far, without the root.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Adds one entry; `path` comes from [`components`].
    pub(crate) fn add(&mut self, path: &[&str], kind: Kind) -> Result<(), UnpackError> {
        let Some((last, folders)) = path.split_last() else {
            // "./" alone: the root, which is there already.
            return match kind {
                Kind::Folder => Ok(()),
                _ => Err(refused("an entry has no name")),
            };
        };
        let mut at = ROOT;
        for name in folders {
            at = self.folder(at, name)?;
        }
        if kind == Kind::Folder {
            return self.folder(at, last).map(|_| ());
        }
        if self.nodes[at].children.contains_key(*last) {
            return Err(refused(&format!("'{}' is there twice", path.join("/"))));
        }
        let is_link = matches!(kind, Kind::Link(_));
        let node = self.push(at, last, kind)?;
        if is_link {
            self.links.push(node);
        }
        Ok(())
    }

    fn folder(&mut self, parent: usize, name: &str) -> Result<usize, UnpackError> {
        match self.nodes[parent].children.get(name) {
            Some(&node) if self.nodes[node].kind == Kind::Folder => Ok(node),
            Some(_) => Err(refused(&format!("'{name}' is a folder and something else"))),
            None => self.push(parent, name, Kind::Folder),
        }
    }

    fn push(&mut self, parent: usize, name: &str, kind: Kind) -> Result<usize, UnpackError> {
        if self.len() >= NODES_MAX {
            return Err(refused(&format!("more than {NODES_MAX} files and folders")));
        }
        let node = self.nodes.len();
        self.nodes.push(Node { parent, kind, children: HashMap::new() });
        self.nodes[parent].children.insert(name.into(), node);
        Ok(node)
    }

    /// Refuses the plan if a link leads out of the package, however many links it goes through.
    pub(crate) fn check_links(&self) -> Result<(), UnpackError> {
        let mut steps = 0;
        for &link in &self.links {
            self.resolve(link, &mut Walk { hops: 0, steps: &mut steps })?;
        }
        Ok(())
    }

    /// Where a link leads: a node, or `None` when nothing is there.
    fn resolve(&self, link: usize, walk: &mut Walk<'_>) -> Result<Option<usize>, UnpackError> {
        let Kind::Link(target) = &self.nodes[link].kind else { return Ok(Some(link)) };
        walk.hops += 1;
        if walk.hops > LINK_HOPS_MAX {
            return Err(refused(&format!("link to '{target}' goes round in circles")));
        }
        if target.is_empty() || target.starts_with('/') || target.contains('\0') {
            return Err(refused(&format!("link to '{target}' points out of the package")));
        }
        let mut at = self.nodes[link].parent;
        // Once a part does not exist there is nothing left to follow; how deep we are below the
        // last folder that exists still decides whether ".." leads out.
        let mut missing_depth = 0_usize;
        for part in target.split('/') {
            *walk.steps += 1;
            if *walk.steps > LINK_STEPS_MAX {
                return Err(refused("its links are too many and too long"));
            }
            match part {
                "" | "." => {}
                ".." if missing_depth > 0 => missing_depth -= 1,
                ".." if at == ROOT => {
                    return Err(refused(&format!("link to '{target}' points out of the package")));
                }
                ".." => at = self.nodes[at].parent,
                _ if missing_depth > 0 => missing_depth += 1,
                name => match self.nodes[at].children.get(name) {
                    None => missing_depth = 1,
                    Some(&child) => match self.resolve(child, walk)? {
                        Some(node) => at = node,
                        None => missing_depth = 1,
                    },
                },
            }
        }
        Ok((missing_depth == 0).then_some(at))
    }
}

/// How far the resolution of links has gone: of this link, and of the whole package.
struct Walk<'a> {
    hops: usize,
    steps: &'a mut usize,
}

/// The parts of an entry's name, with `.` and empty parts left out.
///
/// # Errors
/// Absolute names, `..`, backslashes, drive letters, NUL, and what is too long or too deep.
pub(crate) fn components(name: &str) -> Result<Vec<&str>, UnpackError> {
    if name.len() > PATH_BYTES_MAX {
        return Err(refused(&format!("a name is longer than {PATH_BYTES_MAX} bytes")));
    }
    if name.starts_with('/') || name.contains(['\\', '\0']) || has_drive(name) {
        return Err(refused(&format!("'{}' is not a relative path", name.escape_debug())));
    }
    let parts: Vec<&str> =
        name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(refused(&format!("'{}' leads out of the package", name.escape_debug())));
    }
    if parts.len() > PATH_DEPTH_MAX {
        return Err(refused(&format!("a path is deeper than {PATH_DEPTH_MAX} folders")));
    }
    if parts.iter().any(|part| part.len() > NAME_BYTES_MAX) {
        return Err(refused(&format!("a file name is longer than {NAME_BYTES_MAX} bytes")));
    }
    Ok(parts)
}

fn has_drive(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':'
}

pub(crate) fn refused(reason: &str) -> UnpackError {
    UnpackError::Refused(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plans `entries` (`path`, or `path -> target` for links, or `path/` for folders).
    fn check(entries: &[&str]) -> Result<usize, UnpackError> {
        let mut plan = Plan::new();
        for entry in entries {
            let (path, kind) = match entry.split_once(" -> ") {
                Some((path, target)) => (path, Kind::Link(target.to_owned())),
                None if entry.ends_with('/') => (*entry, Kind::Folder),
                None => (*entry, Kind::File),
            };
            plan.add(&components(path)?, kind)?;
        }
        plan.check_links()?;
        Ok(plan.len())
    }

    #[test]
    fn what_is_fine() {
        assert_eq!(check(&["a.py", "b/c/d.py", "b/", "b/c/", "./e"]).unwrap(), 5);
        assert_eq!(check(&["b/l -> ../a", "a", "m -> b/l", "n -> gone/x/../y"]).unwrap(), 5);
    }

    #[test]
    fn what_is_refused() {
        let deep = "d/".repeat(PATH_DEPTH_MAX + 1);
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let cases: &[&[&str]] = &[
            &["../a"],
            &["a/../../b"],
            &["a/.."],
            &["/etc/passwd"],
            &["..\\a"],
            &["C:/a"],
            &["c:a"],
            &["a\0b"],
            &["."],
            &[""],
            &[&deep],
            &[&long],
            &["a", "a"],
            &["a", "./a"],
            &["a", "a/b"],
            &["a/b", "a"],
            &["a", "a/"],
            &["l -> x", "l/through"],
            &["l/through", "l -> x"],
            &["l -> /etc"],
            &["l -> .."],
            &["l -> "],
            &["b/l -> ../.."],
            &["gone -> x/../../y"],
            // Lexically inside, physically outside: the folder it climbs from is itself a link.
            &["d/e/up -> ../..", "out -> d/e/up/.."],
            &["a -> b", "b -> a"],
        ];
        for case in cases {
            assert!(matches!(check(case), Err(UnpackError::Refused(_))), "{case:?}");
        }
    }

    #[test]
    fn implied_folders_count() {
        let mut plan = Plan::new();
        let path = ["a"; 50];
        for index in 0.. {
            let top = format!("{index}");
            let mut full = vec![top.as_str()];
            full.extend(path);
            if plan.add(&full, Kind::File).is_err() {
                break;
            }
        }
        assert_eq!(plan.len(), NODES_MAX);
    }
}
