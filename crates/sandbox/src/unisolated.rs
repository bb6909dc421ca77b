//! Running without isolation: what stands at a fixed place inside an environment is elsewhere.
//!
//! Only when an operator asks for it by name. Without a mount namespace `/var/task` is not there,
//! and without a network namespace port 9001 is everybody's; so the places and ports that the
//! program is told are replaced by the real ones.

use crate::init::{AWS_ENDPOINT_PORT, RUNTIME_API_PORT};
use crate::protocol::Spec;

/// Rewrites arguments, variables and working directory to the host's paths and ports.
pub(crate) fn rewrite(spec: &mut Spec, runtime_api_port: u16, aws_endpoint_port: u16) {
    let mut places: Vec<(String, String)> = spec
        .binds
        .iter()
        .map(|bind| (bind.target.clone(), bind.source.display().to_string()))
        .collect();
    // The longest first, so that a place inside another is not taken for it.
    places.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
    let local = |port: u16| format!("127.0.0.1:{port}");
    let ports = [
        (local(RUNTIME_API_PORT), local(runtime_api_port)),
        (local(AWS_ENDPOINT_PORT), local(aws_endpoint_port)),
    ];
    let replace = |text: &mut String| {
        for (from, to) in &ports {
            *text = text.replace(from, to);
        }
        let parts: Vec<String> =
            text.split(':').map(|part| place_of_value(part, &places)).collect();
        *text = parts.join(":");
    };
    spec.argv.iter_mut().for_each(replace);
    spec.env.iter_mut().for_each(|(_, value)| replace(value));
    spec.cwd = place(&spec.cwd, &places);
    if let Some(extensions) = &mut spec.extensions {
        extensions.programs.iter_mut().for_each(replace);
        extensions.env.iter_mut().for_each(|(_, value)| replace(value));
        extensions.cwd = place(&extensions.cwd, &places);
    }
}

/// As [`place`], for what may stand behind the name of an option.
fn place_of_value(text: &str, places: &[(String, String)]) -> String {
    match text.split_once('=') {
        Some((name, value)) => format!("{name}={}", place(value, places)),
        None => place(text, places),
    }
}

/// The real path of one path, or the text as it is.
fn place(text: &str, places: &[(String, String)]) -> String {
    for (target, source) in places {
        match text.strip_prefix(target.as_str()) {
            Some("") => return source.clone(),
            Some(rest) if rest.starts_with('/') => return format!("{source}{rest}"),
            _ => {}
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Bind;

    #[test]
    fn places_and_ports_become_real_ones() {
        let bind =
            |source: &str, target: &str| Bind { source: source.into(), target: target.into() };
        let mut spec = Spec {
            name: "x".to_owned(),
            memory_mb: 128,
            tmp_mb: 512,
            pids_max: 10,
            files_max: 100,
            binds: vec![bind("/d/code", "/var/task"), bind("/d/client", "/var/runtime")],
            argv: ["/var/task/bootstrap", "/var/tasks", "-Da.b=/var/task"]
                .map(str::to_owned)
                .to_vec(),
            env: vec![
                ("LD_LIBRARY_PATH".to_owned(), "/lib:/var/task/lib:/var/runtime".to_owned()),
                ("AWS_LAMBDA_RUNTIME_API".to_owned(), "127.0.0.1:9001".to_owned()),
                ("AWS_ENDPOINT_URL".to_owned(), "http://127.0.0.1:4566".to_owned()),
            ],
            cwd: "/var/task".to_owned(),
            network: None,
            egress: None,
            file_system: None,
            log_pipe: false,
            extensions: None,
        };
        rewrite(&mut spec, 1, 2);
        assert_eq!(spec.argv, ["/d/code/bootstrap", "/var/tasks", "-Da.b=/d/code"]);
        assert_eq!(spec.env[0].1, "/lib:/d/code/lib:/d/client");
        assert_eq!(spec.env[1].1, "127.0.0.1:1");
        assert_eq!(spec.env[2].1, "http://127.0.0.1:2");
        assert_eq!(spec.cwd, "/d/code");
    }
}
