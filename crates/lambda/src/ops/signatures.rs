//! Whether the packages and layers that a function gets are signed as its code signing configuration
//! demands.
//!
//! As on AWS, a package that was altered after it was signed is always refused. One that is not signed,
//! or by somebody who may not, or not any more, is refused when the policy is `Enforce`; with `Warn` it
//! is deployed, and the log says so. Without a configuration nothing is refused, and a good signature is
//! shown all the same.

use bytes::Bytes;
use lambic_front::Cx;
use lambic_model_lambda::errors;
use lambic_store::Stored;
use lambic_wire::{Error, Timestamp};

use super::change::in_progress;
use super::code_signing::read_for_function;
use crate::Lambda;
use crate::names::Target;
use crate::signing::profiles::{FOLDER, Profiles};
use crate::signing::{Distrust, Signature, is_signed, verify};
use crate::state::code_signing::CodeSigningRecord;
use crate::state::function::FunctionRecord;
use crate::state::layer::LayerUse;

/// Who has signed a package, if that counts now.
pub(super) async fn examine(cx: &Cx<'_, Lambda>, zip: &Bytes) -> Result<Signature, Distrust> {
    if !is_signed(zip) {
        return Err(Distrust::Unsigned);
    }
    let (zip, folder) = (zip.clone(), cx.service.store.dir().join(FOLDER));
    let now = Timestamp { epoch_ms: cx.rt.now().millis() };
    let work = move || verify(&zip, &Profiles::load(&folder), now);
    cx.rt.blocking("verify a signature", work).await
}

/// The signature of a package that may be deployed under `config`. `subject` names it in errors: the
/// function that it is for, or a version of a layer.
///
/// # Errors
/// AWS's for what was altered, and with `Enforce` for what is not vouched for.
pub(super) fn admit(
    cx: &Cx<'_, Lambda>,
    config: Option<&CodeSigningRecord>,
    examined: Result<Signature, Distrust>,
    subject: &str,
) -> Result<Option<Signature>, Error> {
    let Some(config) = config else { return Ok(examined.ok()) };
    let examined = examined.and_then(|signature| {
        if config.publishers.contains(&signature.profile_version_arn) {
            return Ok(signature);
        }
        let arn = &signature.profile_version_arn;
        Err(Distrust::Untrusted(format!("{arn} is not among the allowed publishers")))
    });
    let why = match examined {
        Ok(signature) => return Ok(Some(signature)),
        Err(why) => why,
    };
    let is_broken = matches!(why, Distrust::Broken(_));
    let refused = is_broken || config.enforced;
    let arn = config.arn();
    cx.service.counts.signatures_doubted.increment();
    tracing::warn!(subject, config = arn, %why, refused, "a package is not vouched for");
    if is_broken {
        return Err(errors::invalid_code_signature(
            "The code signature failed the integrity check. Lambda always blocks deployment if the \
             integrity check fails, even if code signing policy is set to WARN.",
        ));
    }
    if refused {
        return Err(errors::code_verification_failed(format!(
            "Lambda cannot deploy the function. The function or layer might be signed using a \
             signature that the client is not configured to accept. Check the provided signature \
             for {subject}."
        )));
    }
    Ok(None)
}

/// Whether a function with `config` may have these layers.
///
/// # Errors
/// As [`admit`].
pub(super) async fn admit_layers(
    cx: &Cx<'_, Lambda>,
    config: Option<&CodeSigningRecord>,
    layers: &[LayerUse],
) -> Result<(), Error> {
    if config.is_none() {
        return Ok(());
    }
    for layer in layers {
        let zip = cx.service.store.blobs().read(&layer.code.sha256).await.map_err(|error| {
            tracing::error!(%error, layer = layer.arn, "a layer's package could not be read");
            Error::internal("The package of a layer could not be read.")
        })?;
        admit(cx, config, examine(cx, &zip).await, &layer.arn)?;
    }
    Ok(())
}

/// The configuration that a function uses. What is admitted under it is committed only as long as it
/// stays as it is.
pub(super) async fn config_of(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
) -> Result<Option<Stored<CodeSigningRecord>>, Error> {
    match &record.code_signing_config {
        Some(arn) => Ok(Some(read_for_function(cx, &record.account, arn).await?)),
        None => Ok(None),
    }
}

/// Whether what was admitted under `config` may be committed: the function may use another one by now.
///
/// # Errors
/// 409: somebody else was faster.
pub(super) fn check_config(
    target: &Target,
    record: &FunctionRecord,
    config: Option<&Stored<CodeSigningRecord>>,
) -> Result<(), Error> {
    if record.code_signing_config == config.map(|config| config.value.arn()) {
        return Ok(());
    }
    Err(in_progress(target))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;
    use crate::code::testing::{Item, zip_of};
    use crate::ops::change::{By, update};
    use crate::ops::testing::{Harness, Reply, zip, zip_base64};
    use crate::signing::key::SigningKey;
    use crate::signing::profiles::written;
    use crate::signing::sign;

    const PROFILE: &str =
        "arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij";
    const JOB: &str = "arn:aws:signer:us-east-1:000000000000:/signing-jobs/1";
    const CODE: &str = "/2015-03-31/functions/hello/code";
    const CONFIGURATION: &str = "/2015-03-31/functions/hello/configuration";

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    fn signed_by(profile: &str, key: &SigningKey, valid_s: Option<i64>) -> Vec<u8> {
        let at = Timestamp::from_epoch_s(1_000);
        let until = valid_s.map(|seconds| Timestamp::from_epoch_s(1_000 + seconds));
        sign(&zip(), key, profile, JOB, at, until).unwrap()
    }

    fn body(zip: &[u8]) -> Value {
        json!({"ZipFile": STANDARD.encode(zip)})
    }

    fn install(harness: &Harness, more: &str) {
        let folder = harness.lambda.store.dir().join(FOLDER);
        std::fs::create_dir_all(&folder).unwrap();
        let text = written(PROFILE, &key().public()).replacen('\n', &format!("\n{more}"), 1);
        std::fs::write(folder.join("release.pem"), text).unwrap();
    }

    /// With the profile installed and `hello` under a configuration with this policy.
    async fn under(policy: &str) -> (Harness, String) {
        let harness = Harness::with_hello().await;
        install(&harness, "");
        let config = harness.code_signing_config(policy).await;
        let path = "/2020-06-30/functions/hello/code-signing-config";
        let body = json!({"CodeSigningConfigArn": config});
        assert_eq!(harness.put(path, &body).await.status, 200);
        (harness, config)
    }

    fn check(reply: &Reply, expected: &str) {
        let text = format!("{} {}: {}", reply.status, reply.code(), reply.message());
        assert_eq!(text, expected);
        assert!(reply.json().get("Message").is_some() && reply.json()["Type"] == "User");
    }

    fn not_accepted(subject: &str) -> String {
        format!(
            "400 CodeVerificationFailedException: Lambda cannot deploy the function. The function \
             or layer might be signed using a signature that the client is not configured to \
             accept. Check the provided signature for {subject}."
        )
    }

    const ALTERED: &str = "400 InvalidCodeSignatureException: The code signature failed the \
         integrity check. Lambda always blocks deployment if the integrity check fails, even if \
         code signing policy is set to WARN.";
    const HELLO: &str = "arn:aws:lambda:us-east-1:000000000000:function:hello";

    /// Every package that nobody vouches for, though nobody has altered it.
    fn not_vouched_for() -> [Vec<u8>; 4] {
        let other = PROFILE.replace("release", "other");
        [
            zip(),
            signed_by(&other, &key(), None),
            signed_by(PROFILE, &key(), Some(1)),
            zip_of(&[Item::file("META_INF/aws_signer_signature_v1.0.SF", b"x")]),
        ]
    }

    fn altered() -> [Vec<u8>; 2] {
        let mut changed = signed_by(PROFILE, &key(), None);
        changed[40] ^= 1;
        // By another key under the name of ours.
        [changed, signed_by(PROFILE, &SigningKey::from_seed(&[8; 32]), None)]
    }

    #[tokio::test]
    async fn what_is_enforced_lets_in_only_what_is_signed() {
        let (harness, _) = under("Enforce").await;
        let before = harness.get(CONFIGURATION).await.json();
        for zip in not_vouched_for() {
            check(&harness.put(CODE, &body(&zip)).await, &not_accepted(HELLO));
            let mut dry = body(&zip);
            dry["DryRun"] = json!(true);
            check(&harness.put(CODE, &dry).await, &not_accepted(HELLO));
        }
        let changed = &altered()[1];
        check(&harness.put(CODE, &body(changed)).await, ALTERED);
        assert_eq!(harness.get(CONFIGURATION).await.json(), before);

        let reply = harness.put(CODE, &body(&signed_by(PROFILE, &key(), None))).await.json();
        assert_eq!(reply["SigningProfileVersionArn"], PROFILE);
        assert_eq!(reply["SigningJobArn"], JOB);
        harness.settle().await;
        let shown = harness.get(CONFIGURATION).await.json();
        assert_eq!(shown["SigningProfileVersionArn"], PROFILE);

        for revoked in
            [format!("Revoked-Job: {JOB}\n"), "Revoked-From: 1970-01-01T00:00:00Z\n".into()]
        {
            install(&harness, &revoked);
            let reply = harness.put(CODE, &body(&signed_by(PROFILE, &key(), None))).await;
            check(&reply, &not_accepted(HELLO));
        }
    }

    #[tokio::test]
    async fn a_warning_lets_in_all_but_what_was_altered() {
        let (harness, _) = under("Warn").await;
        for zip in not_vouched_for() {
            let reply = harness.put(CODE, &body(&zip)).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            assert!(reply.json().get("SigningProfileVersionArn").is_none());
            harness.settle().await;
        }
        check(&harness.put(CODE, &body(&altered()[1])).await, ALTERED);
        let reply = harness.put(CODE, &body(&signed_by(PROFILE, &key(), None))).await.json();
        assert_eq!(reply["SigningProfileVersionArn"], PROFILE);
    }

    #[tokio::test]
    async fn without_a_configuration_nothing_is_refused_and_a_signature_is_shown() {
        let harness = Harness::with_hello().await;
        install(&harness, "");
        let mut all = not_vouched_for().to_vec();
        all.push(altered()[1].clone());
        for zip in all {
            assert_eq!(harness.put(CODE, &body(&zip)).await.status, 200);
            harness.settle().await;
        }
        let reply = harness.put(CODE, &body(&signed_by(PROFILE, &key(), None))).await.json();
        assert_eq!(reply["SigningProfileVersionArn"], PROFILE);
    }

    #[tokio::test]
    async fn functions_are_created_under_a_configuration() {
        let (harness, config) = under("Enforce").await;
        let create = async |name: &str, zip: &[u8], config: &str| {
            let mut body = Harness::creation(name);
            body["Code"] = json!({"ZipFile": STANDARD.encode(zip)});
            body["CodeSigningConfigArn"] = json!(config);
            harness.post("/2015-03-31/functions", &body).await
        };
        let good = signed_by(PROFILE, &key(), None);
        check(&create("new", &zip(), &config).await, &not_accepted("new"));
        check(&create("new", &altered()[1], &config).await, ALTERED);
        assert_eq!(harness.get("/2015-03-31/functions/new").await.status, 404);
        let none = format!("{}x", &config[..config.len() - 1]);
        let reply = create("new", &good, &none).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "CodeSigningConfigNotFoundException")
        );
        let created = create("new", &good, &config).await;
        assert_eq!((created.status, &created.json()["SigningJobArn"]), (201, &json!(JOB)));
        let again = create("new", &good, &config).await;
        assert_eq!((again.status, again.message().as_str()), (409, "Function already exist: new"));
        let path = format!("/2020-04-22/code-signing-configs/{config}/functions");
        assert_eq!(harness.get(&path).await.json()["FunctionArns"].as_array().unwrap().len(), 2);
        // Many at once, under one configuration.
        let names: Vec<_> = (0..16).map(|number| format!("many{number}")).collect();
        let all = names.iter().map(|name| create(name, &good, &config));
        for reply in futures_util::future::join_all(all).await {
            assert_eq!(reply.status, 201, "{reply:?}");
        }
        assert_eq!(harness.get(&path).await.json()["FunctionArns"].as_array().unwrap().len(), 18);
    }

    #[tokio::test]
    async fn layers_have_to_be_signed_too() {
        let (harness, config) = under("Enforce").await;
        let publish = async |name: &str, zip: &[u8]| {
            let body = json!({"Content": {"ZipFile": STANDARD.encode(zip)}});
            let reply = harness.post(&format!("/2018-10-31/layers/{name}/versions"), &body).await;
            assert_eq!(reply.status, 201, "{reply:?}");
            reply.json()
        };
        let plain = publish("plain", &zip()).await;
        assert!(plain["Content"].get("SigningProfileVersionArn").is_none());
        let changed = publish("changed", &altered()[1]).await;
        let good = publish("good", &signed_by(PROFILE, &key(), None)).await;
        assert_eq!(good["Content"]["SigningProfileVersionArn"], PROFILE);
        let arn = |layer: &Value| layer["LayerVersionArn"].as_str().unwrap().to_owned();
        let (plain, changed, good) = (arn(&plain), arn(&changed), arn(&good));
        let put = async |layers: &[&String]| {
            let reply = harness.put(CONFIGURATION, &json!({"Layers": layers})).await;
            harness.settle().await;
            reply
        };
        check(&put(&[&good, &plain]).await, &not_accepted(&plain));
        check(&put(&[&changed]).await, ALTERED);
        let reply = put(&[&good]).await.json();
        assert_eq!(
            (&reply["Layers"][0]["Arn"], &reply["Layers"][0]["SigningJobArn"]),
            (&json!(good), &json!(JOB))
        );
        let mut body = Harness::creation("new");
        body["Code"] = json!({"ZipFile": STANDARD.encode(signed_by(PROFILE, &key(), None))});
        body["CodeSigningConfigArn"] = json!(config);
        body["Layers"] = json!([plain]);
        check(&harness.post("/2015-03-31/functions", &body).await, &not_accepted(&plain));
        // Not under a configuration any more.
        harness.delete("/2020-06-30/functions/hello/code-signing-config").await;
        assert_eq!(put(&[&plain]).await.status, 200);
    }

    #[tokio::test]
    async fn what_runs_goes_on_and_settings_may_change() {
        let (harness, config) = under("Enforce").await;
        assert_eq!(
            harness.invoke("/2015-03-31/functions/hello/invocations", b"{}", &[]).await.status,
            200
        );
        assert_eq!(harness.put(CONFIGURATION, &json!({"Timeout": 5})).await.status, 200);
        harness.settle().await;
        let warn = json!({"CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Warn"}});
        let path = format!("/2020-04-22/code-signing-configs/{config}");
        assert_eq!(harness.put(&path, &warn).await.status, 200);
        let reply = harness.put(CODE, &json!({"ZipFile": zip_base64()})).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    #[tokio::test]
    async fn a_function_that_changes_its_configuration_meanwhile_is_not_updated() {
        let (harness, _) = under("Enforce").await;
        let call = harness.call();
        let cx = call.cx(&*harness.lambda);
        let target = crate::names::resolve(cx.account, cx.region, "hello", None).unwrap();
        let record = super::super::change::read(&cx, &target).await.unwrap().value;
        let config = config_of(&cx, &record).await.unwrap();
        assert_eq!(check_config(&target, &record, config.as_ref()), Ok(()));
        assert_eq!(check_config(&target, &record, None).unwrap_err().status, 409);
    }

    #[tokio::test]
    async fn what_was_admitted_is_not_committed_under_stricter_rules() {
        let (harness, config) = under("Warn").await;
        let call = harness.call();
        let cx = call.cx(&*harness.lambda);
        let target = crate::names::resolve(cx.account, cx.region, "hello", None).unwrap();
        let record = super::super::change::read(&cx, &target).await.unwrap().value;
        let admitted = config_of(&cx, &record).await.unwrap();
        let enforce = json!({"CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Enforce"}});
        let path = format!("/2020-04-22/code-signing-configs/{config}");
        assert_eq!(harness.put(&path, &enforce).await.status, 200);
        let by = By { config: admitted.as_ref(), ..By::default() };
        let updated = update(&cx, &target, by, |record| Ok(record.shown().clone())).await;
        assert_eq!(updated.unwrap_err().status, 409);
        let present = config_of(&cx, &record).await.unwrap();
        let by = By { config: present.as_ref(), ..by };
        assert!(update(&cx, &target, by, |record| Ok(record.shown().clone())).await.is_ok());
    }
}
