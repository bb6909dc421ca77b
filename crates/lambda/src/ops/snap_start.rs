//! SnapStart as a setting: which functions may have it, and what callers are told of a version that is
//! still being initialized. Snapshots themselves are `invoke::templates` and `tasks::snapshots`.

use lambic_front::Cx;
use lambic_model_lambda as model;
use lambic_model_lambda::errors;
use lambic_wire::Error;

use crate::Lambda;
use crate::limits::{TMP_MB_DEFAULT, invalid};
use crate::state::function::{Configuration, FunctionRecord};

const ASKED: &str = "SnapStart.ApplyOn PublishedVersions";

/// Whether it is asked for; `None` when nothing is said.
pub(super) fn given(config: Option<&model::SnapStart>) -> Option<bool> {
    let apply_on = config?.apply_on.as_ref()?;
    Some(*apply_on == model::SnapStartApplyOn::PublishedVersions)
}

/// Where AWS has it, and where we do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Support {
    Here,
    OnAwsOnly,
    Nowhere,
}

fn support(runtime: &str) -> Support {
    let number = |family: &str| {
        let rest = runtime.strip_prefix(family)?;
        rest.split('.').next()?.parse::<u32>().ok()
    };
    match (number("python3."), number("java"), number("dotnet")) {
        (Some(12..), ..) => Support::Here,
        (_, Some(11..), _) | (.., Some(8..)) => Support::OnAwsOnly,
        _ => Support::Nowhere,
    }
}

/// Whether a function of this configuration may have what it says of SnapStart.
///
/// # Errors
/// AWS's, and 501 for what is not offered here.
pub(super) fn check(cx: &Cx<'_, Lambda>, configuration: &Configuration) -> Result<(), Error> {
    if !configuration.snap_start {
        return Ok(());
    }
    let unsupported = |what: &str| {
        Err(invalid(format!("{what} is not supported for SnapStart enabled functions.")))
    };
    let runtime = &configuration.runtime;
    match support(runtime) {
        Support::Here => {}
        Support::OnAwsOnly => return Err(Error::not_offered(&format!("{ASKED} for {runtime}"))),
        Support::Nowhere => return unsupported(runtime),
    }
    if i64::from(configuration.tmp_mb) > TMP_MB_DEFAULT {
        return unsupported("EphemeralStorage greater than 512 MB");
    }
    if configuration.file_system.is_some() {
        return unsupported("FileSystemConfigs");
    }
    if configuration.isolates_tenants {
        return unsupported("TenancyConfig");
    }
    if !cx.service.runner.has_snapshots() {
        let why = "without the isolation that snapshots are made in (see `lambic doctor`)";
        return Err(Error::not_offered(&format!("{ASKED} {why}")));
    }
    Ok(())
}

/// Not beside provisioned concurrency: `qualifier` is a version, or an alias of up to two.
pub(super) fn check_provisioned(record: &FunctionRecord, qualifier: &str) -> Result<(), Error> {
    let alias = record.aliases.get(qualifier);
    let first = alias.map_or(qualifier, |alias| &alias.version);
    let second = alias.and_then(|alias| alias.second.as_ref());
    let versions = [Some(first), second.map(|second| second.version.as_str())];
    let mut numbers = versions.into_iter().flatten().filter_map(|version| record.number(version));
    if numbers.any(|number| record.snapshots.contains_key(&number)) {
        return Err(invalid(
            "Provisioned Concurrency is not supported for SnapStart enabled functions.",
        ));
    }
    Ok(())
}

/// The answer to an invoke of a version that is still being initialized.
pub(super) fn not_ready() -> Error {
    errors::snap_start_not_ready(
        "Lambda is initializing your function. It will be ready to invoke once your function state \
         becomes ACTIVE.",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ops::testing::{Harness, Reply, other_zip};

    const FUNCTIONS: &str = "/2015-03-31/functions";
    const ON: &str = "PublishedVersions";

    fn creation(change: impl FnOnce(&mut Value)) -> Value {
        let mut body = Harness::creation("f");
        body["SnapStart"] = json!({"ApplyOn": ON});
        change(&mut body);
        body
    }

    fn said(reply: &Reply) -> String {
        format!("{} {}: {}", reply.status, reply.code(), reply.message())
    }

    #[test]
    fn which_runtimes() {
        for (runtime, expected) in [
            ("python3.12", Support::Here),
            ("python3.13", Support::Here),
            ("python3.15", Support::Here),
            ("python3.11", Support::Nowhere),
            ("python2.7", Support::Nowhere),
            ("java11", Support::OnAwsOnly),
            ("java25", Support::OnAwsOnly),
            ("java17.al2023", Support::OnAwsOnly),
            ("java8.al2023", Support::Nowhere),
            ("java8", Support::Nowhere),
            ("java8.al2", Support::Nowhere),
            ("dotnet8", Support::OnAwsOnly),
            ("dotnet10", Support::OnAwsOnly),
            ("dotnet6", Support::Nowhere),
            ("dotnetcore3.1", Support::Nowhere),
            ("nodejs22.x", Support::Nowhere),
            ("ruby3.4", Support::Nowhere),
            ("provided.al2023", Support::Nowhere),
        ] {
            assert_eq!(support(runtime), expected, "{runtime}");
        }
    }

    #[tokio::test]
    async fn what_is_refused() {
        let unsupported = |what: &str| {
            format!(
                "400 InvalidParameterValueException: {what} is not supported for SnapStart enabled \
                 functions."
            )
        };
        let size = json!({"Size": 513});
        let cases: [(&str, Value, String); 3] = [
            ("Runtime", json!("nodejs22.x"), unsupported("nodejs22.x")),
            ("EphemeralStorage", size.clone(), unsupported("EphemeralStorage greater than 512 MB")),
            (
                "TenancyConfig",
                json!({"TenantIsolationMode": "PER_TENANT"}),
                unsupported("TenancyConfig"),
            ),
        ];
        for (member, value, expected) in cases {
            let harness = Harness::new().await;
            let body = creation(|body| body[member] = value.clone());
            assert_eq!(said(&harness.post(FUNCTIONS, &body).await), expected);
            if member == "TenancyConfig" {
                continue;
            }
            // In two steps it is no other.
            assert_eq!(harness.post(FUNCTIONS, &creation(|_| {})).await.status, 201);
            harness.settle().await;
            let path = format!("{FUNCTIONS}/f/configuration");
            assert_eq!(said(&harness.put(&path, &json!({member: value})).await), expected);
        }
        let harness = Harness::without_snapshots().await;
        let reply = said(&harness.post(FUNCTIONS, &creation(|_| {})).await);
        assert!(
            reply.starts_with("501 NotImplementedException: SnapStart.ApplyOn Published"),
            "{reply}"
        );
        // What says what happens anyway is let through.
        let body = creation(|body| body["SnapStart"] = json!({"ApplyOn": "None"}));
        assert_eq!(harness.post(FUNCTIONS, &body).await.status, 201);
    }

    async fn shown(harness: &Harness, qualifier: &str) -> Value {
        let path = format!("{FUNCTIONS}/f/configuration?Qualifier={qualifier}");
        let shown = harness.get(&path).await.json();
        let none = json!(null);
        let get = |name: &str| shown.get(name).unwrap_or(&none).clone();
        json!([
            get("SnapStart")["ApplyOn"],
            get("SnapStart")["OptimizationStatus"],
            get("State"),
            get("StateReason"),
            get("StateReasonCode"),
            get("LastUpdateStatus"),
            get("LastUpdateStatusReasonCode"),
        ])
    }

    async fn invoke(harness: &Harness, qualifier: &str) -> (u16, String) {
        let path = format!("{FUNCTIONS}/f:{qualifier}/invocations");
        let reply = harness.invoke(&path, b"{}", &[]).await;
        (reply.status, if reply.status == 200 { String::new() } else { said(&reply) })
    }

    #[tokio::test]
    async fn a_version_is_pending_until_its_snapshot_is_taken() {
        let harness = Harness::new().await;
        let created = harness.post(FUNCTIONS, &creation(|_| {})).await.json();
        assert_eq!(created["SnapStart"], json!({"ApplyOn": ON, "OptimizationStatus": "Off"}));
        harness.settle().await;
        let reply = harness.post(&format!("{FUNCTIONS}/f/versions"), &json!({})).await;
        assert_eq!(reply.status, 201);
        let published = reply.json();
        assert_eq!(published["State"], "Pending");
        assert_eq!(published["SnapStart"], json!({"ApplyOn": ON, "OptimizationStatus": "Off"}));
        let pending =
            json!([ON, "Off", "Pending", "The function is being created.", "Creating", null, null]);
        assert_eq!(shown(&harness, "1").await, pending);
        let (status, text) = invoke(&harness, "1").await;
        assert_eq!(
            (status, text.as_str()),
            (
                409,
                "409 SnapStartNotReadyException: Lambda is initializing your function. It will be \
                 ready to invoke once your function state becomes ACTIVE."
            )
        );
        let latest = json!([ON, "Off", "Active", null, null, "Successful", null]);
        assert_eq!(shown(&harness, "$LATEST").await, latest);
        assert_eq!(invoke(&harness, "$LATEST").await.0, 200, "it has none");
        harness.take_snapshots().await;
        let active = json!([ON, "On", "Active", null, null, "Successful", null]);
        assert_eq!(shown(&harness, "1").await, active);
        assert_eq!(shown(&harness, "$LATEST").await, latest);
        assert_eq!(invoke(&harness, "1").await.0, 200);
        let listed = harness.get(&format!("{FUNCTIONS}/f/versions")).await.json();
        let status = |at: usize| listed["Versions"][at]["SnapStart"]["OptimizationStatus"].clone();
        assert_eq!((status(0), status(1)), (json!("Off"), json!("On")));
        // The same once more is the version that is there.
        let again = harness.post(&format!("{FUNCTIONS}/f/versions"), &json!({})).await.json();
        assert_eq!((&again["Version"], &again["State"]), (&json!("1"), &json!("Active")));
        // Without it, the next version has none.
        let off = json!({"SnapStart": {"ApplyOn": "None"}});
        let path = format!("{FUNCTIONS}/f/configuration");
        assert_eq!(harness.put(&path, &off).await.status, 200);
        harness.settle().await;
        let plain = harness.post(&format!("{FUNCTIONS}/f/versions"), &json!({})).await.json();
        assert_eq!((&plain["Version"], &plain["State"]), (&json!("2"), &json!("Active")));
        assert_eq!(plain["SnapStart"], json!({"ApplyOn": "None", "OptimizationStatus": "Off"}));
        assert_eq!(shown(&harness, "1").await, active);
        assert_eq!(harness.delete(&format!("{FUNCTIONS}/f:1")).await.status, 204);
        let function = harness.lambda.catalog.find("000000000000", "us-east-1", "f").unwrap();
        assert!(function.stored.value.snapshots.is_empty());
    }

    #[tokio::test]
    async fn a_version_that_cannot_be_initialized_has_failed() {
        let harness = Harness::new().await;
        // Published with its creation, and with the update of its code.
        let body = creation(|body| {
            body["Publish"] = json!(true);
            body["Environment"] = json!({"Variables": {"FAILS": "1"}});
        });
        assert_eq!(harness.post(FUNCTIONS, &body).await.json()["Version"], "1");
        harness.settle().await;
        harness.take_snapshots().await;
        let reason = "An error occurred during function initialization.";
        let failed =
            json!([ON, "Off", "Failed", reason, "FunctionError", "Failed", "FunctionError"]);
        assert_eq!(shown(&harness, "1").await, failed);
        assert_eq!(
            invoke(&harness, "1").await,
            (
                409,
                "409 ResourceConflictException: The operation cannot be performed at this time. The \
                 function is currently in the following state: Failed"
                    .to_owned()
            )
        );
        let update = json!({"ZipFile": other_zip(), "Publish": true});
        let updated = harness.put(&format!("{FUNCTIONS}/f/code"), &update).await.json();
        assert_eq!((&updated["Version"], &updated["State"]), (&json!("2"), &json!("Pending")));
        // What is settled stays as it is.
        harness.take_snapshots().await;
        assert_eq!(shown(&harness, "1").await, failed);
    }

    #[tokio::test]
    async fn not_beside_provisioned_concurrency() {
        let harness = Harness::new().await;
        assert_eq!(harness.post(FUNCTIONS, &creation(|_| {})).await.status, 201);
        harness.settle().await;
        harness.post(&format!("{FUNCTIONS}/f/versions"), &json!({})).await;
        let alias = json!({"Name": "live", "FunctionVersion": "1"});
        assert_eq!(harness.post(&format!("{FUNCTIONS}/f/aliases"), &alias).await.status, 201);
        for qualifier in ["1", "live"] {
            let path =
                format!("/2019-09-30/functions/f/provisioned-concurrency?Qualifier={qualifier}");
            let count = json!({"ProvisionedConcurrentExecutions": 1});
            assert_eq!(
                said(&harness.put(&path, &count).await),
                "400 InvalidParameterValueException: Provisioned Concurrency is not supported for \
                 SnapStart enabled functions."
            );
        }
    }
}
