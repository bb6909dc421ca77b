//! One event source mapping: `event-source-mapping/<account>/<region>/<uuid>`; and what it claims of
//! its source: `event-source-claim/<account>/<region>/<digest>`.
//!
//! Invariants: a mapping and its claims come in one write, so no two mappings read the same of one
//! source for one function. What was acknowledged comes into force at `settle_at_micros`, by the clock
//! alone: from then on a new or changed mapping is `Disabled`, and a deleted one is not there, although
//! its record and its claims stay until `tasks::mappings` removes them. No mapping is enabled: nothing
//! reads sources yet.

use lambic_rt::Timestamp;
use lambic_store::{Digest, Record};
use lambic_wire::Pairs;
use serde::{Deserialize, Serialize};

use crate::names::function_arn;

/// What events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceKind {
    /// A queue of Amazon SQS.
    Sqs,
    /// A stream of Amazon Kinesis, or one of its consumers.
    Kinesis,
    /// The stream of a table of Amazon DynamoDB.
    DynamoDb,
    /// A cluster of Amazon MSK.
    Msk,
    /// An Apache Kafka of one's own.
    SelfManagedKafka,
    /// A broker of Amazon MQ.
    Mq,
    /// A cluster of Amazon DocumentDB.
    DocumentDb,
}

/// What a mapping reads from, and from where on: never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Follows from the ARN.
    pub kind: SourceKind,
    /// Absent for a Kafka of one's own.
    pub arn: Option<String>,
    /// `host:port` of the servers of a Kafka of one's own; empty for all other kinds.
    pub servers: Vec<String>,
    /// One topic for Kafka, one queue for Amazon MQ, otherwise nothing.
    pub names: Vec<String>,
    /// `TRIM_HORIZON`, `LATEST` or `AT_TIMESTAMP`; absent for queues.
    pub starting_position: Option<String>,
    /// With `AT_TIMESTAMP`, in milliseconds since the epoch.
    pub starting_at_ms: Option<i64>,
    /// The consumer group of a Kafka.
    pub consumer_group: Option<String>,
}

/// How a mapping hands events to its function. What its kind of source has no such setting for is
/// absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingSettings {
    /// Records in one invoke, at most.
    pub batch_records_max: i32,
    /// Seconds that records are gathered for; absent is half a second.
    pub window_s: Option<i32>,
    /// Event patterns; without any, all records are taken.
    pub filters: Vec<String>,
    /// Where records go that could not be handled.
    pub on_failure: Option<String>,
    /// Batches of one shard at the same time.
    pub parallelization_factor: Option<i32>,
    /// Seconds; -1 is without end.
    pub record_age_s_max: Option<i32>,
    /// Whether a batch that fails is tried again in two halves.
    pub bisects: Option<bool>,
    /// Attempts after the first; -1 is without end.
    pub retries_max: Option<i32>,
    /// Seconds of a tumbling window.
    pub tumbling_window_s: Option<i32>,
    /// Whether the function names the records that failed.
    pub reports_item_failures: bool,
    /// Credentials and networks, in the caller's order.
    pub access: Vec<SourceAccess>,
    /// Where schemas of records are.
    pub schema_registry: Option<SchemaRegistry>,
    /// What of a DocumentDB is read.
    pub document_db: Option<DocumentDb>,
    /// Invokes of one queue at the same time.
    pub concurrency_max: Option<i32>,
    /// Pollers that are kept for this mapping.
    pub pollers: Option<Pollers>,
    /// Names of the figures that are wanted; absent when nothing was said.
    pub metrics: Option<Vec<String>>,
    /// `DEBUG`, `INFO` or `WARN`.
    pub log_level: Option<String>,
}

/// One way to get at a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceAccess {
    /// AWS's name of the way.
    pub kind: String,
    /// Of a secret, a subnet, a security group; or a name.
    pub uri: String,
}

/// Where schemas of a Kafka's records are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaRegistry {
    /// URL or ARN.
    pub uri: String,
    /// `JSON` or `SOURCE`.
    pub record_format: String,
    /// Ways to get at it.
    pub access: Vec<SourceAccess>,
    /// `KEY`, `VALUE`: what is checked by a schema.
    pub validated: Vec<String>,
}

/// What of a DocumentDB is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentDb {
    /// The database.
    pub database: String,
    /// Absent is all of its collections.
    pub collection: Option<String>,
    /// `UpdateLookup` or `Default`.
    pub full_document: String,
}

/// Pollers that are kept for one mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pollers {
    /// At least.
    pub min: i32,
    /// At most.
    pub max: i32,
    /// Mappings of one group share theirs.
    pub group: Option<String>,
}

/// What was acknowledged last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MappingChange {
    /// Its creation.
    Created,
    /// An update.
    Updated,
    /// Its deletion.
    Deleted,
}

/// What callers are told that a mapping does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingState {
    /// It will be `Disabled` in a moment.
    Creating,
    /// As `Creating`, after an update.
    Updating,
    /// It will be gone in a moment.
    Deleting,
    /// It is there and reads nothing.
    Disabled,
}

impl MappingState {
    /// AWS's name of it.
    pub fn name(self) -> &'static str {
        match self {
            MappingState::Creating => "Creating",
            MappingState::Updating => "Updating",
            MappingState::Deleting => "Deleting",
            MappingState::Disabled => "Disabled",
        }
    }
}

/// The stored record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingRecord {
    /// Twelve digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// Names it.
    pub uuid: String,
    /// The plain name of the function; it may have been deleted since.
    pub function_name: String,
    /// Which version or alias of it, if one was named.
    pub qualifier: Option<String>,
    /// What it reads from.
    pub source: Source,
    /// How it hands over what it reads.
    pub settings: MappingSettings,
    /// At most 50.
    #[serde(default)]
    pub tags: Pairs<String>,
    /// What was acknowledged last.
    pub change: MappingChange,
    /// When that comes into force, in microseconds since the epoch.
    pub settle_at_micros: i64,
    /// In microseconds since the epoch.
    pub last_modified_micros: i64,
}

impl Record for MappingRecord {
    const KIND: &'static str = "event-source-mapping";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: serde_json::Value) -> Result<MappingRecord, String> {
        Err(format!("there never was a version {version}"))
    }
}

impl MappingRecord {
    /// The segments of its key.
    pub fn key(&self) -> [&str; 3] {
        [&self.account, &self.region, &self.uuid]
    }

    /// Its own ARN.
    pub fn arn(&self) -> String {
        mapping_arn(&self.account, &self.region, &self.uuid)
    }

    /// The function's ARN, with the qualifier if one was named.
    pub fn function_arn(&self) -> String {
        let arn = function_arn(&self.account, &self.region, &self.function_name);
        match &self.qualifier {
            Some(qualifier) => format!("{arn}:{qualifier}"),
            None => arn,
        }
    }

    /// What it is at that moment; `None`: it is not there any more.
    pub fn state(&self, now: Timestamp) -> Option<MappingState> {
        match (self.change, now.micros() >= self.settle_at_micros) {
            (MappingChange::Deleted, true) => None,
            (_, true) => Some(MappingState::Disabled),
            (_, false) => Some(self.changing()),
        }
    }

    /// What it is until what was acknowledged comes into force.
    pub fn changing(&self) -> MappingState {
        match self.change {
            MappingChange::Created => MappingState::Creating,
            MappingChange::Updated => MappingState::Updating,
            MappingChange::Deleted => MappingState::Deleting,
        }
    }

    /// What of its source is read for its function by this mapping alone, as last segments of keys.
    pub fn claims(&self) -> Vec<Digest> {
        let function = self.function_arn();
        let arns = self.source.arn.iter();
        let mut claims = Vec::new();
        for from in arns.chain(&self.source.servers) {
            let claim = |name: &str| Digest::of(format!("{function}\n{from}\n{name}").as_bytes());
            match &self.source.names[..] {
                [] => claims.push(claim("")),
                names => claims.extend(names.iter().map(|name| claim(name))),
            }
        }
        claims
    }
}

/// ARN of the mapping with this UUID.
pub fn mapping_arn(account: &str, region: &str, uuid: &str) -> String {
    format!("arn:aws:lambda:{region}:{account}:event-source-mapping:{uuid}")
}

/// A part of a source that one mapping reads for one function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceClaim {
    /// Of the mapping.
    pub uuid: String,
}

impl Record for SourceClaim {
    const KIND: &'static str = "event-source-claim";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: serde_json::Value) -> Result<SourceClaim, String> {
        Err(format!("there never was a version {version}"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A mapping of a queue, just created.
    pub(crate) fn record(uuid: &str) -> MappingRecord {
        MappingRecord {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            uuid: uuid.into(),
            function_name: "hello".into(),
            qualifier: None,
            source: Source {
                kind: SourceKind::Sqs,
                arn: Some("arn:aws:sqs:us-east-1:000000000000:q".into()),
                servers: Vec::new(),
                names: Vec::new(),
                starting_position: None,
                starting_at_ms: None,
                consumer_group: None,
            },
            settings: MappingSettings {
                batch_records_max: 10,
                window_s: Some(0),
                ..MappingSettings::default()
            },
            tags: Pairs::default(),
            change: MappingChange::Created,
            settle_at_micros: 1_000,
            last_modified_micros: 0,
        }
    }

    #[test]
    fn states_follow_the_clock() {
        let mut mapping = record("u");
        let (before, after) = (Timestamp::from_micros(999), Timestamp::from_micros(1_000));
        for (change, changing, settled) in [
            (MappingChange::Created, "Creating", Some("Disabled")),
            (MappingChange::Updated, "Updating", Some("Disabled")),
            (MappingChange::Deleted, "Deleting", None),
        ] {
            mapping.change = change;
            assert_eq!(mapping.state(before).map(MappingState::name), Some(changing));
            assert_eq!(mapping.state(after).map(MappingState::name), settled);
        }
    }

    #[test]
    fn claims_are_of_function_source_and_topic() {
        let mut one = record("u");
        let mut other = record("v");
        assert_eq!(one.claims(), other.claims());
        other.qualifier = Some("live".into());
        assert_ne!(one.claims(), other.claims());
        one.source.arn = None;
        one.source.servers = vec!["a:1".into(), "b:1".into()];
        one.source.names = vec!["topic".into()];
        other = MappingRecord { uuid: "v".into(), ..one.clone() };
        other.source.servers = vec!["b:1".into()];
        assert_eq!(one.claims().len(), 2);
        assert!(one.claims().contains(&other.claims()[0]));
        other.source.names = vec!["other".into()];
        assert!(!one.claims().contains(&other.claims()[0]));
    }

    #[test]
    fn stored_and_read_again() {
        let mut mapping = record("u");
        mapping.settings.pollers = Some(Pollers { min: 1, max: 2, group: None });
        mapping.settings.document_db = Some(DocumentDb {
            database: "d".into(),
            collection: None,
            full_document: "Default".into(),
        });
        let text = serde_json::to_string(&mapping).unwrap();
        assert_eq!(serde_json::from_str::<MappingRecord>(&text).unwrap(), mapping);
    }
}
