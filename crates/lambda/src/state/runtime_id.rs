//! Runtime ids: which are offered, which are known but not offered yet, which AWS has retired.

use lambic_wire::Error;
use sha2::{Digest, Sha256};

use crate::limits::invalid;

const OFFERED: [&str; 13] = [
    "python3.8",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "provided.al2023",
    "provided.al2",
];

/// As of November 2026; dates move, so this is data.
const RETIRED: [&str; 24] = [
    "nodejs",
    "nodejs4.3",
    "nodejs4.3-edge",
    "nodejs6.10",
    "nodejs8.10",
    "nodejs10.x",
    "nodejs12.x",
    "nodejs14.x",
    "java8",
    "python2.7",
    "python3.6",
    "python3.7",
    "dotnetcore1.0",
    "dotnetcore2.0",
    "dotnetcore2.1",
    "dotnetcore3.1",
    "dotnet5.0",
    "go1.x",
    "ruby2.5",
    "ruby2.7",
    "provided",
    "python2.7-greengrass",
    "nodejs8.x",
    "go1.9",
];

/// Known to AWS and usable there, not here yet.
const NOT_YET: [&str; 22] = [
    "nodejs16.x",
    "nodejs26.x",
    "python3.15",
    "java8.al2",
    "java8.al2023",
    "java11",
    "java11.al2023",
    "java17",
    "java17.al2023",
    "java21",
    "java25",
    "dotnet6",
    "dotnet8",
    "dotnet10",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "ruby3.5",
    "ruby4.0",
    "custom",
    "byol",
    "nasa",
];

/// The set that AWS's own text lists, in AWS's order.
const LISTED: &str = "nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, nodejs24.x, \
     nodejs22.x, java25, python3.10, python3.11, java21, ruby3.3, ruby3.4, ruby3.2, python3.8, \
     python3.9, java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, nodejs18.x, provided.al2, \
     java8.al2";

/// Whether functions may be created with, or changed to, this runtime.
///
/// # Errors
/// AWS's texts for what is unknown or retired; 501 naming the runtime for what is not offered yet.
pub fn check(runtime: &str) -> Result<(), Error> {
    if OFFERED.contains(&runtime) {
        return Ok(());
    }
    if NOT_YET.contains(&runtime) {
        return Err(Error::not_offered(&format!("Runtime {runtime}")));
    }
    if RETIRED.contains(&runtime) {
        return Err(invalid(format!(
            "The runtime parameter of {runtime} is no longer supported for creating or updating \
             AWS Lambda functions. We recommend you use a supported runtime while creating or \
             updating functions."
        )));
    }
    Err(invalid(format!(
        "Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value \
         set: [{LISTED}] or be a valid ARN"
    )))
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

    #[test]
    fn offered_retired_and_unknown() {
        assert!(check("python3.13").is_ok());
        assert!(check("provided.al2023").is_ok());
        let error = check("java21").unwrap_err();
        assert_eq!((error.status, error.message.contains("java21")), (501, true));
        assert_eq!(
            check("go1.x").unwrap_err().message,
            "The runtime parameter of go1.x is no longer supported for creating or updating AWS \
             Lambda functions. We recommend you use a supported runtime while creating or updating \
             functions."
        );
        assert_eq!(
            check("PYTHON3.9").unwrap_err().message,
            "Value PYTHON3.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum \
             value set: [nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, \
             nodejs24.x, nodejs22.x, java25, python3.10, python3.11, java21, ruby3.3, ruby3.4, \
             ruby3.2, python3.8, python3.9, java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, \
             nodejs18.x, provided.al2, java8.al2] or be a valid ARN"
        );
    }

    #[test]
    fn every_id_stands_in_one_list_only() {
        let all: Vec<_> = OFFERED.iter().chain(&RETIRED).chain(&NOT_YET).collect();
        let unique: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(all.len(), unique.len());
        for listed in LISTED.split(", ") {
            assert!(all.contains(&&listed), "{listed}");
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
