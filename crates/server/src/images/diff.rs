//! What differs between two images, in words.

use std::collections::{BTreeMap, BTreeSet};

use tagtrail_api::v1;
use tagtrail_api::v1::DiffKind;

/// What differs, in the order in which people look for it.
#[must_use]
pub(crate) fn differences(from: &v1::Image, to: &v1::Image) -> Vec<v1::ImageDiff> {
    let nothing = v1::ImageConfig::default();
    let (old, new) = (from.config.as_ref().unwrap_or(&nothing), to.config.as_ref().unwrap_or(&nothing));
    let mut found = Found(Vec::new());
    found.value("platform", &platform_of(old), &platform_of(new));
    found.value("size", &bytes(from.size), &bytes(to.size));
    found.entries("layers", &layers(from), &layers(to));
    found.entries("manifests", &manifests(from), &manifests(to));
    found.entries("environment", &environment(old), &environment(new));
    found.entries("labels", &labels(old), &labels(new));
    found.value("entrypoint", &words(&old.entrypoint), &words(&new.entrypoint));
    found.value("command", &words(&old.command), &words(&new.command));
    found.value("working-dir", &old.working_dir, &new.working_dir);
    found.value("user", &old.user, &new.user);
    found.entries("exposed-ports", &names(&old.exposed_ports), &names(&new.exposed_ports));
    found.entries("volumes", &names(&old.volumes), &names(&new.volumes));
    found.0
}

/// Names and what stands behind them, in an order of their own.
type Entries = Vec<(String, String)>;

struct Found(Vec<v1::ImageDiff>);

impl Found {
    fn value(&mut self, field: &str, from: &str, to: &str) {
        self.compare(
            field,
            "",
            Some(from).filter(|text| !text.is_empty()),
            Some(to).filter(|t| !t.is_empty()),
        );
    }

    /// What is in the first in its order, then what is only in the second.
    fn entries(&mut self, field: &str, from: &Entries, to: &Entries) {
        let by_name = |entries: &Entries| -> BTreeMap<String, String> { entries.iter().cloned().collect() };
        let (old, new) = (by_name(from), by_name(to));
        let mut seen = BTreeSet::new();
        for (name, _) in from.iter().chain(to) {
            if seen.insert(name) {
                self.compare(
                    field,
                    name,
                    old.get(name).map(String::as_str),
                    new.get(name).map(String::as_str),
                );
            }
        }
    }

    fn compare(&mut self, field: &str, key: &str, from: Option<&str>, to: Option<&str>) {
        let kind = match (from, to) {
            (None, Some(_)) => DiffKind::Added,
            (Some(_), None) => DiffKind::Removed,
            (Some(from), Some(to)) if from != to => DiffKind::Changed,
            (Some(_), Some(_)) | (None, None) => return,
        };
        self.0.push(v1::ImageDiff {
            field: field.to_owned(),
            key: key.to_owned(),
            kind: kind.into(),
            from: from.unwrap_or_default().to_owned(),
            to: to.unwrap_or_default().to_owned(),
        });
    }
}

fn platform_of(config: &v1::ImageConfig) -> String {
    platform(&config.os, &config.architecture, "")
}

fn platform(os: &str, architecture: &str, variant: &str) -> String {
    let parts = [os, architecture, variant].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("/")
}

fn bytes(size: i64) -> String {
    format!("{size} bytes")
}

fn layers(image: &v1::Image) -> Entries {
    image.layers.iter().map(|layer| (layer.digest.clone(), bytes(layer.size))).collect()
}

/// By platform. What is made for no platform, and what several are made for, stand together.
fn manifests(image: &v1::Image) -> Entries {
    let mut entries: Entries = Vec::new();
    for manifest in &image.manifests {
        let made_for = manifest.platform.as_ref();
        let name = made_for.map(|p| platform(&p.os, &p.architecture, &p.variant)).unwrap_or_default();
        match entries.iter_mut().find(|(other, _)| *other == name) {
            Some((_, digests)) => *digests = format!("{digests}, {}", manifest.digest),
            None => entries.push((name, manifest.digest.clone())),
        }
    }
    entries
}

fn environment(config: &v1::ImageConfig) -> Entries {
    let split = |text: &String| {
        text.split_once('=')
            .map_or((text.clone(), String::new()), |(name, value)| (name.into(), value.into()))
    };
    config.environment.iter().map(split).collect()
}

fn labels(config: &v1::ImageConfig) -> Entries {
    let mut labels: Entries = config.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.sort();
    labels
}

fn names(names: &[String]) -> Entries {
    names.iter().map(|name| (name.clone(), name.clone())).collect()
}

/// A command line, each of its words told from the next.
fn words(words: &[String]) -> String {
    if words.is_empty() { String::new() } else { serde_json::json!(words).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut v1::ImageConfig)) -> v1::Image {
        let mut config = v1::ImageConfig {
            architecture: "amd64".into(),
            os: "linux".into(),
            entrypoint: vec!["/run".into()],
            user: "1001".into(),
            exposed_ports: vec!["80/tcp".into()],
            labels: [("version".to_owned(), "1".to_owned())].into(),
            environment: vec!["PATH=/bin".into(), "HOME=/root".into()],
            ..v1::ImageConfig::default()
        };
        change(&mut config);
        v1::Image { config: Some(config), size: 10, ..v1::Image::default() }
    }

    /// Layers or manifests, each a name and what stands behind it.
    fn image(change: impl FnOnce(&mut v1::Image)) -> v1::Image {
        let mut image = config(|_| {});
        change(&mut image);
        image
    }

    fn layer(digest: &str, size: i64) -> v1::Layer {
        v1::Layer { digest: digest.into(), size, media_type: String::new() }
    }

    fn manifest(platform: &str, digest: &str) -> v1::ManifestEntry {
        let (os, architecture) = platform.split_once('/').unwrap_or_default();
        let platform = (!os.is_empty()).then(|| v1::Platform {
            os: os.into(),
            architecture: architecture.into(),
            variant: String::new(),
        });
        v1::ManifestEntry { digest: digest.into(), platform, ..v1::ManifestEntry::default() }
    }

    fn check(from: &v1::Image, to: &v1::Image, expected: &[&str]) {
        let told: Vec<String> = differences(from, to)
            .iter()
            .map(|diff| {
                let words = [diff.field.as_str(), &diff.key, &diff.from, "->", &diff.to];
                words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_a_configuration_says() {
        let same = config(|_| {});
        check(&same, &same, &[]);
        check(&same, &config(|c| c.architecture = "arm64".into()), &["platform linux/amd64 -> linux/arm64"]);
        check(&same, &config(|c| c.user.clear()), &["user 1001 ->"]);
        check(&same, &config(|c| c.command = vec!["a b".into(), "c".into()]), &[r#"command -> ["a b","c"]"#]);
        check(
            &same,
            &config(|c| c.environment = vec!["NEW=".into(), "HOME=/home=1".into()]),
            &["environment PATH /bin ->", "environment HOME /root -> /home=1", "environment NEW ->"],
        );
        check(
            &same,
            &config(|c| {
                c.labels = [("a".to_owned(), "b".to_owned()), ("version".to_owned(), "2".to_owned())].into();
                c.exposed_ports = vec!["443/tcp".into()];
                c.working_dir = "/srv".into();
            }),
            &[
                "labels a -> b",
                "labels version 1 -> 2",
                "working-dir -> /srv",
                "exposed-ports 80/tcp 80/tcp ->",
                "exposed-ports 443/tcp -> 443/tcp",
            ],
        );
    }

    #[test]
    fn what_an_image_is_made_of() {
        check(
            &image(|i| i.layers = vec![layer("base", 9), layer("old", 1)]),
            &image(|i| (i.layers, i.size) = (vec![layer("base", 9), layer("new", 3), layer("new", 3)], 12)),
            &["size 10 bytes -> 12 bytes", "layers old 1 bytes ->", "layers new -> 3 bytes"],
        );
        check(
            &image(|i| {
                i.manifests =
                    vec![manifest("linux/amd64", "a"), manifest("linux/arm64", "b"), manifest("", "c")];
            }),
            &image(|i| {
                let of_none = [manifest("", "c"), manifest("", "d")];
                i.manifests = [manifest("linux/amd64", "a2"), manifest("linux/s390x", "s")].into();
                i.manifests.extend(of_none);
            }),
            &[
                "manifests linux/amd64 a -> a2",
                "manifests linux/arm64 b ->",
                "manifests c -> c, d",
                "manifests linux/s390x -> s",
            ],
        );
    }
}
