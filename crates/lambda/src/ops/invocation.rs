//! What Invoke, InvokeWithResponseStream and the URLs of functions have in common: from a request to the snapshot that is to
//! run and the event that it gets.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lambic_front::Cx;
use lambic_model_lambda::errors;
use lambic_wire::Error;

use super::change::pending;
use super::qualifier::snapshot;
use super::{find, json, snap_start};
use crate::Lambda;
use crate::invoke::{Invocation, lineage};
use crate::limits::{
    CLIENT_CONTEXT_BYTES_MAX, PAYLOAD_BYTES_MAX, RECURSIVE_INVOCATIONS_MAX, invalid,
    payload_too_large, recursive_invocation,
};
use crate::names::{self, LATEST};
use crate::state::version::{Version, VersionState};

/// What both operations are given.
pub(super) struct Asked<'a> {
    pub(super) function_name: &'a str,
    pub(super) qualifier: Option<&'a str>,
    pub(super) tenant_id: Option<&'a str>,
    pub(super) client_context: Option<&'a str>,
    pub(super) log_tail: bool,
}

/// A request whose function there is.
pub(super) struct Ready {
    version: Arc<Version>,
    recursion_allowed: bool,
    invoked_arn: String,
    client_context: Option<String>,
    log_tail: bool,
    tenant_id: Option<String>,
}

/// Finds the function, and checks all but the event.
pub(super) async fn ready(cx: &Cx<'_, Lambda>, asked: &Asked<'_>) -> Result<Ready, Error> {
    let mut target = names::resolve(cx.account, cx.region, asked.function_name, asked.qualifier)?;
    let invoked_arn = target.qualified_arn();
    // AWS names $LATEST when it does not find what was to be invoked.
    target.qualifier.get_or_insert_with(|| LATEST.to_owned());
    let function = find(cx, &target)?;
    let version = snapshot(cx, &function, &target).await?;
    check_tenant(&version, asked.tenant_id)?;
    let client_context = asked.client_context.map(client_context).transpose()?;
    let tenant_id = asked.tenant_id.map(str::to_owned);
    Ok(Ready {
        version,
        recursion_allowed: function.stored.value.recursion_allowed,
        invoked_arn,
        client_context,
        log_tail: asked.log_tail,
        tenant_id,
    })
}

/// A tenant is named exactly when the function isolates tenants.
fn check_tenant(version: &Version, tenant_id: Option<&str>) -> Result<(), Error> {
    match (version.isolates_tenants, tenant_id) {
        (true, None) => Err(invalid(
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in \
             your request and try again.",
        )),
        (false, Some(_)) => Err(invalid(
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID \
             from your request and try again.",
        )),
        _ => Ok(()),
    }
}

impl Ready {
    /// What is to be run, and with which event.
    pub(super) fn with(
        self,
        cx: &Cx<'_, Lambda>,
        given: Bytes,
    ) -> Result<(Arc<Version>, Invocation), Error> {
        let payload = payload(given)?;
        let version = self.version;
        match version.state {
            VersionState::Active => {}
            VersionState::Pending if version.snap_start => return Err(snap_start::not_ready()),
            VersionState::Pending => return Err(errors::resource_conflict(pending("Pending"))),
            VersionState::Failed => return Err(errors::resource_conflict(pending("Failed"))),
        }
        if !self.recursion_allowed {
            check_recursion(cx, &version.function_arn)?;
        }
        let invocation = Invocation {
            request_id: cx.request_id.to_owned(),
            invoked_arn: self.invoked_arn,
            payload,
            client_context: self.client_context,
            trace_id: cx.trace_header.map(str::to_owned),
            log_tail: self.log_tail,
            tenant_id: self.tenant_id,
        };
        Ok((version, invocation))
    }
}

/// Stops a chain of requests that has passed this function too often.
fn check_recursion(cx: &Cx<'_, Lambda>, function_arn: &str) -> Result<(), Error> {
    if lineage::passes(function_arn, cx.trace_header) < RECURSIVE_INVOCATIONS_MAX {
        return Ok(());
    }
    tracing::warn!(
        function = function_arn,
        "an invocation was stopped, because the function is part of a recursive loop"
    );
    cx.service.counts.recursions_stopped.increment();
    Err(recursive_invocation())
}

/// The event: what was sent, or `{}` for nothing.
fn payload(given: Bytes) -> Result<Bytes, Error> {
    if given.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    if given.len() > PAYLOAD_BYTES_MAX {
        return Err(payload_too_large(given.len()));
    }
    json::check(&given).map_err(|fault| {
        let text = format!(
            "Could not parse request body into json: Could not parse payload into json: {fault}"
        );
        errors::invalid_request_content(text)
    })?;
    Ok(given)
}

/// The header's base64 as the JSON text that the function will see.
fn client_context(header: &str) -> Result<String, Error> {
    let refused = || {
        errors::invalid_request_content(
            "Client context must be a valid Base64-encoded JSON object.",
        )
    };
    if header.len() > CLIENT_CONTEXT_BYTES_MAX {
        return Err(refused());
    }
    let bytes = STANDARD.decode(header).map_err(|_| refused())?;
    let text = String::from_utf8(bytes).map_err(|_| refused())?;
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ops::testing::Harness;

    /// Of both operations, with these headers.
    async fn answers(harness: &Harness, name: &str, tenant: &str) -> [(u16, String); 2] {
        let headers = [("x-amz-tenant-id", tenant)];
        let headers = if tenant.is_empty() { &[][..] } else { &headers };
        let plain = format!("/2015-03-31/functions/{name}/invocations");
        let streamed = format!("/2021-11-15/functions/{name}/response-streaming-invocations");
        let answers = [plain, streamed].map(async |path| {
            let reply = harness.invoke(&path, b"{}", headers).await;
            let text = if reply.status == 200 { String::new() } else { reply.message() };
            (
                reply.status,
                format!("{} {text}", if reply.status == 200 { "".into() } else { reply.code() }),
            )
        });
        let [plain, streamed] = answers;
        [plain.await, streamed.await]
    }

    #[tokio::test]
    async fn a_tenant_is_named_exactly_for_functions_that_isolate_tenants() {
        let harness = Harness::with_hello().await;
        let mut body = Harness::creation("isolating");
        body["TenancyConfig"] = json!({"TenantIsolationMode": "PER_TENANT"});
        let created = harness.post("/2015-03-31/functions", &body).await;
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(created.json()["TenancyConfig"], body["TenancyConfig"]);
        harness.settle().await;
        let path = "/2015-03-31/functions/isolating/configuration";
        assert_eq!(harness.get(path).await.json()["TenancyConfig"], body["TenancyConfig"]);
        assert!(
            harness
                .get("/2015-03-31/functions/hello/configuration")
                .await
                .json()
                .get("TenancyConfig")
                .is_none()
        );
        // It stays through updates of other settings.
        assert_eq!(
            harness.put(path, &json!({"Timeout": 7})).await.json()["TenancyConfig"],
            body["TenancyConfig"]
        );
        harness.settle().await;
        let invalid = "InvalidParameterValueException The invoked function is";
        for (name, tenant, status, text) in [
            ("isolating", "blue", 200, " ".to_owned()),
            ("isolating", "a.b:c/d=e+f-g@h i_j", 200, " ".to_owned()),
            ("hello", "", 200, " ".to_owned()),
            (
                "isolating",
                "",
                400,
                format!(
                    "{invalid} enabled with tenancy configuration. Add a valid tenant ID in your \
                 request and try again."
                ),
            ),
            (
                "hello",
                "blue",
                400,
                format!(
                    "{invalid} not enabled with tenancy configuration. Remove the tenant ID from your \
                 request and try again."
                ),
            ),
            (
                "isolating",
                "no!",
                400,
                "ValidationException 1 validation error detected: Value \
                 'no!' at 'tenantId' failed to satisfy constraint: Member must satisfy regular \
                 expression pattern: [a-zA-Z0-9\\._:\\/=+\\-@ ]+"
                    .to_owned(),
            ),
        ] {
            for answer in answers(&harness, name, tenant).await {
                assert_eq!(answer, (status, text.clone()), "{name} {tenant}");
            }
        }
        let long = "a".repeat(257);
        assert_eq!(answers(&harness, "isolating", &long).await[0].0, 400);
        assert_eq!(answers(&harness, "isolating", &long[1..]).await[0].0, 200);
    }

    #[tokio::test]
    async fn only_one_mode_of_tenancy_is_known() {
        let harness = Harness::new().await;
        let mut body = Harness::creation("f");
        body["TenancyConfig"] = json!({"TenantIsolationMode": "SHARED"});
        let reply = harness.post("/2015-03-31/functions", &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "ValidationException"));
        body["TenancyConfig"] = json!({});
        assert_eq!(harness.post("/2015-03-31/functions", &body).await.status, 400);
    }

    #[test]
    fn client_contexts() {
        let good = STANDARD.encode(r#"{"client": {"app": "x"}}"#);
        assert_eq!(client_context(&good).unwrap(), r#"{"client": {"app": "x"}}"#);
        for bad in ["!", &STANDARD.encode("[1]"), &STANDARD.encode("x".repeat(3_000))] {
            assert_eq!(client_context(bad).unwrap_err().status, 400, "{bad}");
        }
    }
}
