//! `lambic demo`: the main job in one go, through the real API.
//!
//! With the server up: for each function of `examples/` delete what an earlier demo left, create
//! it, wait until it is Active, invoke it twice with a real event (a cold and a warm time), hold the
//! answers against what is right, and print answer, log tail and figures. Then tell how to go on.

mod client;
mod examples;
mod report;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lambic_rt::Rt;
use lambic_wire::sigv4::Credentials;
use serde_json::{Value, json};

use crate::config::Config;
use crate::failure::{Failure, Kind};
use client::{Client, Reply};
use examples::Example;

/// How long a function may be Pending.
const ACTIVE_S_MAX: u64 = 30;

/// Runs the demo against the server at `address`. `found` are the ids of the runtimes that this
/// machine serves exactly. Fails when any answer was wrong.
pub(crate) async fn run(
    rt: &Rt,
    config: &Config,
    address: SocketAddr,
    found: &[String],
) -> Result<(), Failure> {
    let client = Client {
        address,
        credentials: credentials(config),
        region: config.region.clone(),
        rt: rt.clone(),
    };
    let mut wrong = Vec::new();
    for example in examples::all() {
        println!();
        if let Err(error) = show(&client, &example, found).await {
            println!("  WRONG     {error}");
            wrong.push(example.name);
        }
    }
    println!();
    if wrong.is_empty() {
        println!("All answers were right.");
        return Ok(());
    }
    Err(Failure::new(Kind::Verdict, format!("wrong answers from {}", wrong.join(", "))))
}

/// Any credentials will do in development mode; else those of the first user.
fn credentials(config: &Config) -> Credentials {
    let user = config.users.first().filter(|_| config.auth_required);
    let (id, secret) = user.map_or(("test", "test"), |user| {
        (user.access_key_id.as_str(), user.secret_access_key.as_str())
    });
    Credentials {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: None,
    }
}

async fn show(client: &Client, example: &Example, found: &[String]) -> Result<(), String> {
    let runtime = pick(example.runtimes, found);
    println!("{} ({}, {runtime})", example.name, example.title);
    create(client, example, runtime).await?;
    for kind in ["cold", "warm"] {
        let started = client.rt.instant();
        let reply = invoke(client, example).await?;
        let elapsed = client.rt.instant().duration_since(started);
        print_invoke(example, kind, &reply, elapsed)?;
    }
    Ok(())
}

/// The newest id that this machine serves exactly, else the newest at all.
fn pick(runtimes: &[&'static str], found: &[String]) -> &'static str {
    let exact = runtimes.iter().find(|id| found.iter().any(|found| found == *id));
    exact.or(runtimes.first()).copied().unwrap_or("provided.al2023")
}

async fn create(client: &Client, example: &Example, runtime: &str) -> Result<(), String> {
    let path = format!("/2015-03-31/functions/{}", example.name);
    let deleted = client.call("DELETE", &path, &[], "").await?;
    if deleted.status != 404 && !(200..300).contains(&deleted.status) {
        deleted.expect(204)?;
    }
    let body = json!({
        "FunctionName": example.name,
        "Runtime": runtime,
        "Handler": example.handler,
        "Role": "arn:aws:iam::000000000000:role/demo",
        "Timeout": 10,
        "Code": {"ZipFile": BASE64.encode(example.package())},
    });
    let json = [("content-type", "application/json")];
    let created =
        client.call("POST", "/2015-03-31/functions", &json, body.to_string()).await?.expect(201)?;
    println!("  created   {}", created.json()?["FunctionArn"].as_str().unwrap_or_default());
    wait_until_active(client, &path).await
}

async fn wait_until_active(client: &Client, path: &str) -> Result<(), String> {
    let path = format!("{path}/configuration");
    let started = client.rt.instant();
    loop {
        let function = client.call("GET", &path, &[], "").await?.expect(200)?.json()?;
        let waited = client.rt.instant().duration_since(started);
        match function["State"].as_str() {
            Some("Active") => {
                println!("  active    after {} ms", waited.as_millis());
                return Ok(());
            }
            Some("Pending") if waited < Duration::from_secs(ACTIVE_S_MAX) => {
                client.rt.sleep(Duration::from_millis(20)).await;
            }
            _ => {
                return Err(format!(
                    "not Active: {} {}",
                    function["State"], function["StateReason"]
                ));
            }
        }
    }
}

async fn invoke(client: &Client, example: &Example) -> Result<Reply, String> {
    let path = format!("/2015-03-31/functions/{}/invocations", example.name);
    let tail = [("x-amz-log-type", "Tail"), ("content-type", "application/json")];
    let reply = client.call("POST", &path, &tail, example.event.1).await?.expect(200)?;
    match reply.header("x-amz-function-error") {
        Some(error) => Err(format!("{error}: {}", String::from_utf8_lossy(&reply.body))),
        None => Ok(reply),
    }
}

/// Prints one invoke: everything for the cold one, the figures alone for the warm one.
fn print_invoke(
    example: &Example,
    kind: &str,
    reply: &Reply,
    elapsed: Duration,
) -> Result<(), String> {
    let answer: Value = reply.json()?;
    (example.check)(&answer)?;
    let tail = reply.header("x-amz-log-result").ok_or("no log tail came back")?;
    let tail = BASE64.decode(tail).map_err(|_| "the log tail is no base64")?;
    let tail = String::from_utf8_lossy(&tail);
    if kind == "cold" {
        println!("  event     examples/events/{}", example.event.0);
        println!("  answer    {answer}");
        for (index, line) in tail.lines().enumerate() {
            let title = if index == 0 { "log tail" } else { "" };
            println!("  {title:<9} {}", line.trim_end());
        }
    }
    let report = report::parse(&tail).ok_or("the log tail has no REPORT line")?;
    let init = report.init.map_or(String::new(), |init| format!(", init {init}"));
    println!(
        "  {kind:<9} {:.1} ms for the caller; duration {}, billed {}{init}, memory {}",
        elapsed.as_secs_f64() * 1_000.0,
        report.duration,
        report.billed,
        report.memory_used
    );
    Ok(())
}

/// How to go on, with this server or, when it is about to end, with the next one.
pub(crate) fn print_next_steps(config: &Config, address: SocketAddr, stays: bool) {
    let region = &config.region;
    let first = if stays {
        "The server stays up; Ctrl-C ends it. In another terminal:"
    } else {
        "To go on, leave out --once and use another terminal:"
    };
    println!(
        "
{first}

  export AWS_ENDPOINT_URL=http://{address} AWS_REGION={region} AWS_DEFAULT_REGION={region}
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  aws lambda list-functions --query 'Functions[].[FunctionName,Runtime,State]' --output text
  aws lambda invoke --function-name hello-python --cli-binary-format raw-in-base64-out \\
    --payload '{{\"pathParameters\": {{\"name\": \"Grace\"}}}}' --log-type Tail /dev/stdout
  aws lambda update-function-configuration --function-name hello-node --memory-size 256
  aws lambda delete-function --function-name hello-shell
"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_exact_runtime_is_picked() {
        let ids = &["python3.14", "python3.11"];
        assert_eq!(pick(ids, &["python3.11".to_owned()]), "python3.11");
        assert_eq!(pick(ids, &[]), "python3.14");
    }
}
