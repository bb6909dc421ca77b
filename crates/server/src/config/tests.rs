//! The configuration as a user meets it: sources in, meaning or one sentence out.

use std::path::PathBuf;

use lambic_sandbox::Reach;

use super::layers::load_on;
use super::machine::Machine;
use super::*;
use crate::failure::{Failure, Kind};

pub(super) fn machine() -> Machine {
    Machine {
        is_root: false,
        processors: 3,
        memory_mb: 4_000,
        xdg_data_home: None,
        home: Some("/h".into()),
        terminal: true,
    }
}

/// Loads a file's text, `NAME=value` variables and `--flag setting=value` flags.
fn load(file: &str, variables: &[&str], flags: &[&str]) -> Result<Config, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lambic.toml");
    std::fs::write(&path, file).unwrap();
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    let flags = flags.iter().map(|flag| {
        let (flag, rest) = flag.split_once(' ').unwrap();
        let (setting, value) = pair(rest);
        (flag.to_owned(), setting, value)
    });
    let sources = Sources {
        file: None,
        files_usual: vec![folder.path().join("absent.toml"), path],
        variables: variables.iter().map(|text| pair(text)).collect(),
        flags: flags.collect(),
    };
    load_on(&machine(), sources).map_err(|failure| {
        let folder = format!("{}/", folder.path().display());
        Failure::new(failure.kind, failure.message.replace(&folder, ""))
    })
}

#[test]
fn the_default_file_is_the_defaults() {
    let config = load("", &[], &[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:4566");
    assert_eq!(config.data_dir, PathBuf::from("/h/.local/share/lambic"));
    assert_eq!((config.threads, config.functions.memory_mb_max), (1, 12_000));
    assert!(!config.auth_required && !config.log.json && !config.runtimes.strict);
    assert_eq!(config.isolation, Isolation::Namespaces);
    assert_eq!(config.front.idle_ms_max, 300_000);
    assert_eq!(config.functions.url_base, None);
}

#[test]
fn where_the_urls_of_functions_are() {
    let base = |text: &str| load("", &[], &[&format!("--set functions.url_base={text}")]);
    let url = base("https://fn.example.com").unwrap().functions.url_base.unwrap();
    assert_eq!(url.url("id", "us-east-1"), "https://id.lambda-url.us-east-1.fn.example.com/");
    let failure = base("fn.example.com").unwrap_err();
    assert!(
        failure.message.starts_with("--set: 'functions.url_base' is \"fn.example.com\""),
        "{failure:?}"
    );
}

#[test]
fn how_idle_environments_are_kept() {
    let policy = |text: &str| load("", &[], &[&format!("--set functions.idle_policy={text}")]);
    assert_eq!(load("", &[], &[]).unwrap().functions.idle_policy, Policy::Worth);
    assert_eq!(policy("fixed").unwrap().functions.idle_policy, Policy::Fixed);
    let failure = policy("forever").unwrap_err();
    let said = "--set: 'functions.idle_policy' is \"forever\"; it has to be \"worth\" or \"fixed\"";
    assert_eq!(failure.message, said);
}

#[test]
fn the_stronger_source_wins() {
    let file = "region = \"eu-west-1\"\n[functions]\nidle_minutes = 3\n";
    let idle = |variables: &[&str], flags: &[&str]| {
        let config = load(file, variables, flags).unwrap();
        assert_eq!(config.region, "eu-west-1");
        config.functions.idle.as_secs() / 60
    };
    let (variable, flag) =
        (["LAMBIC_FUNCTIONS_IDLE_MINUTES=4"], ["--set functions.idle_minutes=5"]);
    assert_eq!(idle(&[], &[]), 3);
    assert_eq!(idle(&variable, &[]), 4);
    assert_eq!(idle(&variable, &flag), 5);
    assert_eq!(load("", &variable, &flag).unwrap().functions.idle.as_secs(), 300);
}

#[test]
fn every_kind_of_value_is_read() {
    let config = load(
        "[[user]]\naccess_key_id = \"AKIA1\"\nsecret_access_key = \"s\"\naccount = \"111122223333\"\n\
         [runtimes.interpreters]\n\"python3.13\" = \"/opt/py\"\n",
        &["LAMBIC_ALLOWED_HOSTS=a.test, .b.test", "LAMBIC_RUNTIMES_STRICT=true", "LAMBIC_THREADS=2"],
        &[
            "--listen listen=localhost:1",
            "--set runtimes.interpreters.nodejs22.x=/opt/node",
            "--set functions.memory_mb_max=512",
        ],
    )
    .unwrap();
    assert_eq!(config.allowed_hosts, ["a.test", ".b.test"]);
    assert_eq!((config.runtimes.strict, config.threads), (true, 2));
    assert_eq!(config.listen.to_string(), "127.0.0.1:1");
    assert_eq!(config.runtimes.interpreters["nodejs22.x"], PathBuf::from("/opt/node"));
    assert_eq!(config.functions.memory_mb_max, 512);
    assert_eq!(config.users[0].account, "111122223333");
    let shown = format!("{:?}", config.users[0]);
    assert_eq!(shown, "User(AKIA1 in 111122223333)");
}

#[test]
fn users_of_a_file_open_an_address() {
    let file = "listen = \"0.0.0.0:4566\"\n\
         [[user]]\naccess_key_id = \"A\"\nsecret_access_key = \"s\"\naccount = \"111122223333\"\n";
    assert!(load(file, &[], &[]).unwrap().auth_required);
    let failure = load("", &[], &["--listen listen=0.0.0.0:4566"]).unwrap_err();
    assert_eq!(failure.kind, Kind::Exposed);
    assert!(failure.message.contains("add a [[user]]"), "{failure}");
}

#[test]
fn retired_runtimes_are_allowed_by_their_ids() {
    let allowed = |flag: &str| load("", &[], &[flag]).map(|config| config.runtimes.allow_retired);
    assert_eq!(allowed("--set log.level=info").unwrap(), Vec::<String>::new());
    let two = "--set runtimes.allow_retired=python3.7,nodejs14.x";
    assert_eq!(allowed(two).unwrap(), ["python3.7", "nodejs14.x"]);
    assert_eq!(allowed("--set runtimes.allow_retired=*").unwrap(), ["*"]);
    let failure = allowed("--set runtimes.allow_retired=python3.77").unwrap_err();
    assert!(failure.message.contains("\"python3.77\", which is no runtime"), "{failure}");
}

#[test]
fn keys_are_files_by_their_arns() {
    let file = |line: &str| load(&format!("data_dir = \"/d\"\n[kms.keys]\n{line}\n"), &[], &[]);
    let keys = file(
        "\"arn:aws:kms:us-east-1:000000000000:key/1-2\" = \"/etc/k\"\n\
         \"arn:aws:kms:us-east-1:000000000000:alias/a/b\" = \"k\"",
    );
    let files: Vec<_> = keys.unwrap().keys.into_values().collect();
    assert_eq!(files, [PathBuf::from("/d/keys/k"), PathBuf::from("/etc/k")]);
    for (line, text) in [
        ("\"alias/orders\" = \"k\"", "which is no ARN of a key"),
        ("\"arn:aws:kms:us-east-1:0000:key/a\" = \"k\"", "which is no ARN of a key"),
        ("\"arn:aws:kms:us-east-1:000000000000:grant/a\" = \"k\"", "which is no ARN of a key"),
        ("\"arn:aws:kms:us-east-1:000000000000:key/a\" = \"\"", "no file"),
    ] {
        let failure = file(line).unwrap_err();
        assert!(
            failure.message.contains("'kms.keys'") && failure.message.contains(text),
            "{failure}"
        );
    }
}

#[test]
fn file_systems_are_blocks_of_the_file() {
    let arn =
        "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0";
    let block =
        |arn: &str, rest: &str| format!("[[sandbox.file_system]]\narn = \"{arn}\"\n{rest}\n");
    let good = block(arn, "path = \"/nowhere/data\"\nuid = 1000\ngid = 1001\nread_only = true");
    let found = load(&good, &[], &[]).unwrap().file_systems;
    assert_eq!((found[0].name.as_str(), found[0].read_only), (arn, true));
    assert_eq!((found[0].uid, found[0].gid), (1000, 1001));
    assert_eq!(found[0].path, PathBuf::from("/nowhere/data"));
    for (arn, rest, text) in [
        ("fsap-1", "path = \"/x\"\nuid = 1\ngid = 1", "is no ARN of an access point"),
        (arn, "path = \"x\"\nuid = 1\ngid = 1", "is not absolute"),
        (arn, "path = \"/x/../y\"\nuid = 1\ngid = 1", "is not absolute"),
        (arn, "path = \"/\"\nuid = 1\ngid = 1", "name a folder"),
        (arn, "path = \"/x\"\nuid = 0\ngid = 1", "not root anywhere"),
        (arn, "path = \"/x\"\nuid = 1\ngid = -1", "gid -1"),
        (arn, "path = \"/x\"\nuid = 1", "gid"),
    ] {
        let failure = load(&block(arn, rest), &[], &[]).unwrap_err();
        assert!(failure.message.contains(text), "{failure}");
    }
    let failure = load(&format!("{good}{good}"), &[], &[]).unwrap_err();
    assert!(failure.message.contains("is there twice"), "{failure}");
    let failure = load(&good, &[], &["--isolation sandbox.isolation=none"]).unwrap_err();
    assert!(failure.message.contains("--isolation none"), "{failure}");
}

#[test]
fn networks_may_be_subnets_and_have_security_groups() {
    let network = |name: &str, rest: &str| {
        format!("[[sandbox.network]]\nname = \"{name}\"\nreach = [\"10.0.0.0/8\"]\n{rest}\n")
    };
    let group = |id: &str, vpc: &str, allow: &str| {
        format!("[[sandbox.security_group]]\nid = \"{id}\"\nvpc_id = \"{vpc}\"\nallow = {allow}\n")
    };
    let subnets = network("a", "subnet_ids = [\"subnet-1a\", \"subnet-1b\"]\nvpc_id = \"vpc-1\"");
    let file = subnets.clone() + &group("sg-1", "vpc-1", "[\"10.1.0.0/16:5432\", \"10.2.0.1\"]");
    let config = load(&file, &[], &[]).unwrap();
    let found = &config.networks[0];
    assert_eq!((found.subnet_ids.len(), found.vpc_id.as_str()), (2, "vpc-1"));
    assert_eq!((found.account.as_str(), found.functions.len()), ("000000000000", 0));
    let allow: Vec<String> =
        config.security_groups["sg-1"].allow.iter().map(ToString::to_string).collect();
    let rules = ["ip daddr 10.1.0.0/16 tcp dport 5432-5432 accept", "ip daddr 10.2.0.1/32 accept"];
    assert_eq!(allow, rules);
    for (file, text) in [
        (network("a", "subnet_ids = [\"net-1\"]\nvpc_id = \"vpc-1\""), "the subnet 'net-1'"),
        (network("a", "subnet_ids = [\"subnet-1\"]"), "the vpc_id ''"),
        (
            network("a", "subnet_ids = [\"subnet-1\"]\nvpc_id = \"vpc-1\"\naccount = \"1\""),
            "12 digits",
        ),
        (subnets.clone() + &subnets.replace("\"a\"", "\"b\""), "'subnet-1a', as another has"),
        (subnets.clone() + &group("group", "vpc-1", "[]"), "'group' is no id"),
        (subnets.clone() + &group("sg-1", "vpc-2", "[]"), "is of vpc-2, which no network"),
        (subnets.clone() + &group("sg-1", "vpc-1", "[\"10.0.0.1/8\"]"), "cannot be read"),
        (file.clone() + &group("sg-1", "vpc-1", "[]"), "'sg-1' is there twice"),
        (group("sg-1", "vpc-1", "[]"), "which no network"),
    ] {
        let failure = load(&file, &[], &[]).unwrap_err();
        assert!(failure.message.contains(text), "{failure}\nshould say {text}");
    }
}

#[test]
fn private_networks_are_blocks_of_the_file() {
    let block = |name: &str, functions: &str, reach: &str| {
        format!(
            "[[sandbox.network]]\nname = \"{name}\"\nfunctions = {functions}\nreach = {reach}\n"
        )
    };
    let file = [
        block("orders", "[\"orders\", \"orders-*\"]", "[\"10.1.0.0/16\", \"192.0.2.7\"]"),
        block("open", "[\"o*\"]", "[\"internet\"]"),
        block("none", "[\"*-alone\"]", "[]") + "members_reach_each_other = true\n",
    ];
    let networks = load(&file.concat(), &[], &[]).unwrap().networks;
    let names: Vec<&str> = networks.iter().map(|n| n.private.name.as_str()).collect();
    assert_eq!(names, ["orders", "open", "none"]);
    let ranges = ["10.1.0.0/16", "192.0.2.7/32"].map(|range| range.parse().unwrap());
    assert_eq!(networks[0].private.reach, Reach::Only(ranges.to_vec()));
    assert_eq!(networks[1].private.reach, Reach::Everything);
    assert_eq!(networks[2].private.reach, Reach::Only(vec![]));
    let each_other: Vec<bool> =
        networks.iter().map(|n| n.private.members_reach_each_other).collect();
    assert_eq!(each_other, [false, false, true]);
    assert_eq!(networks[0].functions, ["orders", "orders-*"]);
    assert!(load("", &[], &[]).unwrap().networks.is_empty());

    let refused = |file: String, flags: &[&str], expected: &str| {
        let message = load(&file, &[], flags).unwrap_err().message;
        assert!(message.contains(expected), "{message}\nshould say {expected}");
        assert!(message.starts_with("lambic.toml: 'sandbox.network'"), "{message}");
    };
    let two = |a: &str, b: &str| block("a", a, "[]") + &block("b", b, "[]");
    refused(two("[\"x\", \"y*\"]", "[\"y*\"]"), &[], "'b' and 'a' both have 'y*'");
    refused(file[2].replace("none", "No"), &[], "'No' is no name");
    refused(file[0].clone() + &file[0], &[], "'orders' is there twice");
    refused(block("a", "[]", "[]"), &[], "'a' has no functions");
    refused(block("a", "[\"x y\"]", "[]"), &[], "'a' has 'x y', which is neither");
    refused(block("a", "[\"x\"]", "[\"10.1.0.1/16\"]"), &[], "'10.1.0.1/16' begins at 10.1.0.0/16");
    refused(block("a", "[\"x\"]", "[\"fd00::/8\"]"), &[], "is neither an IPv4 address nor");
    refused(block("a", "[\"x\"]", "[\"169.254.169.254\"]"), &[], "which no function ever reaches");
    refused(block("a", "[\"x\"]", "[\"127.0.0.1\"]"), &[], "which no function ever reaches");
    refused(block("a", "[\"x\"]", "[\"internet\", \"10.0.0.0/8\"]"), &[], "and more");
    let none = ["--isolation sandbox.isolation=none"];
    refused(file[0].clone(), &none, "cannot be kept with --isolation none");
    let many: String =
        (0..32).map(|n| block(&format!("n{n}"), &format!("[\"{n}\"]"), "[]")).collect();
    refused(many, &[], "is there 32 times; it can be 31");
    let partial = "[[sandbox.network]]\nname = \"a\"\n";
    assert!(load(partial, &[], &[]).unwrap_err().message.contains("missing field"));
    assert!(load("", &[], &["--set sandbox.network=a"]).is_err());
}

#[test]
fn strange_variables_are_told_and_not_fatal() {
    let config = load("", &["LAMBIC_PORT=tcp://10.0.0.1:4566", "LAMBIC_USER=x"], &[]).unwrap();
    assert_eq!(config.variables_unknown, ["LAMBIC_PORT", "LAMBIC_USER"]);
}

#[test]
fn isolation_is_only_given_up_by_its_flag() {
    let by_flag = load("", &[], &["--isolation sandbox.isolation=none"]).unwrap();
    assert_eq!(by_flag.isolation, Isolation::None);
    for (file, variables) in [
        ("[sandbox]\nisolation = \"none\"\n", &[][..]),
        ("", &["LAMBIC_SANDBOX_ISOLATION=none"][..]),
    ] {
        let failure = load(file, variables, &[]).unwrap_err();
        assert!(failure.message.contains("only taken from the flag"), "{failure}");
    }
    assert!(load("", &[], &["--set sandbox.isolation=none"]).is_err());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let user = "[[user]]\naccess_key_id = \"A\"\nsecret_access_key = \"s\"\naccount = ";
    let cases: &[(&str, &[&str], &[&str], &str)] = &[
        ("lisen = \"x\"", &[], &[], "lambic.toml: there is no setting 'lisen'"),
        ("[front]\nx = 1", &[], &[], "lambic.toml: there is no setting 'front.x'"),
        (
            "drain_s = \"1\"",
            &[],
            &[],
            "lambic.toml: 'drain_s' is of type string, integer is wanted",
        ),
        ("front = 1", &[], &[], "lambic.toml: 'front' is of type integer, table is wanted"),
        ("a = 1\nb = = 2", &[], &[], "lambic.toml line 2: "),
        ("drain_s = -1", &[], &[], "lambic.toml: 'drain_s' is -1; it has to be between 0 and 3600"),
        (
            "[functions]\nconcurrency_max = 20001",
            &[],
            &[],
            "'functions.concurrency_max' is 20001; it has to be between 1 and 20000",
        ),
        ("threads = \"few\"", &[], &[], "lambic.toml: 'threads' is \"few\"; it has to be a whole"),
        ("", &["LAMBIC_DRAIN_S=soon"], &[], "LAMBIC_DRAIN_S: 'soon' is no whole number"),
        ("", &["LAMBIC_RUNTIMES_STRICT=yes"], &[], "LAMBIC_RUNTIMES_STRICT: 'yes' is neither"),
        ("", &["LAMBIC_CONFIG=/no/such/file"], &[], "cannot read the configuration file /no/such/"),
        ("", &[], &["--set nothing=1"], "--set: there is no setting 'nothing'"),
        ("", &[], &["--set front=1"], "--set: there is no setting 'front'"),
        (
            "",
            &[],
            &["--listen listen=here"],
            "--listen: 'listen' is \"here\"; it has to be an addr",
        ),
        (
            "",
            &[],
            &["--set log.format=xml"],
            "--set: 'log.format' is \"xml\"; it has to be \"auto\"",
        ),
        ("", &[], &["--set log.level=a=b=c"], "--set: 'log.level' is"),
        ("", &[], &["--region region=Europe"], "--region: 'region' is \"Europe\""),
        ("", &[], &["--set auth=required"], "--set: 'auth' is \"required\" but no [[user]]"),
        (&format!("{user}\"1\""), &[], &[], "lambic.toml: 'user' 'A' has the account '1'"),
        (&format!("{user}1"), &[], &[], "the configuration: "),
        ("[runtimes.interpreters]\na = \"b\"", &[], &[], "gives a the path b, which is relative"),
    ];
    for (file, variables, flags, expected) in cases {
        let failure = load(file, variables, flags).unwrap_err();
        assert_eq!(failure.kind, Kind::Configuration);
        assert!(failure.message.contains(expected), "{failure}\nshould say {expected}");
        assert!(!failure.message.contains('\n'), "{failure} has two lines");
    }
}
