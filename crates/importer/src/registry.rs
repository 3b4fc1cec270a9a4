//! Where an image may be fetched from: a registry's mirrors in order, then the registry itself (spec §3.9).

use tagtrail_domain::reference::is_docker_hub;
use tagtrail_domain::{Failure, ImageReference};

use crate::config::{Config, canonical, mirror_host};
use crate::failure;

/// The host that serves Docker Hub's registry.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// One place to ask for one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Host and port to connect to.
    pub(crate) host: String,
    /// The repository's path there.
    pub(crate) repository: String,
    /// Do without certificates, and fall back to plain HTTP.
    pub(crate) insecure: bool,
}

/// The places to ask, in order; at least one. `reference` has its defaults filled in.
///
/// # Errors
/// The registry is blocked.
pub(crate) fn sources(
    config: &Config,
    reference: &ImageReference,
    insecure: bool,
) -> Result<Vec<Source>, Failure> {
    let entry = config.registry(&reference.registry);
    let mirrors = entry.map(|e| e.mirrors.as_slice()).unwrap_or_default();
    if entry.is_some_and(|e| e.blocked && e.mirrors.is_empty()) {
        return Err(failure::blocked(canonical(&reference.registry)));
    }
    let repository = match reference.namespace.as_str() {
        "" => reference.name.clone(),
        namespace => format!("{namespace}/{}", reference.name),
    };
    let insecure = insecure || entry.is_some_and(|e| e.insecure);
    let of_host = |host: &str| config.registry(host).is_some_and(|e| e.insecure);
    let mut sources: Vec<_> = mirrors
        .iter()
        .map(|mirror| {
            let host = mirror_host(mirror);
            let path = mirror[host.len()..].trim_matches('/');
            Source {
                host: host.to_owned(),
                repository: if path.is_empty() { repository.clone() } else { format!("{path}/{repository}") },
                insecure: insecure || of_host(host),
            }
        })
        .collect();
    if !entry.is_some_and(|e| e.mirror_only || e.blocked) {
        let host = if is_docker_hub(&reference.registry) { DOCKER_HUB_HOST } else { &reference.registry };
        sources.push(Source { host: host.to_owned(), repository, insecure });
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RegistryConfig;

    #[test]
    fn mirrors_come_first() {
        let config = Config {
            registries: vec![
                RegistryConfig {
                    host: "docker.io".into(),
                    mirrors: vec!["m1:5000".into(), "m2/hub".into()],
                    ..RegistryConfig::default()
                },
                RegistryConfig {
                    host: "only.io".into(),
                    mirrors: vec!["m3".into()],
                    mirror_only: true,
                    insecure: true,
                    ..RegistryConfig::default()
                },
                RegistryConfig { host: "m2".into(), insecure: true, ..RegistryConfig::default() },
                RegistryConfig { host: "bad.io".into(), blocked: true, ..RegistryConfig::default() },
            ],
            ..Config::default()
        };
        let check = |reference: &str, insecure: bool, expected: &str| {
            let reference = ImageReference::parse(reference).expect(reference).with_defaults();
            let found = match sources(&config, &reference, insecure) {
                Ok(sources) => sources
                    .iter()
                    .map(|s| {
                        format!("{}/{}{}", s.host, s.repository, if s.insecure { " insecure" } else { "" })
                    })
                    .collect::<Vec<_>>()
                    .join(", "),
                Err(failure) => failure.message,
            };
            assert_eq!(found, expected, "{reference}");
        };
        check(
            "python",
            false,
            "m1:5000/library/python, m2/hub/library/python insecure, registry-1.docker.io/library/python",
        );
        check("index.docker.io/a/b", false, "m1:5000/a/b, m2/hub/a/b insecure, registry-1.docker.io/a/b");
        check("only.io/a/b/c", false, "m3/a/b/c insecure");
        check("quay.io/a", true, "quay.io/a insecure");
        check("bad.io/a", false, "forbidden: registry bad.io blocked");
    }
}
