//! Reading the REPORT line of a log tail.

/// The figures of one invoke, as text with their units, the way AWS writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) duration: String,
    pub(crate) billed: String,
    pub(crate) memory_used: String,
    /// Only for an invoke that started an environment.
    pub(crate) init: Option<String>,
}

/// Finds and reads the last REPORT line; `None` when there is none or a figure is missing.
pub(crate) fn parse(log_tail: &str) -> Option<Report> {
    let line = log_tail.lines().rev().find(|line| line.starts_with("REPORT "))?;
    let figure = |name: &str| {
        line.split('\t').find_map(|part| part.trim().strip_prefix(name)).map(str::to_owned)
    };
    Some(Report {
        duration: figure("Duration: ")?,
        billed: figure("Billed Duration: ")?,
        memory_used: figure("Max Memory Used: ")?,
        init: figure("Init Duration: "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cold_and_warm_lines_are_read() {
        let tail = "START RequestId: 1 Version: $LATEST\nhi\nEND RequestId: 1\n\
                    REPORT RequestId: 1\tDuration: 1.42 ms\tBilled Duration: 2 ms\t\
                    Memory Size: 128 MB\tMax Memory Used: 31 MB\tInit Duration: 88.10 ms\t\n";
        let report = parse(tail).unwrap();
        assert_eq!(report.duration, "1.42 ms");
        assert_eq!(report.billed, "2 ms");
        assert_eq!(report.memory_used, "31 MB");
        assert_eq!(report.init.as_deref(), Some("88.10 ms"));
        let warm = tail.replace("\tInit Duration: 88.10 ms\t", "\t");
        assert_eq!(parse(&warm).unwrap().init, None);
        assert_eq!(parse("REPORT RequestId: 1\n"), None);
        assert_eq!(parse(""), None);
    }
}
