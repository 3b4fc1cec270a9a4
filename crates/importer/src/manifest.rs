//! Manifests and configurations: bytes in, image facts out. No network here.
//!
//! Docker schema 2 and OCI, manifests and lists (indexes). Schema 1 has been retired by every registry and is
//! refused by name.

use std::collections::BTreeMap;

use reqwest::header::HeaderValue;
use serde::Deserialize;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tagtrail_domain::image::{Image, Layer, ManifestEntry};
use tagtrail_domain::{Digest, Platform, Timestamp};

use crate::failure::{Cause, Fault};
use crate::few::few;
use crate::limits;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// What we ask for: everything OpenShift asks for, so that both are shown the same manifest (spec §3.4).
pub(crate) const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
                                 application/vnd.docker.distribution.manifest.list.v2+json, \
                                 application/vnd.oci.image.index.v1+json, \
                                 application/vnd.oci.image.manifest.v1+json, \
                                 application/vnd.docker.distribution.manifest.v1+prettyjws, application/json";

/// A manifest that was understood.
#[derive(Debug)]
pub(crate) enum Manifest {
    /// One image.
    Image { media_type: String, config: Descriptor, layers: Vec<Layer> },
    /// Several, for different platforms.
    Index { media_type: String, entries: Vec<ManifestEntry> },
}

/// A blob a manifest names.
#[derive(Debug, Clone)]
pub(crate) struct Descriptor {
    pub(crate) digest: Digest,
    pub(crate) size: i64,
}

/// The digest of some bytes: in the algorithm of `like`, else sha256.
pub(crate) fn digest_of(bytes: &[u8], like: Option<&Digest>) -> Digest {
    let algorithm =
        like.and_then(|d| d.as_str().split_once(':')).map_or("sha256", |(algorithm, _)| algorithm);
    let hash = match algorithm {
        "sha512" => hex(&Sha512::digest(bytes)),
        "sha384" => hex(&Sha384::digest(bytes)),
        _ => hex(&Sha256::digest(bytes)),
    };
    let algorithm = if matches!(algorithm, "sha512" | "sha384") { algorithm } else { "sha256" };
    Digest::parse(&format!("{algorithm}:{hash}")).expect("a hash in hex is a digest")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Understands a manifest. `content_type` is the answer's header.
pub(crate) fn parse(bytes: &[u8], content_type: Option<&HeaderValue>) -> Result<Manifest, Fault> {
    let body: Body =
        serde_json::from_slice(bytes).map_err(|e| Fault::json(Cause::BadAnswer, bytes, "manifest", &e))?;
    let media_type = media_type(&body, content_type)?.to_owned();
    match media_type.as_str() {
        DOCKER_MANIFEST | OCI_MANIFEST => {
            let config = body.config.ok_or_else(|| bad("the manifest names no configuration"))?;
            let layers = body.layers.unwrap_or_default();
            if layers.len() > limits::LAYERS {
                return Err(bad(&format!("the manifest has more than {} layers", limits::LAYERS)));
            }
            let layers = layers.into_iter().map(RawDescriptor::layer).collect::<Result<_, _>>()?;
            let config = Descriptor { digest: config.digest()?, size: config.size()? };
            Ok(Manifest::Image { media_type, config, layers })
        }
        DOCKER_LIST | OCI_INDEX => {
            let entries = body.manifests.unwrap_or_default();
            if entries.len() > limits::INDEX_ENTRIES {
                return Err(bad(&format!("the index has more than {} entries", limits::INDEX_ENTRIES)));
            }
            let entries = entries.into_iter().map(RawDescriptor::entry).collect::<Result<_, _>>()?;
            Ok(Manifest::Index { media_type, entries })
        }
        other => Err(unsupported(other)),
    }
}

/// A manifest of a type we cannot use.
pub(crate) fn unsupported(media_type: &str) -> Fault {
    let hint = match media_type {
        SCHEMA_1 | SCHEMA_1_SIGNED => " (Docker schema 1: push the image again with a current client)",
        _ => "",
    };
    Fault::new(Cause::Unsupported, format!("unsupported image manifest type: {media_type}{hint}"))
}

/// Decides what a manifest is: by its header, which must not contradict its body; without a telling header by
/// its body; at last by its looks.
fn media_type<'a>(body: &'a Body, content_type: Option<&'a HeaderValue>) -> Result<&'a str, Fault> {
    const KNOWN: [&str; 6] =
        [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX, SCHEMA_1, SCHEMA_1_SIGNED];
    let header = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let header = header.split(';').next().unwrap_or_default().trim();
    let says_nothing = matches!(header, "" | "application/json" | "application/octet-stream" | "text/plain");
    match body.media_type.as_deref().filter(|inner| !inner.is_empty()) {
        Some(inner) if says_nothing || inner == header => Ok(inner),
        Some(inner) if KNOWN.contains(&header) => {
            Err(bad(&format!("mediaType in manifest should be '{header}' not '{inner}'")))
        }
        None if KNOWN.contains(&header) => Ok(header),
        _ if !says_nothing => Ok(header),
        _ if body.schema_version == Some(1) => Ok(SCHEMA_1),
        _ if body.manifests.is_some() => Ok(OCI_INDEX),
        _ if body.config.is_some() => Ok(OCI_MANIFEST),
        _ => Ok("unknown"),
    }
}

/// The entry to take from an index when one image is wanted (spec §3.4, "Platform choice"). Variants are
/// ignored, as in OpenShift.
pub(crate) fn choose<'a>(
    entries: &'a [ManifestEntry],
    os: Option<&str>,
    architecture: Option<&str>,
) -> Option<&'a ManifestEntry> {
    let find = |os: &str, architecture: &str| {
        entries.iter().find(|e| e.platform.os == os && e.platform.architecture == architecture)
    };
    let os = os.filter(|os| !os.is_empty()).unwrap_or(own_os());
    let architecture = architecture.filter(|a| !a.is_empty()).unwrap_or(own_architecture());
    find(os, architecture).or_else(|| find("linux", "amd64")).or_else(|| entries.first())
}

/// What is taken out of an index where nothing else is preferred: this machine's operating system and processor, in
/// Go's words.
#[must_use]
pub fn default_platform() -> (&'static str, &'static str) {
    (own_os(), own_architecture())
}

/// This machine's operating system in Go's words.
fn own_os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    }
}

/// This machine's processor in Go's words.
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        arch => arch, // arm, s390x, riscv64 agree.
    }
}

/// The facts of one image from its manifest and its configuration's bytes, which must be what the manifest
/// says they are.
pub(crate) fn image(
    digest: Digest,
    reference: String,
    media_type: String,
    config: &Descriptor,
    layers: Vec<Layer>,
    bytes: &[u8],
) -> Result<Image, Fault> {
    let found = digest_of(bytes, Some(&config.digest));
    if found != config.digest {
        return Err(bad(&format!(
            "content integrity error: the blob retrieved with digest {} does not match the digest calculated from \
             the content {found}",
            config.digest
        )));
    }
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    if length != config.size {
        return Err(bad(&format!(
            "content integrity error: the configuration {} has {length} bytes, but its manifest says {}",
            config.digest, config.size
        )));
    }
    let facts: Config = serde_json::from_slice(bytes)
        .map_err(|e| Fault::json(Cause::BadConfig, bytes, "image configuration", &e))?;
    let platform = RawPlatform { os: facts.os, architecture: facts.architecture, variant: facts.variant };
    let distinct: BTreeMap<_, _> = layers.iter().map(|layer| (&layer.digest, layer.size)).collect();
    let size = distinct.values().fold(length, |sum, size| sum.saturating_add(*size));
    Ok(Image {
        digest,
        reference,
        media_type,
        config: Some(config.digest.clone()),
        size,
        built_at: facts.created.as_deref().and_then(parse_time),
        platform: platform.checked()?,
        layers,
        manifests: Vec::new(),
    })
}

/// The facts of an index. It has no date of its own: like OpenShift we take the time of the import.
pub(crate) fn index(
    digest: Digest,
    reference: String,
    media_type: String,
    entries: Vec<ManifestEntry>,
    now: Timestamp,
) -> Image {
    Image {
        digest,
        reference,
        media_type,
        config: None,
        size: 0,
        platform: Platform::default(),
        built_at: Some(now),
        layers: Vec::new(),
        manifests: entries,
    }
}

/// RFC 3339. A date that is none is taken for no date: it decides nothing.
fn parse_time(text: &str) -> Option<Timestamp> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    // A leap second is a second of more than a thousand million nanoseconds to chrono.
    Some(Timestamp::new(time.timestamp(), time.timestamp_subsec_nanos().min(999_999_999)))
}

fn bad(text: &str) -> Fault {
    Fault::new(Cause::BadAnswer, text)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: Option<i64>,
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    #[serde(default, deserialize_with = "few::<_, _, { limits::LAYERS }>")]
    layers: Option<Vec<RawDescriptor>>,
    #[serde(default, deserialize_with = "few::<_, _, { limits::INDEX_ENTRIES }>")]
    manifests: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    size: i64,
    #[serde(default)]
    platform: Option<RawPlatform>,
}

impl RawDescriptor {
    fn digest(&self) -> Result<Digest, Fault> {
        Digest::parse(&self.digest).map_err(|e| bad(&format!("the manifest names {:?}: {e}", self.digest)))
    }

    fn size(&self) -> Result<i64, Fault> {
        if self.size < 0 { Err(bad("the manifest has a negative size")) } else { Ok(self.size) }
    }

    fn media_type(&mut self) -> Result<String, Fault> {
        short(std::mem::take(&mut self.media_type), limits::MEDIA_TYPE_BYTES)
    }

    fn layer(mut self) -> Result<Layer, Fault> {
        Ok(Layer { digest: self.digest()?, size: self.size()?, media_type: self.media_type()? })
    }

    fn entry(mut self) -> Result<ManifestEntry, Fault> {
        Ok(ManifestEntry {
            digest: self.digest()?,
            size: self.size()?,
            media_type: self.media_type()?,
            platform: self.platform.take().unwrap_or_default().checked()?,
        })
    }
}

#[derive(Deserialize, Default)]
struct RawPlatform {
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    variant: Option<String>,
}

impl RawPlatform {
    fn checked(self) -> Result<Platform, Fault> {
        let checked = |name: Option<String>| short(name.unwrap_or_default(), limits::PLATFORM_BYTES);
        Ok(Platform {
            os: checked(self.os)?,
            architecture: checked(self.architecture)?,
            variant: checked(self.variant)?,
        })
    }
}

fn short(name: String, limit: usize) -> Result<String, Fault> {
    if name.len() > limit {
        Err(bad(&format!("a name in the manifest or configuration is longer than {limit} bytes")))
    } else {
        Ok(name)
    }
}

/// What we read of a configuration (OCI image specification, "Image Configuration"). The platform is not serde's
/// `flatten`, which would keep all the rest in memory.
#[derive(Deserialize)]
struct Config {
    created: Option<String>,
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(byte: &str) -> String {
        format!("sha256:{}", byte.repeat(32))
    }

    fn descriptor(byte: &str, size: i64) -> String {
        format!(r#"{{"mediaType":"m","digest":"{}","size":{size}}}"#, sha(byte))
    }

    #[test]
    fn a_manifest_is_what_header_and_body_agree_on() {
        let image = |media_type: &str| {
            format!(r#"{{"schemaVersion":2,{media_type}"config":{},"layers":[]}}"#, descriptor("aa", 1))
        };
        let typed = |t: &str| image(&format!(r#""mediaType":"{t}","#));
        let check = |header: &str, body: &str, expected: &str| {
            let header = (!header.is_empty()).then(|| HeaderValue::from_str(header).expect(header));
            let got = match parse(body.as_bytes(), header.as_ref()) {
                Ok(Manifest::Image { media_type, .. } | Manifest::Index { media_type, .. }) => media_type,
                Err(fault) => fault.text,
            };
            assert_eq!(got, expected, "{header:?} {body}");
        };
        check(DOCKER_MANIFEST, &typed(DOCKER_MANIFEST), DOCKER_MANIFEST);
        check("application/vnd.oci.image.manifest.v1+json; charset=utf-8", &image(""), OCI_MANIFEST);
        check("", &typed(OCI_MANIFEST), OCI_MANIFEST);
        check("application/json", &typed(DOCKER_MANIFEST), DOCKER_MANIFEST);
        check("", &image(""), OCI_MANIFEST);
        check("text/plain", r#"{"manifests":[]}"#, OCI_INDEX);
        check(
            DOCKER_MANIFEST,
            &typed(OCI_MANIFEST),
            &format!("mediaType in manifest should be '{DOCKER_MANIFEST}' not '{OCI_MANIFEST}'"),
        );
        let schema_1 = |media_type: &str| {
            format!(
                "unsupported image manifest type: {media_type} (Docker schema 1: push the image again with a current \
                 client)"
            )
        };
        check("", r#"{"schemaVersion":1}"#, &schema_1(SCHEMA_1));
        check(SCHEMA_1_SIGNED, r#"{"schemaVersion":1}"#, &schema_1(SCHEMA_1_SIGNED));
        check(SCHEMA_1_SIGNED, "{}", &schema_1(SCHEMA_1_SIGNED));
        check("x/y", "{}", "unsupported image manifest type: x/y");
        check("", "{}", "unsupported image manifest type: unknown");
        check("", "<html>", "invalid character '<' looking for beginning of value");
        check("", r#"{"config":"#, "unexpected end of JSON input");
        check(OCI_MANIFEST, "{}", "the manifest names no configuration");
        check(
            OCI_MANIFEST,
            r#"{"config":{"digest":"md5:00"}}"#,
            "the manifest names \"md5:00\": unsupported digest algorithm",
        );
        check(
            OCI_MANIFEST,
            &format!(r#"{{"config":{}}}"#, descriptor("aa", -1)),
            "the manifest has a negative size",
        );
    }

    #[test]
    fn counts_and_names_have_an_end() {
        let many = |n: usize| vec![descriptor("aa", 1); n].join(",");
        let check = |body: &str, error: &str| {
            assert_eq!(parse(body.as_bytes(), None).expect_err("refused").text, error);
        };
        let layers = many(limits::LAYERS + 1);
        check(
            &format!(r#"{{"config":{},"layers":[{layers}]}}"#, descriptor("aa", 1)),
            "the manifest has more than 250 layers",
        );
        check(
            &format!(r#"{{"manifests":[{}]}}"#, many(limits::INDEX_ENTRIES + 1)),
            "the index has more than 200 entries",
        );
        check(
            &format!(
                r#"{{"manifests":[{{"digest":"{}","platform":{{"os":"{}"}}}}]}}"#,
                sha("aa"),
                "x".repeat(65)
            ),
            "a name in the manifest or configuration is longer than 64 bytes",
        );
        // serde_json stops at 128 levels.
        let deep = format!(r#"{{"config":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert!(parse(deep.as_bytes(), None).is_err());
    }

    #[test]
    fn the_platform_is_chosen_as_openshift_does() {
        let entry = |platform: &str| {
            let (os, architecture) = platform.split_once('/').expect("os/arch");
            ManifestEntry {
                digest: Digest::parse(&sha("aa")).expect("valid"),
                media_type: OCI_MANIFEST.into(),
                size: 1,
                platform: Platform {
                    os: os.into(),
                    architecture: architecture.into(),
                    variant: String::new(),
                },
            }
        };
        let check = |entries: &str, os: &str, arch: &str, chosen: &str| {
            let entries: Vec<_> = entries.split_whitespace().map(entry).collect();
            let found = choose(&entries, Some(os), Some(arch));
            let found = found.map(|e| format!("{}/{}", e.platform.os, e.platform.architecture));
            assert_eq!(found.unwrap_or_default(), chosen);
        };
        check("linux/arm64 linux/amd64 linux/s390x", "linux", "s390x", "linux/s390x");
        check("linux/arm64 linux/amd64", "linux", "riscv64", "linux/amd64");
        check("windows/amd64 linux/amd64", "windows", "amd64", "windows/amd64");
        check("linux/arm64 linux/s390x", "plan9", "mips", "linux/arm64");
        check("", "linux", "amd64", "");
        // Without a wish: this machine's own.
        let own = format!("{}/{}", own_os(), own_architecture());
        check(&format!("x/y {own}"), "", "", &own);
    }

    #[test]
    fn an_image_is_made_of_what_its_bytes_say() {
        let config =
            br#"{"os":"linux","architecture":"arm64","variant":"v8","created":"2019-03-28T12:34:56.5Z"}"#;
        let make = |config: &[u8], claimed: &[u8], size: i64| {
            let layer = |byte: &str, size| Layer {
                digest: Digest::parse(&sha(byte)).expect("valid"),
                size,
                media_type: "m".into(),
            };
            let descriptor = Descriptor { digest: digest_of(claimed, None), size };
            let layers = vec![layer("aa", 10), layer("bb", 5), layer("aa", 10)];
            image(digest_of(b"m", None), "a@b".into(), OCI_MANIFEST.into(), &descriptor, layers, config)
        };
        let length = i64::try_from(config.len()).expect("small");
        let made = make(config, config, length).expect("fits");
        assert_eq!(made.size, length + 15); // A layer used twice is stored once.
        assert_eq!(made.platform.variant, "v8");
        assert_eq!(made.built_at, Some(Timestamp::new(1_553_776_496, 500_000_000)));

        let lie = make(config, b"other", length).expect_err("another digest");
        assert!(lie.text.starts_with("content integrity error: the blob retrieved with digest sha256:"));
        let short = make(config, config, 7).expect_err("another size");
        assert!(short.text.ends_with("but its manifest says 7"), "{}", short.text);
        let garbage = b"this is not a json document\n";
        let garbage = make(garbage, garbage, 28).expect_err("no JSON");
        assert_eq!(garbage.text, "invalid character 'h' in literal true (expecting 'r')");
        let undated = br#"{"created":"yesterday"}"#;
        let undated = make(undated, undated, 23).expect("a date decides nothing");
        assert_eq!(undated.built_at, None);
    }

    #[test]
    fn digests_follow_the_algorithm_that_was_asked_for() {
        let check = |like: &str| {
            let like = Digest::parse(like).expect(like);
            assert_eq!(digest_of(b"abc", Some(&like)).hex().len(), like.hex().len());
        };
        check(&sha("aa"));
        check(&format!("sha384:{}", "a".repeat(96)));
        check(&format!("sha512:{}", "a".repeat(128)));
        assert!(digest_of(b"abc", None).hex().starts_with("ba7816bf"));
    }
}
