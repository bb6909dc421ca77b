//! Functions in subnets: what callers get, what environments get, and what they do not.

use serde_json::{Value, json};

use super::*;
use crate::ops::testing::Harness;

const ACCOUNT: &str = "000000000000";
const PATH: &str = "/2015-03-31/functions/f/configuration";

fn vpcs() -> Vpcs {
    let subnet = |id: &str, vpc: &str, network: &str| {
        let (account, vpc_id, network) = (ACCOUNT.into(), vpc.into(), network.into());
        (id.to_owned(), Subnet { account, vpc_id, network })
    };
    let group = |id: &str, vpc: &str, allow: &[&str]| {
        let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
        let (account, vpc_id) = (ACCOUNT.into(), vpc.into());
        (id.to_owned(), SecurityGroup { account, vpc_id, allow })
    };
    Vpcs {
        subnets: [
            subnet("subnet-a1", "vpc-1", "inner"),
            subnet("subnet-a2", "vpc-1", "inner"),
            subnet("subnet-b", "vpc-1", "outer"),
            subnet("subnet-c", "vpc-2", "other"),
        ]
        .into(),
        security_groups: [
            group("sg-1", "vpc-1", &["10.0.0.0/8:5432", "10.0.0.1:53/udp"]),
            group("sg-2", "vpc-1", &["10.0.0.1:53/udp", "10.9.0.0/16"]),
            group("sg-3", "vpc-2", &[]),
        ]
        .into(),
    }
}

fn networks() -> Networks {
    Networks::new(vec![("outer".into(), vec!["walled-*".into()])])
}

fn given(subnets: &[&str], groups: &[&str]) -> Value {
    json!({"SubnetIds": subnets, "SecurityGroupIds": groups})
}

async fn harness() -> Harness {
    Harness::with(|config| {
        config.vpcs = vpcs().into();
        config.networks = networks();
    })
    .await
}

#[tokio::test]
async fn a_vpc_comes_changes_and_goes() {
    let harness = harness().await;
    let mut body = Harness::creation("f");
    body["VpcConfig"] = given(&["subnet-a1", "subnet-a2"], &["sg-1"]);
    let reply = harness.post("/2015-03-31/functions", &body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let shown = |subnets: &[&str], groups: &[&str], vpc: &str| {
        json!({
            "SubnetIds": subnets, "SecurityGroupIds": groups, "VpcId": vpc,
            "Ipv6AllowedForDualStack": false
        })
    };
    let first = shown(&["subnet-a1", "subnet-a2"], &["sg-1"], "vpc-1");
    assert_eq!(reply.json()["VpcConfig"], first);
    harness.settle().await;
    let place = || {
        let function = harness.lambda.catalog.find(ACCOUNT, "us-east-1", "f").unwrap();
        vpcs().place(&networks(), &function.latest).unwrap()
    };
    let entries = |texts: &[&str]| Some(texts.iter().map(|text| text.parse().unwrap()).collect());
    let inner = Some("inner".to_owned());
    let egress = entries(&["10.0.0.0/8:5432", "10.0.0.1:53/udp"]);
    assert_eq!(place(), Place { network: inner.clone(), egress });
    let update = async |change: Value| {
        let reply = harness.put(PATH, &change).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        harness.settle().await;
        harness.get(PATH).await.json()["VpcConfig"].clone()
    };
    assert_eq!(update(json!({"Timeout": 9})).await, first);
    let both = json!({"VpcConfig": given(&["subnet-a1"], &["sg-1", "sg-2"])});
    assert_eq!(update(both).await, shown(&["subnet-a1"], &["sg-1", "sg-2"], "vpc-1"));
    let egress = entries(&["10.0.0.0/8:5432", "10.0.0.1:53/udp", "10.9.0.0/16"]);
    assert_eq!(place(), Place { network: inner, egress });
    assert_eq!(update(json!({"VpcConfig": given(&[], &[])})).await, shown(&[], &[], ""));
    assert_eq!(place(), Place { network: None, egress: None });
}

#[tokio::test]
async fn what_is_refused() {
    let harness = harness().await;
    let refused = async |name: &str, config: Value| {
        let mut body = Harness::creation(name);
        body["VpcConfig"] = config;
        let reply = harness.post("/2015-03-31/functions", &body).await;
        format!("{} {}: {}", reply.status, reply.code(), reply.message())
    };
    let invalid = "400 InvalidParameterValueException: ";
    for (config, text) in [
        (
            given(&["subnet-x"], &["sg-1"]),
            "Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. EC2 \
             Error Message: The subnet ID 'subnet-x' does not exist",
        ),
        (
            given(&["subnet-a1"], &["sg-x"]),
            "Error occurred while DescribeSecurityGroups. EC2 Error Code: InvalidGroup.NotFound. \
             EC2 Error Message: The security group 'sg-x' does not exist",
        ),
        (given(&["subnet-a1", "subnet-c"], &["sg-1"]), "All subnets have to be in the same VPC."),
        (
            given(&["subnet-a1"], &["sg-3"]),
            "Security group sg-3 and subnet subnet-a1 belong to different networks.",
        ),
        (given(&["subnet-a1"], &[]), "VpcConfig has to name both SubnetIds and SecurityGroupIds."),
    ] {
        assert_eq!(refused("f", config).await, format!("{invalid}{text}"));
    }
    let several = refused("f", given(&["subnet-a1", "subnet-b"], &["sg-1"])).await;
    assert!(several.starts_with("501 ") && several.contains("VpcConfig.SubnetIds"), "{several}");
    let mut six = given(&["subnet-a1"], &["sg-1"]);
    six["Ipv6AllowedForDualStack"] = json!(true);
    assert!(refused("f", six).await.contains("Ipv6AllowedForDualStack"));
    for bad in [given(&["net-1"], &["sg-1"]), given(&["subnet-a1"], &["group-1"])] {
        let text = refused("f", bad).await;
        assert!(text.starts_with("400 ValidationException: "), "{text}");
    }
    // A wall by name stays one.
    let escape = refused("walled-f", given(&["subnet-a1"], &["sg-1"])).await;
    assert!(escape.starts_with(&format!("{invalid}The function is in the network 'outer'")));
    let inside = refused("walled-f", given(&["subnet-x"], &["sg-1"])).await;
    assert!(inside.contains("'subnet-x' does not exist"), "{inside}");
}

#[tokio::test]
async fn what_the_configuration_has_no_more_ends_at_the_next_start() {
    let harness = harness().await;
    let mut body = Harness::creation("f");
    body["VpcConfig"] = given(&["subnet-a1"], &["sg-1"]);
    harness.post("/2015-03-31/functions", &body).await;
    harness.settle().await;
    let function = harness.lambda.catalog.find(ACCOUNT, "us-east-1", "f").unwrap();
    let code = |vpcs: Vpcs, networks: Networks| {
        let error = vpcs.place(&networks, &function.latest).unwrap_err();
        (error.status, error.code.into_owned())
    };
    let without = |change: fn(&mut Vpcs)| {
        let mut vpcs = vpcs();
        change(&mut vpcs);
        code(vpcs, networks())
    };
    let subnet = (502, "InvalidSubnetIDException".to_owned());
    let group = (502, "InvalidSecurityGroupIDException".to_owned());
    assert_eq!(without(|vpcs| drop(vpcs.subnets.remove("subnet-a1"))), subnet);
    assert_eq!(without(|vpcs| drop(vpcs.security_groups.remove("sg-1"))), group);
    let moved = |vpcs: &mut Vpcs| vpcs.subnets.get_mut("subnet-a1").unwrap().account = "1".into();
    assert_eq!(without(moved), subnet);
    let walled = Networks::new(vec![("outer".into(), vec!["f".into()])]);
    assert_eq!(code(vpcs(), walled), subnet);
}
