//! Runtime ids: which are offered, and when AWS retires them.
//!
//! AWS retires a runtime in three steps: it is deprecated, later no function can be created with it, and
//! later still functions that have it can no longer be changed, except to another runtime. What runs
//! goes on running. The dates are data, as AWS's documentation had them in October 2026; AWS moves them,
//! so an operator can allow what they forbid (`runtimes.allow_retired`).

use lambic_wire::Error;
use sha2::{Digest, Sha256};

use crate::limits::invalid;

/// One of AWS's runtimes.
struct Row {
    id: &'static str,
    /// Whether functions with it run here, with the interpreter of the machine or their own.
    runs_here: bool,
    /// From which day on AWS does not support it; `None` when none is set.
    deprecated: Option<&'static str>,
    /// From which day on no function is created with it.
    create_ends: Option<&'static str>,
    /// From which day on functions with it are not changed.
    update_ends: Option<&'static str>,
}

/// Days as ISO 8601 has them, which sort as texts.
type Days = (&'static str, &'static str, &'static str);

const fn row(id: &'static str, runs_here: bool, days: Days) -> Row {
    let (deprecated, create_ends, update_ends) = days;
    Row {
        id,
        runs_here,
        deprecated: Some(deprecated),
        create_ends: Some(create_ends),
        update_ends: Some(update_ends),
    }
}

/// A runtime whose retirement has no date.
const fn undated(id: &'static str, runs_here: bool) -> Row {
    Row { id, runs_here, deprecated: None, create_ends: None, update_ends: None }
}

/// An id of AWS's model that is none for functions of everybody, and has been refused always.
const fn never(id: &'static str) -> Row {
    row(id, false, ("2015-01-01", "2015-01-01", "2015-01-01"))
}

const HERE: bool = true;
const NOT_YET: bool = false;

const ALL: [Row; 62] = [
    undated("python3.15", HERE),
    row("python3.14", HERE, ("2029-06-30", "2029-07-31", "2029-08-31")),
    row("python3.13", HERE, ("2029-06-30", "2029-07-31", "2029-08-31")),
    row("python3.12", HERE, ("2028-10-31", "2028-11-30", "2029-01-10")),
    row("python3.11", HERE, ("2027-06-30", "2027-07-29", "2027-08-31")),
    row("python3.10", HERE, ("2026-10-31", "2027-07-29", "2027-08-31")),
    row("python3.9", HERE, ("2025-12-15", "2027-07-29", "2027-08-31")),
    row("python3.8", HERE, ("2024-10-14", "2027-07-29", "2027-08-31")),
    row("python3.7", HERE, ("2023-12-04", "2024-01-09", "2027-08-31")),
    row("python3.6", HERE, ("2022-07-18", "2022-07-18", "2022-08-29")),
    row("python2.7", NOT_YET, ("2021-07-15", "2021-07-15", "2022-05-30")),
    undated("nodejs26.x", HERE),
    row("nodejs24.x", HERE, ("2028-04-30", "2028-06-01", "2028-07-01")),
    row("nodejs22.x", HERE, ("2027-04-30", "2027-06-01", "2027-07-01")),
    row("nodejs20.x", HERE, ("2026-04-30", "2027-07-29", "2027-08-31")),
    row("nodejs18.x", HERE, ("2025-09-01", "2027-07-29", "2027-08-31")),
    row("nodejs16.x", HERE, ("2024-06-12", "2027-07-29", "2027-08-31")),
    row("nodejs14.x", HERE, ("2023-12-04", "2024-01-09", "2027-08-31")),
    row("nodejs12.x", HERE, ("2023-03-31", "2023-03-31", "2023-04-30")),
    row("nodejs10.x", HERE, ("2021-07-30", "2021-07-30", "2022-02-14")),
    row("nodejs8.10", NOT_YET, ("2020-03-06", "2020-02-04", "2020-03-06")),
    row("nodejs6.10", NOT_YET, ("2019-08-12", "2019-07-12", "2019-08-12")),
    row("nodejs4.3", NOT_YET, ("2020-03-05", "2020-02-03", "2020-03-05")),
    row("nodejs4.3-edge", NOT_YET, ("2020-03-05", "2019-03-31", "2019-04-30")),
    row("nodejs", NOT_YET, ("2016-08-30", "2016-09-30", "2016-10-31")),
    row("provided.al2023", HERE, ("2029-06-30", "2029-07-31", "2029-08-31")),
    row("provided.al2", HERE, ("2026-07-31", "2027-07-29", "2027-08-31")),
    row("provided", HERE, ("2024-01-08", "2024-02-08", "2027-08-31")),
    row("java25", HERE, ("2029-06-30", "2029-07-31", "2029-08-31")),
    row("java21", HERE, ("2029-06-30", "2029-07-31", "2029-08-31")),
    row("java17.al2023", HERE, ("2029-06-30", "2029-07-31", "2029-08-31")),
    row("java11.al2023", HERE, ("2029-06-30", "2029-07-31", "2029-08-31")),
    row("java8.al2023", HERE, ("2029-06-30", "2029-07-31", "2029-08-31")),
    row("java17", HERE, ("2027-06-30", "2027-07-29", "2027-08-31")),
    row("java11", HERE, ("2027-06-30", "2027-07-29", "2027-08-31")),
    row("java8.al2", HERE, ("2027-06-30", "2027-07-29", "2027-08-31")),
    row("java8", HERE, ("2024-01-08", "2024-02-08", "2027-08-31")),
    row("dotnet10", NOT_YET, ("2028-11-14", "2028-12-14", "2029-01-15")),
    row("dotnet8", NOT_YET, ("2026-11-10", "2027-07-29", "2027-08-31")),
    row("dotnet6", NOT_YET, ("2024-12-20", "2027-07-29", "2027-08-31")),
    row("dotnet5.0", NOT_YET, ("2022-05-10", "2022-05-10", "2022-05-10")),
    row("dotnetcore3.1", NOT_YET, ("2023-04-03", "2023-04-03", "2023-05-03")),
    row("dotnetcore2.1", NOT_YET, ("2022-01-05", "2022-01-05", "2022-04-13")),
    row("dotnetcore2.0", NOT_YET, ("2019-05-30", "2019-04-30", "2019-05-30")),
    row("dotnetcore1.0", NOT_YET, ("2019-06-27", "2019-06-30", "2019-07-30")),
    row("ruby4.0", HERE, ("2029-03-31", "2029-04-30", "2029-05-31")),
    undated("ruby3.5", HERE),
    row("ruby3.4", HERE, ("2028-03-31", "2028-04-30", "2028-05-31")),
    row("ruby3.3", HERE, ("2027-03-31", "2027-07-29", "2027-08-31")),
    row("ruby3.2", HERE, ("2026-03-31", "2027-07-29", "2027-08-31")),
    row("ruby2.7", HERE, ("2023-12-07", "2024-01-09", "2027-08-31")),
    row("ruby2.5", NOT_YET, ("2021-07-30", "2021-07-30", "2022-03-31")),
    row("go1.x", NOT_YET, ("2024-01-08", "2024-02-08", "2027-08-31")),
    // Of customers' own runtimes, whose service is another one.
    undated("custom", NOT_YET),
    undated("byol", NOT_YET),
    undated("nasa", NOT_YET),
    never("python2.7-greengrass"),
    never("python3.4"),
    never("nodejs8.9"),
    never("nodejs8.x"),
    never("ruby2.6"),
    never("go1.9"),
];

/// The set that AWS's own text lists, in AWS's order.
const LISTED: &str = "nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, nodejs24.x, \
     nodejs22.x, java25, python3.10, python3.11, java21, ruby3.3, ruby3.4, ruby3.2, python3.8, \
     python3.9, java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, nodejs18.x, provided.al2, \
     java8.al2";

/// Retired runtimes that an operator allows all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowRetired {
    ids: Vec<String>,
}

impl AllowRetired {
    /// Instead of an id: every runtime.
    pub const ALL: &'static str = "*";

    /// Those of these ids; [`AllowRetired::ALL`] stands for every one.
    pub fn new(ids: Vec<String>) -> AllowRetired {
        AllowRetired { ids }
    }

    fn has(&self, runtime: &str) -> bool {
        self.ids.iter().any(|id| id == runtime || id == AllowRetired::ALL)
    }
}

/// Whether this is one of AWS's runtimes, however old.
pub fn is_known(runtime: &str) -> bool {
    find(runtime).is_some()
}

fn find(runtime: &str) -> Option<&'static Row> {
    ALL.iter().find(|row| row.id == runtime)
}

/// Whether functions may be created with, or changed to, this runtime. `today` as ISO 8601 has it.
///
/// # Errors
/// AWS's texts for what is unknown or retired; 501 naming the runtime for what is not offered yet.
pub fn check_new(runtime: &str, allowed: &AllowRetired, today: &str) -> Result<(), Error> {
    let row = find(runtime).ok_or_else(|| unknown(runtime))?;
    if is_past(row.create_ends, today) && !allowed.has(runtime) {
        return Err(retired(runtime));
    }
    if !row.runs_here {
        return Err(Error::not_offered(&format!("Runtime {runtime}")));
    }
    if is_past(row.deprecated, today) {
        tracing::info!(runtime, "AWS no longer supports the runtime of this function");
    }
    Ok(())
}

/// Whether a function that has this runtime, and keeps it, may be changed.
///
/// # Errors
/// AWS's text when it is retired that far.
pub fn check_kept(runtime: &str, allowed: &AllowRetired, today: &str) -> Result<(), Error> {
    let ended = find(runtime).is_some_and(|row| is_past(row.update_ends, today));
    if ended && !allowed.has(runtime) { Err(retired(runtime)) } else { Ok(()) }
}

fn is_past(day: Option<&str>, today: &str) -> bool {
    day.is_some_and(|day| day <= today)
}

fn retired(runtime: &str) -> Error {
    invalid(format!(
        "The runtime parameter of {runtime} is no longer supported for creating or updating AWS \
         Lambda functions. We recommend you use a supported runtime while creating or updating \
         functions."
    ))
}

fn unknown(runtime: &str) -> Error {
    invalid(format!(
        "Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value \
         set: [{LISTED}] or be a valid ARN"
    ))
}

/// Whether the deployment package brings its own `bootstrap`, which may do without a handler.
pub fn is_provided(runtime: &str) -> bool {
    runtime.starts_with("provided")
}

/// The ARN that stands for the version of a runtime. AWS's are opaque; ours are stable.
pub fn version_arn(region: &str, runtime: &str) -> String {
    let digest = Sha256::digest(format!("lambic runtime {runtime}"));
    let mut arn = format!("arn:aws:lambda:{region}::runtime:");
    for byte in digest {
        arn.push_str(&format!("{byte:02x}"));
    }
    arn
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: &str = "2026-11-28";

    fn created(runtime: &str, today: &str) -> Result<(), (u16, String)> {
        let checked = check_new(runtime, &AllowRetired::default(), today);
        checked.map_err(|error| (error.status, error.message))
    }

    fn gone(runtime: &str) -> Result<(), (u16, String)> {
        Err((
            400,
            format!(
                "The runtime parameter of {runtime} is no longer supported for creating or updating AWS \
             Lambda functions. We recommend you use a supported runtime while creating or updating \
             functions."
            ),
        ))
    }

    #[test]
    fn offered_retired_and_unknown() {
        for runtime in [
            "python3.13",
            "provided.al2023",
            "nodejs16.x",
            "python3.8",
            "python3.15",
            "ruby3.2",
            "ruby4.0",
            "java8.al2",
            "java17.al2023",
            "java21",
            "java25",
        ] {
            assert_eq!(created(runtime, TODAY), Ok(()), "{runtime}");
        }
        let (status, text) = created("dotnet8", TODAY).unwrap_err();
        assert_eq!((status, text.contains("dotnet8")), (501, true));
        for runtime in ["go1.x", "python3.7", "provided", "nodejs14.x", "nodejs8.9", "java8"] {
            assert_eq!(created(runtime, TODAY), gone(runtime));
        }
        assert_eq!(
            created("PYTHON3.9", TODAY).unwrap_err().1,
            "Value PYTHON3.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum \
             value set: [nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, \
             nodejs24.x, nodejs22.x, java25, python3.10, python3.11, java21, ruby3.3, ruby3.4, \
             ruby3.2, python3.8, python3.9, java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, \
             nodejs18.x, provided.al2, java8.al2] or be a valid ARN"
        );
    }

    #[test]
    fn a_runtime_ends_in_steps() {
        let kept = |runtime: &str, today: &str| {
            let checked = check_kept(runtime, &AllowRetired::default(), today);
            checked.map_err(|error| (error.status, error.message))
        };
        for (today, may_be_new, may_be_kept) in [
            ("2027-05-31", true, true),
            ("2027-06-01", false, true),
            ("2027-06-30", false, true),
            ("2027-07-01", false, false),
        ] {
            let all = |may: bool| if may { Ok(()) } else { gone("nodejs22.x") };
            assert_eq!(created("nodejs22.x", today), all(may_be_new), "{today}");
            assert_eq!(kept("nodejs22.x", today), all(may_be_kept), "{today}");
        }
        assert_eq!(kept("python3.7", TODAY), Ok(()));
        assert_eq!(kept("nodejs12.x", TODAY), gone("nodejs12.x"));
        // What a record has that this table does not know is no reason to refuse.
        assert_eq!(kept("python9.9", TODAY), Ok(()));
    }

    #[test]
    fn an_operator_may_allow_what_is_retired() {
        let one = AllowRetired::new(vec!["python3.7".to_owned()]);
        let all = AllowRetired::new(vec![AllowRetired::ALL.to_owned()]);
        assert_eq!(check_new("python3.7", &one, TODAY), Ok(()));
        assert_eq!(check_kept("python3.7", &one, "2099-01-01"), Ok(()));
        assert_eq!(check_new("nodejs14.x", &one, TODAY).unwrap_err().status, 400);
        assert_eq!(check_new("nodejs14.x", &all, TODAY), Ok(()));
        // What cannot be run is refused by name instead.
        assert_eq!(check_new("go1.x", &all, TODAY).unwrap_err().status, 501);
        assert_eq!(check_new("unknown", &all, TODAY).unwrap_err().status, 400);
    }

    #[test]
    fn the_table_has_each_id_once_and_steps_in_their_order() {
        let mut seen = std::collections::HashSet::new();
        for row in &ALL {
            assert!(seen.insert(row.id), "{}", row.id);
            assert!(row.create_ends <= row.update_ends, "{}", row.id);
            for day in [row.deprecated, row.create_ends, row.update_ends].into_iter().flatten() {
                assert_eq!((day.len(), &day[4..5], &day[7..8]), (10, "-", "-"), "{}", row.id);
            }
        }
        for listed in LISTED.split(", ") {
            assert!(is_known(listed), "{listed}");
        }
        // Whatever AWS's model knows.
        for id in lambic_model_lambda::Runtime::VALUES {
            assert!(is_known(id), "{id}");
        }
    }

    #[test]
    fn version_arns_are_stable() {
        let arn = version_arn("us-east-1", "python3.13");
        assert_eq!(arn, version_arn("us-east-1", "python3.13"));
        assert_ne!(arn, version_arn("us-east-1", "python3.12"));
        assert_eq!(arn.len(), "arn:aws:lambda:us-east-1::runtime:".len() + 64);
    }
}
