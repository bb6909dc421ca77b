//! The life of the server, from configuration to the last file closed, in one function.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use lambic_front::{AuthMode, CredentialTable, Front, FrontConfig, Principal};
use lambic_rt::{Rt, TaskKind};
use lambic_sandbox::{Chair, SandboxHost, one_heap, run_anywhere};
use lambic_store::{OpenError, Store};
use lambic_wire::sigv4::Credentials;

use crate::announce::{Facts, announce, announce_runtimes};
use crate::awake::Awake;
use crate::config::Config;
use crate::failure::{Failure, Kind};
use crate::notify::Notify;
use crate::{demo, functions, heap, logging, machine_runtimes, signals, spawner};

/// What the server is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To serve until it is told to stop.
    Serve,
    /// To show the demo; `once` ends it after the last answer.
    Demo { once: bool },
}

/// How often it is looked whether the reactor has to wait for its processor.
const SEAT_REVIEW_EVERY: Duration = Duration::from_secs(1);

/// Runs a server from start to end. Returns when it has drained.
pub(crate) fn run(mut config: Config, purpose: Purpose) -> Result<(), Failure> {
    // One thread does nearly everything; heaps of their own for the others would only be memory.
    one_heap();
    // Configure.
    let mut log = logging::start(&config.log);
    for variable in &config.variables_unknown {
        tracing::warn!(variable, "there is no such setting; the variable is not used");
    }
    config.data_dir = spawner::prepare_data_dir(&config.data_dir)?;

    // The spawner is forked before the first thread, and before there is anything open that it
    // should not have; the port is taken while this process may still take one below 1024.
    let (starting, scratch) = spawner::begin(&config)?;
    // Meanwhile: what may not fail, so that the spawner is never left alone before it serves. Found while
    // this process may still open what the kernel tells of threads.
    let chair = if config.threads == 1 { Chair::find() } else { None };
    let awake = if config.threads == 1 { Awake::find() } else { None };
    let reach = scratch.reach(&config);
    let host = spawner::proven(starting)?;
    let listener = listen(config.listen)?;
    host.drop_privileges(&reach).map_err(|error| {
        Failure::new(Kind::Isolation, format!("cannot give up privileges: {error}"))
    })?;

    let runtime = reactor(config.threads, chair.as_ref(), awake.as_ref())
        .map_err(|error| Failure::new(Kind::Other, format!("cannot start threads: {error}")))?;
    log.run()
        .map_err(|error| Failure::new(Kind::Other, format!("cannot start threads: {error}")))?;
    let ended = runtime.block_on(live(config, purpose, host, listener, (chair, awake)));
    // Whatever blocking work still runs has nobody left to answer to.
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(scratch);
    drop(log);
    ended
}

/// One thread that does everything of an invocation is the fastest as long as it is not full: a
/// wake-up across processors costs more than all the work of a warm invoke.
fn reactor(
    threads: usize,
    chair: Option<&Chair>,
    awake: Option<&Awake>,
) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Some(everywhere) = chair.map(Chair::everywhere) {
        builder.on_thread_start(move || {
            // Files and packages are not to keep the reactor from its processor.
            if let Err(error) = run_anywhere(&everywhere) {
                tracing::debug!(%error, "a thread stays on the reactor's processor");
            }
        });
    }
    if let Some(awake) = awake {
        awake.watch(&mut builder);
    }
    builder.worker_threads(threads).thread_name("lambic").enable_all().build()
}

async fn live(
    config: Config,
    purpose: Purpose,
    host: SandboxHost,
    listener: TcpListener,
    (chair, awake): (Option<Chair>, Option<Awake>),
) -> Result<(), Failure> {
    let rt = Rt::real();
    let started = rt.instant();
    let notify = Notify::from_environment();
    signals::watch(&rt)?;

    // Build, in the order in which the parts need each other.
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| other(&error))?;
    let address = listener.local_addr().map_err(|error| other(&error))?;
    let store = Store::open(&config.data_dir, rt.clone()).await.map_err(|e| data_failure(&e))?;
    spawner::sweep(&config.data_dir);
    let barriers = host.barriers().to_vec();
    let sandboxes = host.into_async(&rt).map_err(|error| other(&error))?;
    let credentials = credentials(&config);
    let strain = awake.as_ref().map(Awake::strain).unwrap_or_default();
    let machine = functions::Machine { sandboxes: sandboxes.clone(), strain };
    let lambda = functions::start(&config, address, &rt, &store, machine, &credentials).await?;
    let front = Front::new(
        front_config(&config, address)?,
        rt.clone(),
        credentials,
        vec![lambda.clone()],
        vec![lambda.code_route()],
        vec![lambda.clone()],
    );
    lambda.set_api_front(front.clone());

    // Announce: whoever finds the server answering finds its words in the log, too.
    let took = rt.instant().duration_since(started);
    announce(&Facts { config: &config, address, barriers: &barriers, took });

    // Run. The store has all its threads by now, so that none of them is seated with this one.
    if let Some(chair) = chair {
        rt.spawn("processor of the reactor", TaskKind::Request, seated(rt.clone(), chair)).detach();
    }
    if let Some(awake) = awake {
        rt.spawn("vigil", TaskKind::Request, awake.keep(front.clone())).detach();
    }
    let spare = heap::give_back_what_is_spare(rt.clone(), front.clone());
    rt.spawn("spare memory", TaskKind::Request, spare).detach();
    let serving = {
        let (front, stop) = (front.clone(), rt.shutdown());
        let serving = async move { front.serve_listener(listener, stop).await };
        rt.spawn("listener", TaskKind::Essential, serving)
    };
    notify.ready();
    let verdict = tokio::select! {
        verdict = until_stopped(&rt, &config, purpose, address) => verdict,
        () = sandboxes.spawner_gone() => {
            let text = "the spawner has ended, so functions cannot run any more: stopping";
            Err(Failure::new(Kind::Isolation, text))
        }
    };

    // Drain: no new requests, then the running ones, then the environments, then the files.
    // One deadline for all of it.
    notify.stopping();
    let deadline = rt.instant() + config.drain;
    rt.shutdown_sender().stop();
    if let Some(Ok(drained)) = serving.await
        && drained.requests_abandoned > 0
    {
        tracing::warn!(requests = drained.requests_abandoned, "requests were not finished");
    }
    let left = deadline.saturating_duration_since(rt.instant());
    if !lambda.drain(left).await {
        tracing::warn!("some invocations were still running and were ended");
    }
    store.close().await;
    verdict.and_then(|()| unbroken(&rt))
}

/// Keeps the one thread that serves everything on one processor, and looks whether it is a good one.
async fn seated(rt: Rt, chair: Chair) {
    let mut shutdown = rt.shutdown();
    let (mut seat, mut since) = match chair.take() {
        Ok(seat) => (seat, rt.instant()),
        Err(error) => return tracing::debug!(%error, "the reactor has no processor of its own"),
    };
    while rt.within(SEAT_REVIEW_EVERY, shutdown.requested()).await.is_none() {
        let now = rt.instant();
        let elapsed = now.duration_since(std::mem::replace(&mut since, now));
        if let Err(error) = seat.review(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)) {
            tracing::debug!(%error, "the reactor stays on its processor");
        }
    }
}

/// Whether the server stopped because it was asked to. When a part that it cannot do without broke,
/// it has to end with a failure: otherwise a service manager would not start it again.
fn unbroken(rt: &Rt) -> Result<(), Failure> {
    match rt.shutdown().fault() {
        None => Ok(()),
        Some(part) => {
            let text = format!("stopped because a part of the server broke: {part}; see the log");
            Err(Failure::new(Kind::Other, text))
        }
    }
}

/// Waits for the signal to stop; before that, shows the demo if that is what we are here for.
async fn until_stopped(
    rt: &Rt,
    config: &Config,
    purpose: Purpose,
    address: SocketAddr,
) -> Result<(), Failure> {
    let mut shutdown = rt.shutdown();
    // Asking every interpreter for its version takes a moment that no request should wait for.
    let runtimes = tokio::select! {
        runtimes = machine_runtimes::served(config, rt) => runtimes,
        () = shutdown.requested() => return Ok(()),
    };
    announce_runtimes(config, &runtimes);
    let Purpose::Demo { once } = purpose else {
        shutdown.requested().await;
        return Ok(());
    };
    let found: Vec<String> = runtimes.iter().map(|runtime| runtime.id.clone()).collect();
    let verdict = tokio::select! {
        verdict = demo::run(rt, config, address, &found) => verdict,
        () = shutdown.requested() => {
            return Err(Failure::new(Kind::Verdict, "the demo was stopped before its end"));
        }
    };
    demo::print_next_steps(config, address, !once);
    if once {
        return verdict;
    }
    if let Err(failure) = &verdict {
        crate::print_failure(failure);
    }
    shutdown.requested().await;
    verdict
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program is listening there".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(Kind::Address, format!("cannot listen on {address}: {why}"))
    })
}

fn data_failure(error: &OpenError) -> Failure {
    let kind = match error {
        OpenError::InUse { .. } => Kind::Locked,
        _ => Kind::DataDirectory,
    };
    Failure::new(kind, error.to_string())
}

fn other(error: &dyn std::error::Error) -> Failure {
    Failure::new(Kind::Other, error.to_string())
}

fn credentials(config: &Config) -> Arc<CredentialTable> {
    let table = CredentialTable::new();
    for user in &config.users {
        let credentials = Credentials {
            access_key_id: user.access_key_id.clone(),
            secret_access_key: user.secret_access_key.clone(),
            session_token: None,
        };
        table.insert(credentials, Principal::root(&user.account));
    }
    Arc::new(table)
}

fn front_config(config: &Config, address: SocketAddr) -> Result<FrontConfig, Failure> {
    let auth = if config.auth_required {
        AuthMode::Required
    } else {
        AuthMode::development(address)
            .map_err(|error| Failure::new(Kind::Exposed, error.to_string()))?
    };
    let mut front = FrontConfig::new(auth);
    front.region_default.clone_from(&config.region);
    front.endpoint_default = format!("http://{address}");
    front.hosts_allowed.clone_from(&config.allowed_hosts);
    front.origins_allowed.clone_from(&config.allowed_origins);
    let limits = &mut front.limits;
    limits.connections_max = config.front.connections_max;
    limits.requests_in_flight_max = config.front.requests_in_flight_max;
    limits.body_bytes_in_flight_max = config.front.body_bytes_in_flight_max;
    limits.header_read_ms_max = config.front.header_read_ms_max;
    limits.idle_ms_max = config.front.idle_ms_max;
    limits.body_stall_ms_max = config.front.body_stall_ms_max;
    limits.drain_ms_max = u64::try_from(config.drain.as_millis()).unwrap_or(u64::MAX);
    Ok(front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_broken_part_is_a_failure_and_a_signal_is_none() {
        let rt = Rt::simulated(1);
        rt.shutdown_sender().stop();
        assert_eq!(unbroken(&rt), Ok(()));
        rt.spawn("catalog", TaskKind::Essential, async { panic!("on purpose") }).await;
        let failure = unbroken(&rt).unwrap_err();
        assert_eq!((failure.kind, failure.message.contains("catalog")), (Kind::Other, true));
    }
}
