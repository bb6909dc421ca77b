//! What an environment of a function is made of: program, mounts, environment variables,
//! credentials.
//!
//! Mounts are the function's code at `/var/task`, its layers at `/opt`, our client at `/var/runtime`,
//! and the interpreter at `/var/lang` when it is not part of the host's `/usr`. Variables are AWS's; the
//! function's own cannot replace the reserved ones.
//!
//! `AWS_LAMBDA_EXEC_WRAPPER` names a program that is run instead of a runtime we ship and gets the
//! runtime's command line as its arguments. Custom runtimes start as they are, as on AWS: to them it
//! is a variable like any other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambic_rt::Rt;
use lambic_sandbox::LOG_PIPE_FD;

use super::archives;
use super::clients::Clients;
use super::packs::{Family, Pack, is_host_system};
use super::{sdk, spare};
use crate::invoke::Common;
use crate::invoke::fault::{ExtensionFault, Fault, bootstrap_refused, no_bootstrap};
use crate::invoke::launcher::{Edition, Extensions, Plan, Prepared, Session};
use crate::invoke::platform_events::InitType;
use crate::invoke::vpcs::Place;
use crate::runtime_api::extensions::crew::EXTENSIONS_MAX;
use crate::state::function::Configuration;
use crate::state::logging::LogFormat;
use crate::state::runtime_id::is_provided;
use crate::state::version::Version;

const TASK: &str = "/var/task";
const RUNTIME: &str = "/var/runtime";
const LANG: &str = "/var/lang";
const OPT: &str = "/opt";
/// Where the function's SDKs find this server, inside the environment.
const ENDPOINT: &str = "http://127.0.0.1:4566";
/// Where the Runtime API listens, inside the environment.
const RUNTIME_API: &str = "127.0.0.1:9001";
/// Where a function with SnapStart asks for its credentials.
const CREDENTIALS: &str = "http://127.0.0.1:9001/2021-04-23/credentials";
/// The stream that our clients inherit from the sandbox.
const RUNTIME_FD: &str = "3";
const RUNTIME_FD_NAME: &str = "_LAMBIC_RUNTIME_FD";
/// Where the clients of Python and Java find layers, if there are any: without isolation they are not at
/// `/opt`.
const LAYERS_NAME: &str = "_LAMBIC_LAYERS";
/// Tells the clients of Ruby and Java that the locale is the interpreter's business only.
const CTYPE_NAME: &str = "_LAMBIC_CTYPE";
const LOCALE: &str = "C.UTF-8";

/// Where the function's X-Ray SDK sends its segments unless the function says otherwise: the port of
/// X-Ray's daemon on the environment's own loopback, where nobody listens.
const XRAY_HOST: &str = "127.0.0.1";
const XRAY_PORT: &str = "2000";
/// The function's variable that names a program to start the runtime with.
pub(super) const WRAPPER: &str = "AWS_LAMBDA_EXEC_WRAPPER";
/// Starts the wrapper, which is the first argument; the words and exit codes are AWS's. A shell
/// inside the environment does it because only there paths mean what the function means.
const WRAPPER_SCRIPT: &str = r#"
[ -f "$1" ] || { echo "$1: does not exist"; exit 127; }
[ -x "$1" ] || { echo "$1: is not an executable"; exit 126; }
exec "$@"
"#;

/// A plan and what it runs.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) plan: Plan,
    /// For INIT_START, such as `python:3.13.1`.
    pub(crate) runtime: String,
    /// What a spare is started with that it can be made from.
    pub(crate) spare: Option<Prepared>,
    /// And what one is started with that has imported the SDK as the function does, which is better.
    pub(crate) sdk_spare: Option<Prepared>,
    /// What tells the interpreter's file from one that is put in its place.
    pub(crate) edition: Edition,
}

/// How a program is started.
pub(super) struct Start {
    pub(super) argv: Vec<String>,
    pub(super) binds: Vec<(PathBuf, String)>,
    /// Folders of programs and of libraries that come before the usual ones.
    pub(super) lang: Option<String>,
    pub(super) variables: Vec<(String, String)>,
    /// Where a program begins that goes to its function's folder by itself.
    pub(super) cwd: Option<&'static str>,
    runtime: String,
}

impl Start {
    /// Lets the function's wrapper start the program, if it has one.
    fn wrapped(mut self, version: &Version) -> Start {
        let wrapper = version.environment.iter().find(|(name, _)| name == WRAPPER);
        let Some((_, wrapper)) = wrapper.filter(|(_, path)| !path.is_empty()) else { return self };
        // A wrapper begins in the function's folder, from where Java finds no archive.
        if self.cwd.take().is_some() {
            self.argv.retain(|word| !archives::is_option(word));
            for word in &mut self.argv {
                *word = word.replace(archives::THROUGH, RUNTIME);
            }
        }
        let shell = ["/bin/sh", "-c", WRAPPER_SCRIPT, "bootstrap", wrapper];
        self.argv.splice(0..0, shell.map(str::to_owned));
        // A wrapper may close what it inherits, so its runtime connects by itself.
        self.variables.retain(|(name, _)| name != RUNTIME_FD_NAME);
        self
    }
}

/// How a function comes to its credentials.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// They are in its variables.
    Keys(Session),
    /// It asks for them, and has to name this: in a snapshot they would grow old.
    Token(Arc<str>),
}

/// Decides what an environment of this version is made of. The fault is the invocation's.
pub(crate) async fn make(
    common: &Arc<Common>,
    version: &Version,
    access: &Access,
    (log_stream, init_type): (&str, InitType),
    id: u64,
    place: Place,
) -> Result<Made, Fault> {
    let pack = common
        .packs
        .resolve(&version.runtime)
        .await
        .map_err(|reason| Fault::RuntimeMissing { reason })?;
    let (start, spare) = match pack.as_deref() {
        None => (custom(version)?, None),
        Some(pack) => {
            let start = managed(pack, common.packs.clients(), version.memory_mb);
            let spare = spare::prepared(&start, pack, version.tmp_mb, &version.environment);
            (start.wrapped(version), spare)
        }
    };
    let mut variables = start.variables;
    let family = pack.as_ref().map_or(Family::Provided, |pack| pack.family);
    let looks = matches!(family, Family::Python | Family::Java);
    let has_layers = looks && version.layers_path.is_some();
    variables.extend(has_layers.then(|| pair(LAYERS_NAME, OPT)));
    let has_locale = || version.environment.iter().any(|(name, _)| is_locale(name));
    if family == Family::Java && has_locale() {
        variables.retain(|(name, _)| name != CTYPE_NAME && !is_locale(name));
    }
    if let Some(pack) = pack.as_deref().filter(|pack| pack.family == Family::Ruby) {
        variables.push(pair("GEM_PATH", &gem_path(pack, &version.runtime)));
        let has_own = version.environment.iter().any(|(name, _)| name == "LC_CTYPE");
        variables.retain(|(name, _)| !has_own || name != CTYPE_NAME);
    }
    let mut binds = start.binds;
    binds.push((version.bundle_path.clone(), TASK.to_owned()));
    binds.extend(version.layers_path.clone().map(|path| (path, OPT.to_owned())));
    let defaults = defaults(start.lang.as_deref(), variables);
    let mut reserved = reserved(version, access, log_stream);
    reserved.push(pair("AWS_LAMBDA_INITIALIZATION_TYPE", init_type.name()));
    let env = merge(defaults, &version.environment, reserved);
    let extensions = extensions(&binds, &env)?;
    let has_own = || pack.as_deref().is_some_and(|pack| spare::has_own_of(pack, version));
    let is_plain = extensions.is_none() && version.file_system.is_none();
    let spare = spare.filter(|_| is_plain && !has_own());
    let sdk_spare = sdk::spare_of(common, version, pack.as_ref(), spare.as_ref(), &env).await;
    let plan = Plan {
        name: name(version, id),
        memory_mb: version.memory_mb,
        tmp_mb: version.tmp_mb,
        binds,
        argv: start.argv,
        env,
        cwd: start.cwd.unwrap_or(TASK).to_owned(),
        network: place.network,
        egress: place.egress,
        file_system: version.file_system.clone(),
        log_frames: is_provided(&version.runtime),
        extensions,
        spare: None,
        second_spare: None,
        template: None,
    };
    let edition = pack.as_deref().and_then(spare::edition).unwrap_or_default();
    Ok(Made { plan, runtime: start.runtime, spare, sdk_spare, edition })
}

/// What a spare is started with that functions of this configuration can be made from, as far as their
/// code has no say in it.
pub(crate) async fn spare_of(common: &Common, configuration: &Configuration) -> Option<Prepared> {
    let pack = common.packs.resolve(&configuration.runtime).await.ok()??;
    let start = managed(&pack, common.packs.clients(), configuration.memory_mb);
    let environment = configuration.environment.as_ref().map_or(&[][..], |all| &all.0.0);
    spare::prepared(&start, &pack, configuration.tmp_mb, environment)
}

/// Temporary credentials in the form of AWS's.
pub(crate) fn fresh_session(rt: &Rt) -> Session {
    let mut random = [0_u8; 16 + 30 + 96];
    rt.fill_random(&mut random);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let id = random[..16].iter().map(|byte| char::from(alphabet[usize::from(byte % 32)]));
    Session {
        access_key_id: format!("ASIA{}", id.collect::<String>()),
        secret_access_key: STANDARD.encode(&random[16..46]),
        session_token: STANDARD.encode(&random[46..]),
    }
}

/// What a function with SnapStart names when it asks for its credentials.
pub(crate) fn fresh_token(rt: &Rt) -> Arc<str> {
    let mut random = [0_u8; 48];
    rt.fill_random(&mut random);
    STANDARD.encode(random).into()
}

/// What of the runtime's variables AWS keeps from extensions, and our own.
const NOT_FOR_EXTENSIONS: [&str; 14] = [
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_PORT",
    "_HANDLER",
    "_LAMBDA_TELEMETRY_LOG_FD",
    CTYPE_NAME,
    LAYERS_NAME,
    RUNTIME_FD_NAME,
];

/// Every file in `/opt/extensions`, as on AWS, whether it can be executed or not.
fn extensions(
    binds: &[(PathBuf, String)],
    env: &[(String, String)],
) -> Result<Option<Extensions>, Fault> {
    let opt = binds.iter().find(|(_, target)| target == OPT);
    let folder = opt.and_then(|(source, _)| place_within(source, "extensions"));
    let Some(listed) = folder.and_then(|folder| fs::read_dir(folder).ok()) else {
        return Ok(None);
    };
    let files = listed.filter_map(Result::ok).filter(|entry| {
        // A link counts as a file, wherever it leads inside.
        entry.file_type().is_ok_and(|kind| !kind.is_dir())
    });
    let path = |name: String| format!("{OPT}/extensions/{name}");
    let mut programs: Vec<String> =
        files.filter_map(|entry| entry.file_name().into_string().ok()).map(path).collect();
    programs.sort_unstable();
    if programs.len() > EXTENSIONS_MAX {
        // AWS's words.
        let reason = "ErrTooManyExtensions".to_owned();
        return Err(Fault::Extension { kind: ExtensionFault::Launch, reason });
    }
    let has_locale = env.iter().any(|(name, _)| name == CTYPE_NAME);
    let is_theirs = |(name, value): &&(String, String)| {
        let is_interpreters = has_locale && name.starts_with("LC_") && value == LOCALE;
        !is_interpreters && !NOT_FOR_EXTENSIONS.contains(&name.as_str())
    };
    let env = env.iter().filter(is_theirs).cloned().collect();
    Ok((!programs.is_empty()).then_some(Extensions { programs, env }))
}

/// What is at this place of a folder that is mounted inside.
fn place_within(folder: &Path, name: &str) -> Option<PathBuf> {
    let place = folder.join(name);
    match fs::symlink_metadata(&place).ok()?.is_symlink() {
        true => within(folder, name),
        false => Some(place),
    }
}

/// Where that leads. Links are followed, but not out of the
/// folder: packages that are made one may hold links that lead anywhere on the host.
fn within(folder: &Path, name: &str) -> Option<PathBuf> {
    let root = folder.canonicalize().ok()?;
    root.join(name).canonicalize().ok().filter(|path| path.starts_with(&root))
}

fn custom(version: &Version) -> Result<Start, Fault> {
    let folders = [(Some(&version.bundle_path), TASK), (version.layers_path.as_ref(), OPT)];
    let found = folders.into_iter().find_map(|(folder, inside)| {
        let metadata = fs::metadata(place_within(folder?, "bootstrap")?).ok()?;
        metadata.is_file().then(|| (metadata, format!("{inside}/bootstrap")))
    });
    let (metadata, program) = found.ok_or_else(no_bootstrap)?;
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(bootstrap_refused(&program, "permission denied"));
    }
    Ok(Start {
        argv: vec![program],
        binds: Vec::new(),
        lang: None,
        variables: Vec::new(),
        cwd: None,
        runtime: version.runtime.replacen('.', ":", 1),
    })
}

/// How a runtime that we ship a client for starts.
pub(super) fn managed(pack: &Pack, clients: &Clients, memory_mb: u32) -> Start {
    match pack.family {
        Family::Python => python(pack, &clients.python),
        Family::Ruby => ruby(pack, &clients.ruby),
        Family::Java => java(pack, &clients.java, memory_mb),
        Family::Nodejs | Family::Provided => nodejs(pack, &clients.nodejs, memory_mb),
    }
}

fn python(pack: &Pack, client: &Path) -> Start {
    let (program, mut binds) = placed(pack);
    binds.push((client.to_owned(), RUNTIME.to_owned()));
    // No bytecode is written: the code is read-only. The rest is left as AWS has it.
    let argv = vec![program, "-B".to_owned(), format!("{RUNTIME}/bootstrap.py")];
    let variables = vec![pair("PYTHONPATH", RUNTIME), pair(RUNTIME_FD_NAME, RUNTIME_FD)];
    Start { argv, lang: lang(&binds), binds, variables, cwd: None, runtime: label(pack) }
}

fn nodejs(pack: &Pack, client: &Path, memory_mb: u32) -> Start {
    let (program, mut binds) = placed(pack);
    binds.push((client.to_owned(), RUNTIME.to_owned()));
    // As AWS: the heap may take nine tenths of the memory, so that it fails with a message before
    // the kernel ends it. Headers of the responses to its requests may have 80 KB.
    let heap = format!("--max-old-space-size={}", memory_mb * 9 / 10);
    let young = format!("--max-semi-space-size={}", (memory_mb / 20).max(1));
    let mut argv = vec![program];
    argv.extend(["--expose-gc", "--max-http-header-size", "81920"].map(str::to_owned));
    argv.extend([young, heap, format!("{RUNTIME}/index.mjs")]);
    let major = pack.release.major;
    let modules = format!(
        "/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:\
         {RUNTIME}/node_modules:{RUNTIME}:{TASK}"
    );
    let variables = vec![pair("NODE_PATH", &modules), pair(RUNTIME_FD_NAME, RUNTIME_FD)];
    Start { argv, lang: lang(&binds), binds, variables, cwd: None, runtime: label(pack) }
}

fn ruby(pack: &Pack, client: &Path) -> Start {
    let program = pack.executable.to_string_lossy().into_owned();
    let mut binds = Vec::new();
    let mut lang = None;
    if !is_host_system(&pack.executable) {
        // It looks for its library where it was built for, so it keeps its place.
        binds.push(in_place(&pack.prefix));
        let folder = pack.executable.parent().filter(|folder| !folder.starts_with(&pack.prefix));
        binds.extend(folder.map(in_place));
        lang = Some(pack.prefix.to_string_lossy().into_owned());
    }
    binds.extend(pack.gems.as_deref().map(in_place));
    binds.push((client.to_owned(), RUNTIME.to_owned()));
    let argv = vec![program, format!("{RUNTIME}/bootstrap.rb")];
    let variables = vec![
        pair("RUBYLIB", &format!("{TASK}:{RUNTIME}/lib:{OPT}/ruby/lib")),
        // Texts are UTF-8 on AWS, whose machines have the locale of LANG; this one may not.
        pair("LC_CTYPE", LOCALE),
        pair(CTYPE_NAME, "1"),
        pair(RUNTIME_FD_NAME, RUNTIME_FD),
    ];
    Start { argv, lang, binds, variables, cwd: None, runtime: label(pack) }
}

fn java(pack: &Pack, client: &Path, memory_mb: u32) -> Start {
    let (program, mut binds) = placed(pack);
    binds.push((client.to_owned(), RUNTIME.to_owned()));
    let mut argv = vec![program];
    argv.extend(archives::words(pack, memory_mb, RUNTIME, TASK));
    let variables = vec![
        // Texts and names of files are UTF-8 on AWS, whose machines have the locale of LANG.
        pair("LC_ALL", LOCALE),
        pair(CTYPE_NAME, "1"),
        pair(RUNTIME_FD_NAME, RUNTIME_FD),
    ];
    let (lang, cwd) = (lang(&binds), Some(RUNTIME));
    Start { argv, lang, binds, variables, cwd, runtime: label(pack) }
}

fn is_locale(name: &str) -> bool {
    name == "LANG" || name.starts_with("LC_")
}

fn in_place(folder: &Path) -> (PathBuf, String) {
    (folder.to_owned(), folder.to_string_lossy().into_owned())
}

/// AWS's places for the gems of the package and of layers, for the version that serves and then for the
/// one that was asked for. The empty place at the end stands for those of the machine.
fn gem_path(pack: &Pack, runtime: &str) -> String {
    let mut path = String::new();
    for version in gem_versions(pack, runtime) {
        path.push_str(&format!("{TASK}/vendor/bundle/ruby/{version}:{OPT}/ruby/gems/{version}:"));
    }
    path
}

/// By which versions gems are kept: of the interpreter, and of the function's runtime if it is another.
pub(super) fn gem_versions(pack: &Pack, runtime: &str) -> Vec<String> {
    let mut versions = vec![format!("{}.{}.0", pack.release.major, pack.release.minor)];
    let wanted = runtime.strip_prefix("ruby").map(|version| format!("{version}.0"));
    versions.extend(wanted.filter(|wanted| *wanted != versions[0]));
    versions
}

/// Where the interpreter is inside: where it is on the host if environments see that anyway,
/// otherwise below `/var/lang`, as on AWS.
fn placed(pack: &Pack) -> (String, Vec<(PathBuf, String)>) {
    if is_host_system(&pack.executable) {
        return (pack.executable.to_string_lossy().into_owned(), Vec::new());
    }
    match pack.executable.strip_prefix(&pack.prefix) {
        Ok(below) => {
            (format!("{LANG}/{}", below.display()), vec![(pack.prefix.clone(), LANG.to_owned())])
        }
        Err(_) => {
            // The program is apart from its library: its folder is shown in its own place too.
            let folder = pack.executable.parent().unwrap_or(&pack.prefix).to_owned();
            let target = folder.to_string_lossy().into_owned();
            let prefix = pack.prefix.to_string_lossy().into_owned();
            let binds = vec![(folder, target), (pack.prefix.clone(), prefix)];
            (pack.executable.to_string_lossy().into_owned(), binds)
        }
    }
}

fn lang(binds: &[(PathBuf, String)]) -> Option<String> {
    binds.iter().any(|(_, target)| target == LANG).then(|| LANG.to_owned())
}

fn label(pack: &Pack) -> String {
    format!("{}:{}", pack.family, pack.release)
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// What the function's own variables may replace.
pub(super) fn defaults(lang: Option<&str>, more: Vec<(String, String)>) -> Vec<(String, String)> {
    let (bin, lib) = match lang {
        Some(lang) => (format!("{lang}/bin:"), format!("{lang}/lib:")),
        None => (String::new(), String::new()),
    };
    let mut variables = vec![
        pair("LANG", "en_US.UTF-8"),
        pair("TZ", ":UTC"),
        pair("PATH", &format!("{bin}/usr/local/bin:/usr/bin:/bin:/opt/bin")),
        pair(
            "LD_LIBRARY_PATH",
            &format!("{lib}/lib64:/usr/lib64:{RUNTIME}:{RUNTIME}/lib:{TASK}:{TASK}/lib:/opt/lib"),
        ),
        pair("AWS_ENDPOINT_URL", ENDPOINT),
        pair("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        pair("AWS_XRAY_DAEMON_ADDRESS", &format!("{XRAY_HOST}:{XRAY_PORT}")),
        pair("_AWS_XRAY_DAEMON_ADDRESS", XRAY_HOST),
        pair("_AWS_XRAY_DAEMON_PORT", XRAY_PORT),
    ];
    variables.extend(more);
    variables
}

/// What they may not replace.
fn reserved(version: &Version, access: &Access, log_stream: &str) -> Vec<(String, String)> {
    let (log_format, log_level) = match version.log_format {
        LogFormat::Text => ("Text", None),
        LogFormat::Json { application, .. } => ("JSON", Some(application.name())),
    };
    let mut variables = vec![
        pair("AWS_LAMBDA_RUNTIME_API", RUNTIME_API),
        pair("_HANDLER", version.handler.as_deref().unwrap_or_default()),
        pair("LAMBDA_TASK_ROOT", TASK),
        pair("LAMBDA_RUNTIME_DIR", RUNTIME),
        pair("AWS_REGION", &version.region),
        pair("AWS_DEFAULT_REGION", &version.region),
        pair("AWS_LAMBDA_FUNCTION_NAME", &version.function_name),
        pair("AWS_LAMBDA_FUNCTION_VERSION", &version.version),
        pair("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &version.memory_mb.to_string()),
        pair("AWS_LAMBDA_LOG_FORMAT", log_format),
    ];
    match access {
        Access::Keys(session) => variables.extend([
            pair("AWS_LAMBDA_LOG_GROUP_NAME", &version.log_group),
            pair("AWS_LAMBDA_LOG_STREAM_NAME", log_stream),
            pair("AWS_ACCESS_KEY_ID", &session.access_key_id),
            pair("AWS_SECRET_ACCESS_KEY", &session.secret_access_key),
            pair("AWS_SESSION_TOKEN", &session.session_token),
        ]),
        // As on AWS, nothing that differs between the environments of one snapshot.
        Access::Token(token) => variables.extend([
            pair("AWS_CONTAINER_CREDENTIALS_FULL_URI", CREDENTIALS),
            pair("AWS_CONTAINER_AUTHORIZATION_TOKEN", token),
        ]),
    }
    // With text a function may choose a level of its own.
    variables.extend(log_level.map(|level| pair("AWS_LAMBDA_LOG_LEVEL", level)));
    // Custom runtimes name themselves on AWS: there the variable is absent.
    if is_provided(&version.runtime) {
        // What a client of AWS's for any language writes whole records to; ours print theirs.
        variables.push(pair("_LAMBDA_TELEMETRY_LOG_FD", &LOG_PIPE_FD.to_string()));
    } else {
        variables.push(pair("AWS_EXECUTION_ENV", &format!("AWS_Lambda_{}", version.runtime)));
    }
    variables
}

/// Each name once; later sets win.
fn merge(
    defaults: Vec<(String, String)>,
    own: &[(String, String)],
    reserved: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let mut all = defaults;
    for (name, value) in own.iter().cloned().chain(reserved) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

/// For `ps` and control groups, at most 64 characters of `[a-z0-9-]`.
fn name(version: &Version, id: u64) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let function: String = version.function_name.chars().map(plain).take(40).collect();
    format!("{function}-{id}")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
