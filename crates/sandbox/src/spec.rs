//! What one environment is made of, as the daemon asks for it. The spawner trusts none of it: [`Spec::check`]
//! is the gate.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::network::{EGRESS_MAX, Egress};

/// Descriptor number of the second output pipe.
pub const LOG_PIPE_FD: i32 = 5;

/// The size of `/tmp` that waiting processes already have, in MB: the default of a function.
pub(crate) const READY_TMP_MB: u32 = 512;

/// Places where a spare gets what it is for, when that is known. They exist in every root.
pub(crate) const LATE_TARGETS: [&str; 2] = ["/var/task", "/opt"];

/// What one environment is made of. Everything in it is checked again by the spawner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// A name for `ps` and for the control group: 1 to 64 characters of `[a-z0-9-]`.
    pub name: String,
    /// Memory of the whole environment, in MB (2^20 bytes); 64 to 65,536.
    pub memory_mb: u32,
    /// Size of its private `/tmp`, in MB; 1 to 65,536.
    pub tmp_mb: u32,
    /// Most processes and threads at a time.
    pub pids_max: u32,
    /// Most open file descriptors of one process.
    pub files_max: u32,
    /// Folders of the host that appear read-only inside.
    pub binds: Vec<Bind>,
    /// Program and arguments; the program is an absolute path inside.
    pub argv: Vec<String>,
    /// Environment variables, the complete set.
    pub env: Vec<(String, String)>,
    /// Working directory inside.
    pub cwd: String,
    /// One of the private networks of [`crate::SpawnerConfig::networks`]; `None` is the default one.
    pub network: Option<String>,
    /// What it may send to of what its network reaches; `None` is all of it. At most [`EGRESS_MAX`].
    pub egress: Option<Vec<Egress>>,
    /// One of the folders of [`crate::SpawnerConfig::file_systems`], and where it appears.
    pub file_system: Option<Mounted>,
    /// Whether the program inherits a second output pipe, as descriptor [`LOG_PIPE_FD`].
    pub log_pipe: bool,
    /// Programs that run beside the runtime. With any, the runtime waits for [`crate::Control::go`],
    /// and the environment outlives it.
    pub extensions: Option<Extensions>,
}

/// Programs that are started before the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extensions {
    /// Absolute paths inside; 1 to [`EXTENSIONS_MAX`].
    pub programs: Vec<String>,
    /// Environment variables, the complete set, of each of them.
    pub env: Vec<(String, String)>,
    /// Their working directory inside.
    pub cwd: String,
}

/// Most extensions of one environment; AWS's limit.
pub const EXTENSIONS_MAX: usize = 10;

/// A folder of the host and where it appears inside, read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// An absolute path on the host, at or below one of the configured bind roots.
    pub source: PathBuf,
    /// An absolute path inside.
    pub target: String,
}

/// A folder of the operator's and where it appears inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// Of [`crate::FileSystem::name`].
    pub name: String,
    /// A folder of `/mnt`.
    pub target: String,
}

/// Places inside that are made by the sandbox and that no bind may cover.
const RESERVED_TARGETS: [&str; 7] = ["/proc", "/dev", "/sys", "/etc", "/tmp", "/usr", "/"];
const BINDS_MAX: usize = 16;

impl Spec {
    /// Refuses a spec that is not what a well-behaved daemon would send.
    pub fn check(&self, bind_roots: &[PathBuf]) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            return Err(format!("name {:?} is not 1 to 64 of [a-z0-9-]", self.name));
        }
        within("memory_mb", self.memory_mb, 64, 65_536)?;
        within("tmp_mb", self.tmp_mb, 1, 65_536)?;
        within("pids_max", self.pids_max, 2, 65_536)?;
        within("files_max", self.files_max, 16, 1_048_576)?;
        if self.binds.len() > BINDS_MAX {
            return Err(format!("more than {BINDS_MAX} binds"));
        }
        for bind in &self.binds {
            check_bind(bind, bind_roots)?;
        }
        if self.egress.as_ref().is_some_and(|list| list.len() > EGRESS_MAX) {
            return Err(format!("more than {EGRESS_MAX} entries of egress"));
        }
        if let Some(mounted) = &self.file_system {
            check_mounted(mounted)?;
        }
        match self.argv.first() {
            Some(program) if program.starts_with('/') => {}
            _ => return Err("argv does not begin with an absolute path".to_owned()),
        }
        check_program(&self.argv, &self.env, &self.cwd)?;
        let Some(extensions) = &self.extensions else { return Ok(()) };
        let count = extensions.programs.len();
        if !(1..=EXTENSIONS_MAX).contains(&count) {
            return Err(format!("{count} extensions are not 1 to {EXTENSIONS_MAX}"));
        }
        if let Some(program) =
            extensions.programs.iter().find(|program| !is_plain_absolute(Path::new(program)))
        {
            return Err(format!("extension {program:?} is not a plain absolute path"));
        }
        check_program(&extensions.programs, &extensions.env, &extensions.cwd)
    }

    /// Refuses what no spare can be started with: whatever belongs to one function only.
    pub(crate) fn check_spare(&self, bind_roots: &[PathBuf]) -> Result<(), String> {
        self.check(bind_roots)?;
        let is_late = |bind: &Bind| late_target(&bind.target).is_some();
        if self.tmp_mb != READY_TMP_MB || self.network.is_some() || self.log_pipe {
            return Err("a spare has the usual /tmp, no network and no log pipe".to_owned());
        }
        if self.egress.is_some() || self.file_system.is_some() {
            return Err("a spare has no rules and no file system".to_owned());
        }
        if self.extensions.is_some() || self.binds.iter().any(is_late) {
            return Err("a spare has no extensions and no code yet".to_owned());
        }
        Ok(())
    }

    /// What is left to be attached to a spare that was started with `prepared`, so that it becomes an
    /// environment of this spec; `None` if it cannot become one. Variables and working directory are
    /// not compared: the program takes on those of this spec itself.
    pub(crate) fn left_to_attach(&self, prepared: &Spec) -> Option<&[Bind]> {
        let same = self.argv == prepared.argv
            && (self.tmp_mb, self.pids_max, self.files_max, self.log_pipe)
                == (prepared.tmp_mb, prepared.pids_max, prepared.files_max, prepared.log_pipe);
        if !same || self.extensions.is_some() || self.file_system.is_some() {
            return None;
        }
        let late = self.binds.strip_prefix(prepared.binds.as_slice())?;
        let mut targets: Vec<_> =
            late.iter().map(|bind| late_target(&bind.target)).collect::<Option<_>>()?;
        targets.sort_unstable();
        targets.dedup();
        (targets.len() == late.len()).then_some(late)
    }
}

/// The place by that name, if it is one that is filled late.
fn late_target(target: &str) -> Option<&'static str> {
    LATE_TARGETS.into_iter().find(|known| Path::new(target) == Path::new(known))
}

fn check_program(argv: &[String], env: &[(String, String)], cwd: &str) -> Result<(), String> {
    if !is_plain_absolute(Path::new(cwd)) {
        return Err(format!("cwd {cwd:?} is not a plain absolute path"));
    }
    let mut texts = argv.iter().chain(env.iter().flat_map(|(name, value)| [name, value]));
    if texts.any(|text| text.contains('\0')) {
        return Err("an argument or a variable contains a NUL byte".to_owned());
    }
    if env.iter().any(|(name, _)| name.is_empty() || name.contains('=')) {
        return Err("a variable's name is empty or contains '='".to_owned());
    }
    Ok(())
}

fn within(name: &str, value: u32, least: u32, most: u32) -> Result<(), String> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(format!("{name} {value} is not between {least} and {most}"))
    }
}

fn check_bind(bind: &Bind, roots: &[PathBuf]) -> Result<(), String> {
    if !is_plain_absolute(&bind.source) || !roots.iter().any(|root| bind.source.starts_with(root)) {
        return Err(format!("{} is outside the folders that may be shown", bind.source.display()));
    }
    let target = Path::new(&bind.target);
    let reserved = |path: &&str| match *path {
        "/" => target == Path::new("/"),
        path => target.starts_with(path),
    };
    if !is_plain_absolute(target) || RESERVED_TARGETS.iter().any(reserved) {
        return Err(format!("{} cannot be covered by a bind", bind.target));
    }
    Ok(())
}

/// Nothing else is ever below `/mnt`.
fn check_mounted(mounted: &Mounted) -> Result<(), String> {
    let name = mounted.target.strip_prefix("/mnt/").unwrap_or_default();
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_plain = is_plain_absolute(Path::new(&mounted.target)) && name.bytes().all(fits);
    if name.is_empty() || name.len() > 255 || !is_plain {
        return Err(format!("{:?} is no folder of /mnt", mounted.target));
    }
    Ok(())
}

/// Whether the path is absolute and free of `.` and `..`.
fn is_plain_absolute(path: &Path) -> bool {
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && components.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            name: "hello-1".to_owned(),
            memory_mb: 128,
            tmp_mb: 512,
            pids_max: 1024,
            files_max: 1024,
            binds: vec![Bind { source: "/data/b/1".into(), target: "/var/task".to_owned() }],
            argv: vec!["/var/task/bootstrap".to_owned()],
            env: vec![("A".to_owned(), "b=c".to_owned())],
            cwd: "/var/task".to_owned(),
            network: None,
            egress: None,
            file_system: None,
            log_pipe: false,
            extensions: None,
        }
    }

    fn check(change: impl FnOnce(&mut Spec)) -> Result<(), String> {
        let mut spec = spec();
        change(&mut spec);
        spec.check(&["/data".into()])
    }

    #[test]
    fn a_well_formed_spec_passes() {
        assert_eq!(check(|_| ()), Ok(()));
    }

    #[test]
    fn what_a_broken_daemon_could_send_is_refused() {
        let refused: [fn(&mut Spec); 14] = [
            |s| s.name = "../x".to_owned(),
            |s| s.name = String::new(),
            |s| s.memory_mb = 1,
            |s| s.tmp_mb = 0,
            |s| s.pids_max = 0,
            |s| s.binds[0].source = "/etc".into(),
            |s| s.binds[0].source = "/data/../etc".into(),
            |s| s.binds[0].source = "/database".into(),
            |s| s.binds[0].target = "/etc/x".to_owned(),
            |s| s.binds[0].target = "/var/../proc".to_owned(),
            |s| s.binds[0].target = "/".to_owned(),
            |s| s.argv = vec![],
            |s| s.cwd = "relative".to_owned(),
            |s| s.env.push(("A=B".to_owned(), String::new())),
        ];
        for (index, change) in refused.into_iter().enumerate() {
            assert!(check(change).is_err(), "case {index} was accepted");
        }
        assert!(check(|s| s.argv.push("a\0b".to_owned())).is_err());
        assert!(check(|s| s.binds = vec![s.binds[0].clone(); 17]).is_err());
    }

    #[test]
    fn a_spare_has_nothing_of_one_function() {
        let check = |change: fn(&mut Spec)| {
            let mut spec = Spec { binds: vec![bind("/data/python", "/var/runtime")], ..spec() };
            change(&mut spec);
            spec.check_spare(&["/data".into()])
        };
        assert_eq!(check(|_| ()), Ok(()));
        assert!(check(|s| s.binds.push(bind("/data/b", "/var/task"))).is_err());
        assert!(check(|s| s.binds.push(bind("/data/b", "/opt/"))).is_err());
        assert!(check(|s| s.binds.push(bind("/etc", "/x"))).is_err());
        assert!(check(|s| s.tmp_mb = 1_024).is_err());
        assert!(check(|s| s.network = Some("n".to_owned())).is_err());
        assert!(check(|s| s.log_pipe = true).is_err());
    }

    #[test]
    fn a_spare_becomes_only_what_it_was_started_for() {
        let prepared = Spec { binds: vec![bind("/data/python", "/var/runtime")], ..spec() };
        let left = |change: fn(&mut Spec)| {
            let mut spec = prepared.clone();
            spec.binds.push(bind("/data/b/1", "/var/task"));
            change(&mut spec);
            spec.left_to_attach(&prepared).map(<[Bind]>::to_vec)
        };
        let code = bind("/data/b/1", "/var/task");
        assert_eq!(left(|_| ()), Some(vec![code.clone()]));
        let layers = bind("/data/l/1", "/opt");
        assert_eq!(left(|s| s.binds.push(bind("/data/l/1", "/opt"))), Some(vec![code, layers]));
        assert!(left(|s| s.memory_mb = 3_000).is_some() && left(|s| s.env.clear()).is_some());
        let refused: [fn(&mut Spec); 10] = [
            |s| s.argv.push("x".to_owned()),
            |s| {
                let target = "/mnt/f".to_owned();
                s.file_system = Some(Mounted { name: "f".to_owned(), target });
            },
            |s| s.tmp_mb = 513,
            |s| s.pids_max = 10,
            |s| s.files_max = 16,
            |s| s.log_pipe = true,
            |s| s.binds.remove(0).target.clear(),
            |s| s.binds.push(bind("/data/x", "/var/lang")),
            |s| s.binds.push(bind("/data/x", "/var/task/")),
            |s| {
                s.extensions =
                    Some(Extensions { programs: vec![], env: vec![], cwd: "/".to_owned() });
            },
        ];
        for (index, change) in refused.into_iter().enumerate() {
            assert_eq!(left(change), None, "case {index}");
        }
    }

    fn bind(source: &str, target: &str) -> Bind {
        Bind { source: source.into(), target: target.to_owned() }
    }

    #[test]
    fn extensions_are_checked_like_the_runtime() {
        let with = |programs: Vec<&str>, change: fn(&mut Extensions)| {
            let programs = programs.into_iter().map(str::to_owned).collect();
            let mut extensions = Extensions { programs, env: vec![], cwd: "/".to_owned() };
            change(&mut extensions);
            check(|s| s.extensions = Some(extensions))
        };
        assert_eq!(with(vec!["/opt/extensions/a"], |_| ()), Ok(()));
        assert!(with(vec![], |_| ()).is_err());
        assert!(with(vec!["/opt/extensions/a"; 11], |_| ()).is_err());
        assert!(with(vec!["a"], |_| ()).is_err());
        assert!(with(vec!["/opt/../a"], |_| ()).is_err());
        assert!(with(vec!["/a"], |e| e.cwd = "x".to_owned()).is_err());
        assert!(with(vec!["/a"], |e| e.env.push((String::new(), String::new()))).is_err());
    }
}
