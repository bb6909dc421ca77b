//! The question: who wants to do what, and what is known of the request.

use std::borrow::Cow;
use std::net::IpAddr;

use lambic_front::Principal;
use lambic_rt::Timestamp;
use lambic_wire::Pairs;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller<'a> {
    /// Somebody who says nothing of himself: a request to the URL of a function without a signature.
    Anonymous,
    /// An AWS service, such as `s3.amazonaws.com`.
    Service(&'a str),
    /// An account's root, user or role session.
    Principal(&'a Principal),
}

impl<'a> Caller<'a> {
    /// The account it belongs to, if it belongs to one.
    pub fn account(self) -> Option<&'a String> {
        match self {
            Caller::Principal(principal) => Some(&principal.account),
            Caller::Anonymous | Caller::Service(_) => None,
        }
    }
}

/// What a policy says. The greater counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No statement is about it.
    Nothing,
    /// A statement allows it, and none denies it.
    Allow,
    /// A statement denies it.
    Deny,
}

/// A question to a policy.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    caller: Caller<'a>,
    action: Cow<'a, str>,
    keys: Vec<(String, Cow<'a, str>)>,
}

impl<'a> Asked<'a> {
    /// May this caller do this? `action` is as IAM writes it, such as `lambda:InvokeFunction`.
    pub fn new(caller: Caller<'a>, action: impl Into<Cow<'a, str>>) -> Asked<'a> {
        Asked { caller, action: action.into(), keys: Vec::new() }
    }

    /// Who asks.
    pub fn caller(&self) -> Caller<'a> {
        self.caller
    }

    /// The same question about another action.
    pub fn of_action(&self, action: &'a str) -> Asked<'a> {
        Asked { action: Cow::Borrowed(action), ..self.clone() }
    }

    /// With one more value of a condition key, such as `lambda:FunctionUrlAuthType`. The keys about the
    /// caller and about the function are known without being told.
    pub fn with(mut self, key: &str, value: impl Into<Cow<'a, str>>) -> Asked<'a> {
        self.keys.push((key.to_ascii_lowercase(), value.into()));
        self
    }

    /// With the keys about the moment of the request.
    pub fn at(self, now: Timestamp) -> Asked<'a> {
        self.with("aws:CurrentTime", now.rfc3339()).with("aws:EpochTime", now.seconds().to_string())
    }

    /// With the keys about the connection that the request came over: its address, and that it is not
    /// encrypted, since this server speaks HTTP.
    pub fn from_address(self, address: IpAddr) -> Asked<'a> {
        self.with("aws:SourceIp", address.to_canonical().to_string())
            .with("aws:SecureTransport", "false")
    }
}

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// ARN of the function, with its qualifier if one is asked for.
    pub(crate) resource: &'a str,
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) tags: &'a Pairs<String>,
}

/// What is known of a condition key.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Its values, at least one.
    Values(Vec<Cow<'a, str>>),
    /// It is known that the request has none.
    Absent,
    /// Nothing.
    Unknown,
}

/// All that is known of a request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    asked: &'a Asked<'a>,
    target: &'a Target<'a>,
}

/// Keys that requests do not have unless it is said that they have, in lower case: there are no
/// organizations, no endpoints of private networks, no second factors and no tags of principals here,
/// and the others belong to calls of certain kinds, which tell of them.
const ABSENT: &[&str] = &[
    "aws:calledvia",
    "aws:calledviafirst",
    "aws:calledvialast",
    "aws:federatedprovider",
    "aws:multifactorauthage",
    "aws:multifactorauthpresent",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "aws:sourcevpc",
    "aws:sourcevpcarn",
    "aws:sourcevpce",
    "aws:vpceaccount",
    "aws:vpceorgid",
    "aws:vpceorgpaths",
    "aws:vpcsourceip",
    "aws:resourceorgid",
    "aws:resourceorgpaths",
    "lambda:eventsourcetoken",
    "lambda:functionurlauthtype",
    "lambda:invokedviafunctionurl",
];

impl<'a> Facts<'a> {
    pub(crate) fn new(asked: &'a Asked<'a>, target: &'a Target<'a>) -> Facts<'a> {
        Facts { asked, target }
    }

    pub(super) fn caller(&self) -> Caller<'a> {
        self.asked.caller
    }

    pub(super) fn action(&self) -> &str {
        &self.asked.action
    }

    pub(super) fn resource(&self) -> &str {
        self.target.resource
    }

    /// What is known of this key, which is written in lower case but for the name of a tag.
    pub fn find(&self, key: &str) -> Found<'a> {
        let lower = key.to_ascii_lowercase();
        if let Some(found) = self.of_caller(&lower).or_else(|| self.of_target(key, &lower)) {
            return found;
        }
        let given = self.asked.keys.iter().filter(|(known, _)| *known == lower);
        let values: Vec<Cow<'a, str>> = given.map(|(_, value)| value.clone()).collect();
        if !values.is_empty() {
            return Found::Values(values);
        }
        let has_none = ABSENT.contains(&lower.as_str()) || lower.starts_with("aws:principaltag/");
        if has_none { Found::Absent } else { Found::Unknown }
    }

    fn of_caller(&self, key: &str) -> Option<Found<'a>> {
        let caller = self.asked.caller;
        Some(match key {
            "aws:principalarn" => match caller {
                Caller::Principal(principal) => one(principal_arn(principal)),
                Caller::Anonymous | Caller::Service(_) => Found::Absent,
            },
            "aws:principalaccount" => match caller {
                Caller::Principal(principal) => one(principal.account.as_str()),
                Caller::Anonymous | Caller::Service(_) => Found::Absent,
            },
            "aws:principaltype" => match caller {
                Caller::Anonymous => one("Anonymous"),
                Caller::Service(_) => Found::Absent,
                Caller::Principal(principal) => one(principal_type(principal)),
            },
            "aws:principalisawsservice" => match caller {
                Caller::Service(_) => one("true"),
                Caller::Anonymous | Caller::Principal(_) => one("false"),
            },
            "aws:principalservicename" => match caller {
                Caller::Service(name) => one(name),
                Caller::Anonymous | Caller::Principal(_) => Found::Absent,
            },
            "aws:viaawsservice" => one("false"),
            _ => return None,
        })
    }

    fn of_target(&self, key: &str, lower: &str) -> Option<Found<'a>> {
        const TAG: &str = "aws:resourcetag/";
        Some(match lower {
            "aws:resourceaccount" => one(self.target.account),
            "aws:requestedregion" => one(self.target.region),
            "lambda:functionarn" => one(self.target.resource),
            _ if lower.starts_with(TAG) => match self.target.tags.get(&key[TAG.len()..]) {
                Some(value) => one(value.as_str()),
                None => Found::Absent,
            },
            _ => return None,
        })
    }
}

fn one<'a>(value: impl Into<Cow<'a, str>>) -> Found<'a> {
    Found::Values(vec![value.into()])
}

/// For a role session that of its role, as on AWS.
fn principal_arn(principal: &Principal) -> Cow<'_, str> {
    match session_role(principal) {
        Some(role) => Cow::Owned(format!("arn:aws:iam::{}:role/{role}", principal.account)),
        None => Cow::Borrowed(&principal.arn),
    }
}

fn principal_type(principal: &Principal) -> &'static str {
    if principal.arn.ends_with(":root") {
        "Account"
    } else if session_role(principal).is_some() {
        "AssumedRole"
    } else {
        "User"
    }
}

/// The role's name, without its path, if this is a session of one.
pub(super) fn session_role(principal: &Principal) -> Option<&str> {
    let (_, rest) = principal.arn.split_once(":assumed-role/")?;
    rest.split('/').next()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Facts of a plain request of the root of 111111111111 about a function of 000000000000.
    pub(crate) fn with_facts<T>(test: impl FnOnce(&Facts<'_>) -> T) -> T {
        let principal = Principal::root("111111111111");
        let asked = Asked::new(Caller::Principal(&principal), "lambda:InvokeFunction")
            .at(Timestamp::from_micros(1_700_000_000_000_000))
            .from_address("192.0.2.7".parse().unwrap());
        with_facts_of(&asked, test)
    }

    pub(crate) fn with_facts_of<T>(asked: &Asked<'_>, test: impl FnOnce(&Facts<'_>) -> T) -> T {
        let tags = Pairs(vec![("Team".to_owned(), "blue".to_owned())]);
        let target = Target {
            resource: "arn:aws:lambda:us-east-1:000000000000:function:f",
            account: "000000000000",
            region: "us-east-1",
            tags: &tags,
        };
        test(&Facts::new(asked, &target))
    }

    fn check(asked: &Asked<'_>, key: &str, expect: Option<&str>) {
        let expect = expect.map_or(Found::Absent, |text| one(text.to_owned()));
        with_facts_of(asked, |facts| assert_eq!(facts.find(key), expect, "{key}"));
    }

    #[test]
    fn what_is_known_of_a_caller() {
        let session = Principal::role_session("111111111111", "worker", "f");
        let asked = Asked::new(Caller::Principal(&session), "lambda:GetFunction");
        check(&asked, "aws:PrincipalArn", Some("arn:aws:iam::111111111111:role/worker"));
        check(&asked, "AWS:principalaccount", Some("111111111111"));
        check(&asked, "aws:PrincipalType", Some("AssumedRole"));
        check(&asked, "aws:PrincipalIsAWSService", Some("false"));
        check(&asked, "aws:PrincipalTag/x", None);
        let asked = Asked::new(Caller::Service("s3.amazonaws.com"), "lambda:InvokeFunction")
            .with("AWS:SourceArn", "arn:aws:s3:::b");
        check(&asked, "aws:SourceArn", Some("arn:aws:s3:::b"));
        check(&asked, "aws:SourceAccount", None);
        check(&asked, "aws:PrincipalServiceName", Some("s3.amazonaws.com"));
        check(&asked, "aws:PrincipalArn", None);
        check(&Asked::new(Caller::Anonymous, "x"), "aws:PrincipalType", Some("Anonymous"));
    }

    #[test]
    fn what_is_known_of_a_request_and_its_target() {
        with_facts(|facts| {
            assert_eq!(facts.find("aws:SourceIp"), one("192.0.2.7"));
            assert_eq!(facts.find("aws:EpochTime"), one("1700000000"));
            assert_eq!(facts.find("aws:SecureTransport"), one("false"));
            assert_eq!(facts.find("aws:ResourceTag/Team"), one("blue"));
            assert_eq!(facts.find("aws:ResourceTag/team"), Found::Absent);
            assert_eq!(facts.find("aws:RequestedRegion"), one("us-east-1"));
            assert_eq!(facts.find("aws:ResourceAccount"), one("000000000000"));
            assert_eq!(facts.find("aws:SomethingNew"), Found::Unknown);
            assert_eq!(facts.find("lambda:Principal"), Found::Unknown);
        });
    }
}
