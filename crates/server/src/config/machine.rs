//! What "auto" means on this machine.

use std::path::PathBuf;

/// Facts about the machine that defaults depend on; a value, so that tests can make one up.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) is_root: bool,
    pub(crate) processors: usize,
    /// Memory of the machine, or of the container when that is less.
    pub(crate) memory_mb: u64,
    pub(crate) xdg_data_home: Option<PathBuf>,
    pub(crate) home: Option<PathBuf>,
    /// Whether standard error is a terminal.
    pub(crate) terminal: bool,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn here() -> Machine {
        use std::io::IsTerminal;
        let folder = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute())
        };
        Machine {
            is_root: is_root(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mb: memory_mb(),
            xdg_data_home: folder("XDG_DATA_HOME"),
            home: folder("HOME"),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Where data is kept unless told otherwise.
    pub(crate) fn data_dir(&self) -> Option<PathBuf> {
        if self.is_root && self.xdg_data_home.is_none() {
            return Some(PathBuf::from("/var/lib/lambic"));
        }
        let shared = self.home.as_ref().map(|home| home.join(".local/share"));
        Some(self.xdg_data_home.clone().or(shared)?.join("lambic"))
    }
}

/// Whether this process acts as root (of its user namespace).
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn memory_mb() -> u64 {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let machine = total_mb(&text("/proc/meminfo"));
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = limits.iter().filter_map(|path| text(path).trim().parse::<u64>().ok());
    limits.map(|bytes| bytes / 1_048_576).fold(machine, u64::min)
}

/// The line `MemTotal:       24567890 kB` in megabytes; 0 when there is none.
fn total_mb(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_megabytes() {
        assert_eq!(total_mb("MemTotal:        2097152 kB\nMemFree: 1 kB\n"), 2_048);
        assert_eq!(total_mb(""), 0);
    }

    #[test]
    fn the_data_directory_follows_user_and_xdg() {
        let machine = |is_root, xdg: Option<&str>, home: Option<&str>| Machine {
            is_root,
            processors: 1,
            memory_mb: 1,
            xdg_data_home: xdg.map(PathBuf::from),
            home: home.map(PathBuf::from),
            terminal: false,
        };
        let path = |machine: Machine| machine.data_dir().map(|p| p.display().to_string());
        assert_eq!(path(machine(true, None, Some("/r"))).unwrap(), "/var/lib/lambic");
        assert_eq!(path(machine(true, Some("/x"), None)).unwrap(), "/x/lambic");
        assert_eq!(path(machine(false, Some("/x"), Some("/h"))).unwrap(), "/x/lambic");
        assert_eq!(path(machine(false, None, Some("/h"))).unwrap(), "/h/.local/share/lambic");
        assert_eq!(path(machine(false, None, None)), None);
    }
}
