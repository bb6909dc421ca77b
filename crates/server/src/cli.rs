//! The command line: what can be typed, and nothing else.
//!
//! Flags become settings of the configuration by name; what they mean is decided there.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// AWS Lambda on your own machines.
#[derive(Parser)]
#[command(name = "lambic", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve the AWS API until told to stop.
    Serve(ServeArgs),
    /// Show it all: create functions from the examples, invoke them, print the answers, stay up.
    Demo(DemoArgs),
    /// Say what this machine offers to functions, what is missing and how to get it.
    Doctor(SettingArgs),
    /// Print the default configuration file, which is also its manual.
    Config,
    /// Sign a package for functions that have a code signing configuration; print the signing job.
    Sign(SignArgs),
    /// Print the file by which a server knows who signs; make the key if it is not there yet.
    SigningProfile(SigningProfileArgs),
}

#[derive(Args)]
pub(crate) struct SignArgs {
    /// The zip that is to be signed.
    pub(crate) package: PathBuf,
    /// PEM file with the private Ed25519 key of the signing profile version.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// ARN of the signing profile version.
    #[arg(long, value_name = "ARN")]
    pub(crate) profile_version: String,
    /// Days that the signature is good for [default: for ever].
    #[arg(long, value_name = "DAYS")]
    pub(crate) valid_days: Option<u32>,
    /// Where the signed zip goes [default: in the place of the package].
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SigningProfileArgs {
    /// PEM file with the private Ed25519 key; it is made if there is none.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// ARN that the signing profile version is to have.
    #[arg(long, value_name = "ARN")]
    pub(crate) profile_version: String,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Print the default configuration file and end.
    #[arg(long)]
    pub(crate) print_default_config: bool,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// End after the last answer; exit code 0 only if every answer was right.
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

/// The settings that have flags of their own, and `--set` for all others.
#[derive(Args, Default)]
pub(crate) struct SettingArgs {
    /// Configuration file [default: lambic.toml, then /etc/lambic/lambic.toml, if there].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port of the API [default: 127.0.0.1:4566].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Where everything is kept [default: ~/.local/share/lambic; /var/lib/lambic for root].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Region of requests that name none [default: us-east-1].
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Refuse functions whose exact interpreter version is not on this machine.
    #[arg(long)]
    pub(crate) strict: bool,
    /// How functions are kept apart: namespaces, or none [default: namespaces].
    #[arg(long, value_name = "HOW")]
    pub(crate) isolation: Option<String>,
    /// text, json or auto [default: auto].
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// error, warn, info, debug, trace, or parts: info,lambic_lambda=debug [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Any other setting of the configuration, as front.connections_max=100.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        // Ids of runtimes hold no '=', paths may.
        Some((setting, value)) => Ok((setting.trim().to_owned(), value.trim().to_owned())),
        None => Err("write it as SETTING=VALUE".to_owned()),
    }
}

impl SettingArgs {
    /// Flag as it was written, setting, value. Flags of their own win over `--set`.
    pub(crate) fn flags(&self) -> Vec<(String, String, String)> {
        let mut flags = Vec::new();
        for (setting, value) in &self.set {
            flags.push(("--set".to_owned(), setting.clone(), value.clone()));
        }
        let strict = self.strict.then(|| "true".to_owned());
        let own = [
            ("--listen", "listen", &self.listen),
            ("--data-dir", "data_dir", &self.data_dir),
            ("--region", "region", &self.region),
            ("--strict", "runtimes.strict", &strict),
            ("--isolation", "sandbox.isolation", &self.isolation),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
        ];
        for (flag, setting, value) in own {
            if let Some(value) = value {
                flags.push((flag.to_owned(), setting.to_owned(), value.clone()));
            }
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_settings() {
        let cli = Cli::try_parse_from([
            "lambic",
            "serve",
            "--set",
            "drain_s=5",
            "--listen",
            "127.0.0.1:0",
            "--strict",
        ]);
        let Command::Serve(args) = cli.unwrap_or_else(|error| panic!("{error}")).command else {
            panic!("serve was asked for");
        };
        let flags = args.settings.flags();
        let flags: Vec<(&str, &str, &str)> =
            flags.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
        let expected = [
            ("--set", "drain_s", "5"),
            ("--listen", "listen", "127.0.0.1:0"),
            ("--strict", "runtimes.strict", "true"),
        ];
        assert_eq!(flags, expected);
        assert!(Cli::try_parse_from(["lambic", "serve", "--set", "drain_s"]).is_err());
    }
}
