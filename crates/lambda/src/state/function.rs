//! One function: `function/<account>/<region>/<name>`.
//!
//! Invariants: `running` is what invokes run. `updating` is there exactly while an update has been
//! acknowledged and is not in force yet; what callers read is then `updating`, while `running` still
//! runs. `settle_at_micros` is there exactly while the reconciler has something left to do. A
//! generation is never used twice. `revision_id` changes with every write of what `$LATEST` is or of the
//! function's policy, and not with what is beside it: aliases have revisions of their own.
//!
//! What belongs to the function and not to one of its versions is in this record too (aliases, settings
//! by qualifier, reserved concurrency): it is small, it changes rarely, and so it comes and goes with
//! the function in one write.

use std::collections::BTreeMap;
use std::fmt;

use lambic_rt::{Rt, Timestamp};
use lambic_store::{Digest, Record};
use lambic_wire::Pairs;
use serde::{Deserialize, Serialize};

use super::alias::Alias;
use super::file_system::FileSystemUse;
use super::layer::LayerUse;
use super::logging::Logging;
use super::numbers::Numbers;
use super::qualified::Qualified;
use super::sealed::Sealed;
use super::snapshot::Snapshot;
use super::vpc::VpcUse;
use crate::names::{LATEST, function_arn};
use crate::signing::Signature;

/// Life of a function.
///
/// Nothing sets `Failed` yet (a version whose snapshot cannot be taken has a state of its own), and that
/// is no omission: whatever can go wrong with a package (it is
/// broken, too large, the disk is full) goes wrong before the request that brought it is answered,
/// since code is unpacked and on disk before its record is committed. The reconciler only lets the
/// moment pass that AWS takes. A bundle that is missing later is damage to the data directory: its
/// invokes are told so, and the function is well again with the directory, which a stored `Failed`
/// would not be. The state is part of the record's format because AWS has it and operations that
/// really work after their answer (images, VPCs) will need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Created, not invocable yet.
    Pending,
    /// Invocable.
    Active,
    /// It could not be made ready. Not set yet; see above.
    Failed,
}

/// Outcome of the last update (the creation counts as one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateStatus {
    /// Nothing has been updated; the function is still being created.
    None,
    /// Acknowledged and not in force yet.
    InProgress,
    /// In force.
    Successful,
    /// Not in force, and it will not be. Not set yet, for the same reason as [`State::Failed`].
    Failed,
}

/// Environment variables in the caller's order. Their values are secrets and are never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Variables(pub Pairs<String>);

impl fmt::Debug for Variables {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// A deployment package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Of the zip as it was sent; names the blob and the bundle made from it.
    pub sha256: Digest,
    /// Of the zip, in bytes.
    pub zip_bytes: u64,
    /// Of everything that came out of it, in bytes; absent in records from before it was kept.
    #[serde(default)]
    pub unzipped_bytes: Option<u64>,
    /// Who had signed the zip when it was deployed, if that counted then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// Everything that a version is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// AWS's id.
    pub runtime: String,
    /// Absent only for `provided` runtimes.
    pub handler: Option<String>,
    /// ARN of the execution role.
    pub role: String,
    /// At most 256 characters; may be empty.
    pub description: String,
    /// Seconds, 1 to 900.
    pub timeout_s: u32,
    /// MB, 128 to 10,240.
    pub memory_mb: u32,
    /// Size of `/tmp` in MB, 512 to 10,240.
    pub tmp_mb: u32,
    /// Absent when none were ever given, which callers can tell from none.
    pub environment: Option<Variables>,
    /// They are encrypted under this key, which is an operator's; absent in records from before there
    /// were keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
    /// The variables under that key; `environment` is absent then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_environment: Option<Box<Sealed>>,
    /// Whether `TracingConfig` is `Active`; records from before it was offered are not.
    #[serde(default)]
    pub active_tracing: bool,
    /// Where events of asynchronous invokes go that fail: a queue or a topic. Nothing obeys it yet:
    /// asynchronous invokes are not offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_arn: Option<String>,
    /// Whether every tenant has environments of its own (`TenancyConfig` PER_TENANT). Decided when the
    /// function is created. Records from before it was offered do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolates_tenants: bool,
    /// Whether its published versions have SnapStart. Records from before it was offered do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub snap_start: bool,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// How it logs. Records from before there was a choice have AWS's default.
    #[serde(default)]
    pub logging: Logging,
    /// What it runs.
    pub code: Code,
    /// What it has in `/opt`, later ones over earlier ones. Records from before there were layers have
    /// none.
    #[serde(default)]
    pub layers: Vec<LayerUse>,
    /// What is mounted below `/mnt`. Records from before it was offered have nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<Box<FileSystemUse>>,
    /// Its subnets and security groups. Records from before they were offered have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<Box<VpcUse>>,
    /// When it was last changed, in microseconds since the epoch.
    pub last_modified_micros: i64,
    /// Unique among all configurations of all functions.
    pub generation: u64,
}

/// The stored record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRecord {
    /// Twelve digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// The plain name.
    pub name: String,
    /// At most 50.
    pub tags: Pairs<String>,
    /// What invokes run.
    pub running: Configuration,
    /// What they will run once the update in progress is in force.
    pub updating: Option<Configuration>,
    /// Life of the function.
    pub state: State,
    /// Outcome of the last update.
    pub update: UpdateStatus,
    /// Changes with every write of this record.
    pub revision_id: String,
    /// When the reconciler makes it Active, or the update Successful.
    pub settle_at_micros: Option<i64>,
    /// The number that was given to a published version last; 0 before there was one.
    #[serde(default)]
    pub last_version: u64,
    /// Which published versions there are.
    #[serde(default, skip_serializing_if = "Numbers::is_empty")]
    pub versions: Numbers,
    /// How far the snapshots of its published versions with SnapStart are, by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<u64, Snapshot>,
    /// The packages of all its published versions, zipped, in bytes.
    #[serde(default)]
    pub version_bytes: u64,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, Alias>,
    /// What is set for one qualifier: `$LATEST`, the number of a version or the name of an alias.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub qualified: BTreeMap<String, Qualified>,
    /// Invocations of the function that may be in flight and that no other function takes away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_concurrency: Option<u32>,
    /// Whether it is also run when the chain of requests has passed it too often.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recursion_allowed: bool,
    /// ARN of the code signing configuration that its packages and layers have to meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_signing_config: Option<String>,
}

impl Configuration {
    /// Whether both run the same: all but when they were made, and what they are described as.
    pub fn runs_as(&self, other: &Configuration) -> bool {
        let other = Configuration {
            description: self.description.clone(),
            last_modified_micros: self.last_modified_micros,
            generation: self.generation,
            ..other.clone()
        };
        *self == other
    }
}

impl Record for FunctionRecord {
    const KIND: &'static str = "function";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: serde_json::Value) -> Result<FunctionRecord, String> {
        Err(format!("there never was a version {version}"))
    }
}

impl FunctionRecord {
    /// The segments of its key.
    pub fn key(&self) -> [&str; 3] {
        [&self.account, &self.region, &self.name]
    }

    /// Without a qualifier.
    pub fn arn(&self) -> String {
        function_arn(&self.account, &self.region, &self.name)
    }

    /// Whether this qualifier is there: `$LATEST`, an alias, or the number of a published version.
    pub fn has(&self, qualifier: &str) -> bool {
        qualifier == LATEST
            || self.aliases.contains_key(qualifier)
            || self.number(qualifier).is_some()
    }

    /// The number, if a published version of it is there.
    pub fn number(&self, qualifier: &str) -> Option<u64> {
        let number = qualifier.parse().ok()?;
        // Digits only, and none in front that changes nothing: `+1` and `01` are no versions.
        (self.versions.contains(number) && number.to_string() == qualifier).then_some(number)
    }

    /// Environments that are provisioned for all of its versions and aliases.
    pub fn provisioned(&self) -> u32 {
        let all = self.qualified.values().filter_map(|settings| settings.provisioned);
        all.fold(0, |sum, one| sum.saturating_add(one.requested))
    }

    /// Concurrency that it keeps from the other functions of its account.
    pub fn kept_concurrency(&self) -> u32 {
        self.reserved_concurrency.unwrap_or_else(|| self.provisioned())
    }

    /// What callers read: the newest acknowledged configuration.
    pub fn shown(&self) -> &Configuration {
        self.updating.as_ref().unwrap_or(&self.running)
    }

    /// Takes a published version out, with what is here of it. Whether it was there.
    pub fn remove_version(&mut self, number: u64) -> bool {
        self.snapshots.remove(&number);
        self.versions.remove(number)
    }

    /// The record with an acknowledged update that is not in force yet.
    pub fn updated(&self, next: Configuration, rt: &Rt, settle_at: Timestamp) -> FunctionRecord {
        FunctionRecord {
            updating: Some(next),
            update: UpdateStatus::InProgress,
            revision_id: rt.uuid(),
            settle_at_micros: Some(settle_at.micros()),
            ..self.clone()
        }
    }

    /// The record once its creation or update is in force; `None` when it is not due at `now`.
    pub fn settled(&self, now: Timestamp, revision_id: String) -> Option<FunctionRecord> {
        if self.settle_at_micros? > now.micros() {
            return None;
        }
        Some(FunctionRecord {
            running: self.shown().clone(),
            updating: None,
            state: State::Active,
            update: UpdateStatus::Successful,
            revision_id,
            settle_at_micros: None,
            ..self.clone()
        })
    }
}

/// A number for [`Configuration::generation`]. Random, so that two servers on one store need not
/// agree; 63 bits, so that no two meet.
pub fn new_generation(rt: &Rt) -> u64 {
    let mut bytes = [0; 8];
    rt.fill_random(&mut bytes);
    u64::from_le_bytes(bytes) >> 1
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::state::runtime_management::RuntimeManagement;

    pub(crate) fn configuration(generation: u64) -> Configuration {
        Configuration {
            runtime: "python3.13".to_owned(),
            handler: Some("main.handler".to_owned()),
            role: "arn:aws:iam::000000000000:role/r".to_owned(),
            description: String::new(),
            timeout_s: 3,
            memory_mb: 128,
            tmp_mb: 512,
            environment: Some(Variables(Pairs(vec![("KEY".into(), "hidden".into())]))),
            kms_key_arn: None,
            sealed_environment: None,
            active_tracing: false,
            dead_letter_arn: None,
            isolates_tenants: false,
            snap_start: false,
            architecture: "x86_64".to_owned(),
            logging: Logging::default(),
            code: Code {
                sha256: Digest::of(b"zip"),
                zip_bytes: 3,
                unzipped_bytes: None,
                signature: None,
            },
            layers: Vec::new(),
            file_system: None,
            vpc: None,
            last_modified_micros: 1_763_674_200_123_456,
            generation,
        }
    }

    pub(crate) fn record(name: &str) -> FunctionRecord {
        FunctionRecord {
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            name: name.to_owned(),
            tags: Pairs(vec![("team".into(), "blue".into())]),
            running: configuration(1),
            updating: None,
            state: State::Pending,
            update: UpdateStatus::None,
            revision_id: "r1".to_owned(),
            settle_at_micros: Some(1_000),
            last_version: 0,
            versions: Numbers::default(),
            snapshots: BTreeMap::new(),
            version_bytes: 0,
            aliases: BTreeMap::new(),
            qualified: BTreeMap::new(),
            reserved_concurrency: None,
            recursion_allowed: false,
            code_signing_config: None,
        }
    }

    #[test]
    fn round_trip() {
        let record = record("hello");
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<FunctionRecord>(&text).unwrap(), record);
    }

    #[test]
    fn a_record_without_logging_opens_with_the_default() {
        let mut logged = record("hello");
        logged.running.logging.group = Some("shared".to_owned());
        let mut value = serde_json::to_value(&logged).unwrap();
        assert!(value["running"].as_object_mut().unwrap().remove("logging").is_some());
        assert_eq!(serde_json::from_value::<FunctionRecord>(value).unwrap(), record("hello"));
    }

    #[test]
    fn a_record_from_before_layers_opens_without_any() {
        let mut value = serde_json::to_value(record("hello")).unwrap();
        assert!(value["running"].as_object_mut().unwrap().remove("layers").is_some());
        let code = value["running"]["code"].as_object_mut().unwrap();
        assert!(code.remove("unzipped_bytes").is_some());
        assert_eq!(serde_json::from_value::<FunctionRecord>(value).unwrap(), record("hello"));
    }

    #[test]
    fn a_record_from_before_recursion_and_signing_opens_with_the_defaults() {
        let plain = serde_json::to_value(record("hello")).unwrap();
        let before = ["recursion_allowed", "code_signing_config", "qualified"];
        assert!(before.iter().all(|member| plain.get(member).is_none()), "{plain}");
        assert!(plain["running"]["code"].get("signature").is_none(), "{plain}");

        let mut all = record("hello");
        all.recursion_allowed = true;
        all.code_signing_config = Some("arn".to_owned());
        let pinned = RuntimeManagement::Manual { version_arn: "arn".to_owned() };
        for mode in [RuntimeManagement::FunctionUpdate, pinned] {
            let settings = Qualified { runtime_management: Some(mode), ..Qualified::default() };
            all.qualified.insert(LATEST.to_owned(), settings);
            let (profile_version_arn, job_arn) = ("arn".to_owned(), "arn".to_owned());
            all.running.code.signature = Some(Signature { profile_version_arn, job_arn });
            let text = serde_json::to_string(&all).unwrap();
            assert_eq!(serde_json::from_str::<FunctionRecord>(&text).unwrap(), all);
        }
    }

    #[test]
    fn policies_are_stored_as_they_are_written_and_old_records_have_none() {
        let mut with_policy = record("hello");
        let statement = serde_json::json!({"Sid": "a", "Effect": "Allow"});
        let policy = crate::policy::Document::with_first(statement);
        with_policy.qualified.entry("live".into()).or_default().policy = Some(policy.clone());
        let mut value = serde_json::to_value(&with_policy).unwrap();
        let stored = serde_json::to_string(&value["qualified"]["live"]["policy"]).unwrap();
        assert_eq!(stored, policy.text());
        let read = serde_json::from_value::<FunctionRecord>(value.clone()).unwrap();
        assert_eq!(read, with_policy);
        value["qualified"]["live"].as_object_mut().unwrap().remove("policy");
        let old = serde_json::from_value::<FunctionRecord>(value).unwrap();
        assert!(old.qualified["live"].is_empty());
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = format!("{:?}", record("hello"));
        assert!(text.contains("KEY") && !text.contains("hidden"));
    }

    #[test]
    fn from_pending_to_active_to_updated() {
        let created = record("hello");
        assert_eq!(created.settled(Timestamp::from_micros(999), "r2".into()), None);
        let active = created.settled(Timestamp::from_micros(1_000), "r2".into()).unwrap();
        assert_eq!((active.state, active.update), (State::Active, UpdateStatus::Successful));
        assert_eq!(active.settled(Timestamp::from_micros(i64::MAX), "r3".into()), None);

        let rt = Rt::simulated(1);
        let updated = active.updated(configuration(2), &rt, Timestamp::from_micros(5_000));
        assert_eq!((updated.state, updated.update), (State::Active, UpdateStatus::InProgress));
        assert_eq!((updated.running.generation, updated.shown().generation), (1, 2));
        let settled = updated.settled(Timestamp::from_micros(5_000), "r4".into()).unwrap();
        assert_eq!((settled.running.generation, settled.updating.is_none()), (2, true));
    }
}
