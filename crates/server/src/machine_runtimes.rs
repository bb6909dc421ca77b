//! Which runtimes this machine serves, in the words that people read.

use std::path::PathBuf;

use lambic_lambda::runtimes::clients::Clients;
use lambic_lambda::runtimes::packs::{Family, Pack, Packs, PacksConfig};
use lambic_rt::Rt;

use crate::config::Config;

/// A runtime id and what runs it here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) id: String,
    /// The interpreter's path and version, or a word when there is none.
    pub(crate) interpreter: String,
}

/// The configuration of runtimes as the lambda crate wants it.
pub(crate) fn packs_config(config: &Config) -> PacksConfig {
    PacksConfig { overrides: config.runtimes.interpreters.clone(), strict: config.runtimes.strict }
}

/// Folders of the host that environments may have to see for their interpreters.
pub(crate) fn bind_roots(config: &Config) -> Vec<PathBuf> {
    Packs::bind_roots(&packs_config(config))
}

/// Folders that the search for interpreters reads.
pub(crate) fn searched(config: &Config) -> Vec<PathBuf> {
    Packs::searched(&packs_config(config))
}

/// Every runtime id that is served exactly. Runs each interpreter once to ask for its version.
pub(crate) async fn served(config: &Config, rt: &Rt) -> Vec<Served> {
    // Nothing is started with these packs, so there need be no clients.
    let nowhere = PathBuf::new;
    let clients =
        Clients { python: nowhere(), nodejs: nowhere(), ruby: nowhere(), java: nowhere() };
    let packs = Packs::new(packs_config(config), clients, rt.clone());
    words(config, &packs.list().await)
}

fn words(config: &Config, found: &[Pack]) -> Vec<Served> {
    let mut served: Vec<Served> = Vec::new();
    for (id, path) in &config.runtimes.interpreters {
        let interpreter = format!("{} (configured)", path.display());
        served.push(Served { id: id.clone(), interpreter });
    }
    // Of several that serve one id the first of the search is taken, and the list is in its order.
    for pack in found {
        let release = pack.release;
        let id = match pack.family {
            // Older ones serve when nothing nearer is there, but have no id.
            Family::Python if (release.major, release.minor) < (3, 8) => continue,
            Family::Nodejs if release.major < 18 => continue,
            Family::Ruby if (release.major, release.minor) < (3, 2) => continue,
            Family::Python => format!("python{}.{}", release.major, release.minor),
            Family::Nodejs => format!("nodejs{}.x", release.major),
            Family::Ruby => format!("ruby{}.{}", release.major, release.minor),
            // Others serve only when nothing nearer is there.
            Family::Java => match release.major {
                8 => "java8.al2".to_owned(),
                major @ (11 | 17 | 21 | 25) => format!("java{major}"),
                _ => continue,
            },
            Family::Provided => continue,
        };
        if !served.iter().any(|served| served.id == id) {
            let interpreter = format!("{} ({release})", pack.executable.display());
            served.push(Served { id, interpreter });
        }
    }
    for id in ["provided.al2023", "provided.al2"] {
        served
            .push(Served { id: id.to_owned(), interpreter: "brought by the function".to_owned() });
    }
    served
}

#[cfg(test)]
mod tests {
    use lambic_lambda::runtimes::packs::Release;

    use super::*;
    use crate::config::test_config;

    #[test]
    fn ids_follow_from_what_is_found_and_configured() {
        let pack = |family, major, minor| Pack {
            family,
            release: Release { major, minor, patch: 1 },
            executable: PathBuf::from("/usr/bin/it"),
            prefix: PathBuf::from("/usr"),
            libraries: Vec::new(),
            features: Vec::new(),
            gems: None,
            archive: None,
        };
        let mut config = test_config();
        config.runtimes.interpreters.insert("python3.13".to_owned(), PathBuf::from("/opt/py"));
        let found = [
            pack(Family::Nodejs, 20, 4),
            pack(Family::Python, 3, 11),
            pack(Family::Python, 3, 13),
            pack(Family::Java, 17, 0),
            pack(Family::Java, 24, 0),
        ];
        let served = words(&config, &found);
        let shown: Vec<String> =
            served.iter().map(|s| format!("{}={}", s.id, s.interpreter)).collect();
        let expected = [
            "python3.13=/opt/py (configured)",
            "nodejs20.x=/usr/bin/it (20.4.1)",
            "python3.11=/usr/bin/it (3.11.1)",
            "java17=/usr/bin/it (17.0.1)",
            "provided.al2023=brought by the function",
            "provided.al2=brought by the function",
        ];
        assert_eq!(shown, expected);
    }
}
