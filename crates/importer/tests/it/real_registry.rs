//! Against Debian's `docker-registry`, filled with the content whose digests never change.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tagtrail_domain::{Failure, FailureKind, ImageReference, Timestamp};
use tagtrail_importer::{
    Config, Fetched, ImageRequest, ImportMode, Importer, Probe, PullSecrets, RegistryConfig,
};

use crate::{NOW, request};

/// A running registry; ended with the test.
struct Registry {
    process: Child,
    host: String,
    _directory: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        Self::start_with("", "")
    }

    /// `http` goes into the section of that name, `more` behind it.
    fn start_with(http: &str, more: &str) -> Self {
        crate::fake::hear_everything();
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let path = directory.path().join("config.yml");
        let storage = directory.path().join("storage");
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: \
             {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp:\n  addr: \"127.0.0.1:{port}\"\n{http}{more}",
            storage.display()
        );
        std::fs::write(&path, config).expect("the configuration is written");
        let process = Command::new("docker-registry")
            .args(["serve".as_ref(), path.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry runs (Debian package docker-registry)");
        let registry = Self { process, host: format!("127.0.0.1:{port}"), _directory: directory };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&registry.host).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        registry
    }

    /// Runs the script that makes the content.
    fn fill(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/fill_registry.py");
        let output = Command::new("python3")
            .arg(script)
            .env("REGISTRY_URL", format!("http://{}", self.host))
            .output()
            .expect("python3 runs");
        std::io::stderr().write_all(&output.stderr).expect("stderr");
        assert!(output.status.success(), "the registry was filled");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

async fn fetch(importer: &Importer, reference: &str, mode: ImportMode) -> Result<Fetched, Failure> {
    importer.image(&request(reference, mode), NOW).await
}

#[tokio::test]
async fn the_standard_content_is_imported_as_openshift_imported_it() {
    let registry = Registry::start();
    registry.fill();
    let importer = Importer::new(Config {
        registries: vec![RegistryConfig {
            host: "docker.io".into(),
            mirrors: vec![registry.host.clone()],
            mirror_only: true,
            insecure: true,
            ..RegistryConfig::default()
        }],
        ..Config::default() // The guard is on: the mirror is allowed because it is configured.
    })
    .expect("a good configuration");

    // One Docker image, named as short as can be.
    let lab = fetch(&importer, "centos/python-35-centos7", ImportMode::Legacy).await.expect("imported");
    assert!(lab.image.reference.starts_with("centos/python-35-centos7@sha256:"), "{}", lab.image.reference);
    assert_eq!(lab.image.layers.len(), 9);
    assert_eq!(lab.image.built_at, Some(Timestamp::new(1_553_776_496, 123_456_789)));
    assert_eq!(lab.image.platform.architecture, "amd64");
    assert_eq!(lab.blobs.len(), 2);
    let (config, bytes) = &lab.blobs[1];
    assert_eq!(Some(config), lab.image.config.as_ref());
    let layers: i64 = lab.image.layers.iter().map(|layer| layer.size).sum();
    assert_eq!(lab.image.size, layers + i64::try_from(bytes.len()).expect("small"));

    // An OCI index, in both modes. These digests are the recorded ones.
    let index = "sha256:d7ee04fbe28e7c4513b43321260778b32dfe99f7ae4e4b4efab9b0f471aebf39";
    let amd64 = "sha256:f9a135d700d63ae8116e022d8ebc849945599e07615f49dd0ab9f5e6eb35ed84";
    let legacy =
        fetch(&importer, "docker.io/library/alpine:3.20", ImportMode::Legacy).await.expect("imported");
    assert_eq!(legacy.image.reference, format!("docker.io/library/alpine@{amd64}"));
    assert_eq!(legacy.blobs.len(), 2, "the index is not kept");
    assert_eq!(legacy.index.as_ref().map(|index| index.as_str()), Some(index));
    let whole = fetch(&importer, "alpine:3.20", ImportMode::PreserveOriginal).await.expect("imported");
    assert_eq!(whole.image.reference, format!("alpine@{index}"));
    assert_eq!((whole.image.size, whole.image.built_at), (0, Some(NOW)));
    let platforms: Vec<_> = whole.image.manifests.iter().map(|entry| entry.platform.clone()).collect();
    let images: Vec<_> = whole.sub_manifests.iter().map(|image| image.platform.clone()).collect();
    assert_eq!(platforms, images);
    assert_eq!(images[1].variant, "v8");
    assert_eq!(whole.blobs.len(), 5);

    // A Docker list without our platform gives its first entry; a digest is fetched as it is.
    let first = fetch(&importer, "team/multi:noamd64", ImportMode::Legacy).await.expect("imported");
    assert_eq!(first.image.platform.architecture, "arm64");
    let by_digest = fetch(&importer, &format!("alpine@{amd64}"), ImportMode::Legacy).await.expect("imported");
    assert_eq!(by_digest.image.digest.as_str(), amd64);

    // A HEAD tells the same, and nothing of what is not there.
    let probe = async |reference: &str| {
        let wish = request(reference, ImportMode::Legacy);
        importer.probe(&wish, importer.turn(&wish.reference).expect("a turn")).await
    };
    assert_eq!(probe("alpine:3.20").await, Probe::Digest(legacy.index.expect("chosen from an index")));
    assert_eq!(probe("centos/python-35-centos7").await, Probe::Digest(lab.image.digest.clone()));
    assert_eq!(probe("team/nosuch:v1").await, Probe::Unknown);

    let many = ImageReference::parse("team/many").expect("valid");
    assert_eq!(importer.tags(&many, false, &PullSecrets::default()).await.expect("listed").len(), 60);
    let none = ImageReference::parse("docker.io/team/nosuch").expect("valid");
    let failure = importer.tags(&none, false, &PullSecrets::default()).await.expect_err("no such repository");
    assert_eq!(failure.message, "dockerimage.image.openshift.io \"docker.io/team/nosuch\" not found");

    // Recorded failures.
    let check = async |reference: &str, kind, reason: &str, message: &str| {
        let failure = fetch(&importer, reference, ImportMode::Legacy).await.expect_err(reference);
        assert_eq!(
            (failure.kind, failure.reason.as_str(), failure.message.as_str()),
            (kind, reason, message)
        );
    };
    check(
        "docker.io/team/nosuch:v1",
        FailureKind::NotFound,
        "NotFound",
        "dockerimage.image.openshift.io \"docker.io/team/nosuch:v1\" not found",
    )
    .await;
    check(
        "team/app:v1..0",
        FailureKind::NotFound,
        "NotFound",
        "dockerimage.image.openshift.io \"docker.io/team/app:v1..0\" not found",
    )
    .await;
    check(
        "team/broken:badconfig",
        FailureKind::BadAnswer,
        "InternalError",
        "Internal error occurred: invalid character 'h' in literal true (expecting 'r')",
    )
    .await;
    check(
        "team/broken:noconfig",
        FailureKind::NotFound,
        "InternalError",
        "Internal error occurred: docker.io/team/broken:noconfig: unknown blob",
    )
    .await;
}

#[tokio::test]
async fn what_does_not_answer_is_told_in_gos_words() {
    let registry = Registry::start();
    let importer = Importer::new(Config { allow_private_networks: true, ..Config::default() }).expect("good");
    let closed = format!("127.0.0.1:{}", free_port());
    let check = async |reference: &str, insecure, message: &str| {
        let request = ImageRequest { insecure, ..request(reference, ImportMode::Legacy) };
        let failure = importer.image(&request, NOW).await.expect_err(reference);
        assert_eq!(failure.message, message);
        assert_eq!((failure.kind, failure.reason.as_str()), (FailureKind::Unreachable, "InternalError"));
    };
    check(
        &format!("{closed}/team/app:v1"),
        false,
        &format!(
            "Internal error occurred: {closed}/team/app:v1: Get \"https://{closed}/v2/\": dial tcp {closed}: \
             connect: connection refused"
        ),
    )
    .await;
    check(
        &format!("{closed}/team/app:v1"),
        true,
        &format!(
            "Internal error occurred: {closed}/team/app:v1: Get \"http://{closed}/v2/\": dial tcp {closed}: \
             connect: connection refused"
        ),
    )
    .await;
    let host = &registry.host;
    check(
        &format!("{host}/team/app:v1.0.0"),
        false,
        &format!(
            "Internal error occurred: {host}/team/app:v1.0.0: Get \"https://{host}/v2/\": http: server gave HTTP \
             response to HTTPS client"
        ),
    )
    .await;
}

#[tokio::test]
async fn certificates_are_believed_if_their_authority_is_configured() {
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name);
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
    let registry = Registry::start_with(&tls, "");
    let port = registry.host.rsplit(':').next().expect("a port");
    let (by_address, by_name) = (registry.host.clone(), format!("localhost:{port}"));

    let check = async |host: &str, trusted: bool, insecure: bool, message: &str| {
        let configured = RegistryConfig {
            host: host.into(),
            ca_file: trusted.then(|| file("ca.pem")),
            private_network: true,
            ..RegistryConfig::default()
        };
        let config = Config { registries: vec![configured], ..Config::default() };
        let importer = Importer::new(config).expect("a good configuration");
        let wish = ImageRequest { insecure, ..request(&format!("{host}/o/a:1"), ImportMode::Legacy) };
        let failure = importer.image(&wish, NOW).await.expect_err("there are no images");
        assert_eq!(failure.message.replace(host, "HOST"), message);
    };
    let connected = "dockerimage.image.openshift.io \"HOST/o/a:1\" not found";
    check(&by_address, true, false, connected).await;
    check(&by_address, false, true, connected).await;
    check(&by_name, false, true, connected).await;
    check(
        &by_address,
        false,
        false,
        "Internal error occurred: HOST/o/a:1: Get \"https://HOST/v2/\": tls: failed to verify certificate: x509: \
         certificate signed by unknown authority",
    )
    .await;
    check(
        &by_name,
        true,
        false,
        "Internal error occurred: HOST/o/a:1: Get \"https://HOST/v2/\": tls: failed to verify certificate: x509: \
         certificate is valid for 127.0.0.1, not localhost",
    )
    .await;
}

/// A line of a password file, as `htpasswd` makes it.
fn htpasswd(user: &str, password: &str) -> String {
    let output = Command::new("htpasswd").args(["-Bbn", user, password]).output();
    let output = output.expect("htpasswd runs (Debian package apache2-utils)");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn passwords_open_what_they_should() {
    let directory = tempfile::tempdir().expect("a directory");
    let users = directory.path().join("htpasswd");
    std::fs::write(&users, htpasswd("puller", "s3cret")).expect("written");
    let auth = format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", users.display());
    let registry = Registry::start_with("", &auth);
    let reference = format!("{}/o/a:1", registry.host);
    let check = async |docker_config: String, message: &str| {
        std::fs::write(directory.path().join("config.json"), docker_config).expect("written");
        let importer = Importer::new(Config {
            allow_private_networks: true,
            docker_config_dir: Some(directory.path().to_owned()),
            ..Config::default()
        })
        .expect("a good configuration");
        let wish = ImageRequest { insecure: true, ..request(&reference, ImportMode::Legacy) };
        let failure = importer.image(&wish, NOW).await.expect_err("there are no images");
        assert_eq!(failure.message.replace(&registry.host, "HOST"), message);
    };
    let entry =
        |key: &str, password: &str| format!(r#""{key}":{{"username":"puller","password":"{password}"}}"#);
    let (host, opened) = (&registry.host, "dockerimage.image.openshift.io \"HOST/o/a:1\" not found");
    let closed = "you may not have access to the container image \"HOST/o/a:1\"";
    check("{}".into(), closed).await;
    check(format!(r#"{{"auths":{{{}}}}}"#, entry(host, "wrong")), closed).await;
    check(format!(r#"{{"auths":{{{}}}}}"#, entry("other.example.com", "s3cret")), closed).await;
    check(format!(r#"{{"auths":{{{}}}}}"#, entry(host, "s3cret")), opened).await;
    let two = [entry(&format!("{host}/o"), "wrong"), entry(host, "s3cret")].join(",");
    check(format!(r#"{{"auths":{{{two}}}}}"#), opened).await;
}
