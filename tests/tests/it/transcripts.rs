//! What the real `oc` prints in corners the recorded cases do not reach, and what Tagtrail prints of its own: text files
//! in `tests/transcripts/`, each played on a server and a registry of its own.

use std::fs;
use std::path::Path;

use tagtrail_tests::registry::Registry;
use tagtrail_tests::server::{Options, Server};
use tagtrail_tests::transcript;

fn play(name: &str) {
    let (registry, _storage) = Registry::start().expect("a registry");
    let mut config = String::from(
        "[repository]\ninternal = \"image-registry.openshift-image-registry.svc:5000\"\n[import]\nmax_images_per_repository = 5\n",
    );
    for host in ["docker.io", "quay.io"] {
        config += &format!(
            "[[registry]]\nhost = \"{host}\"\nmirrors = [\"{}\"]\nmirror_only = true\ninsecure = true\n",
            registry.host()
        );
    }
    let server = Server::start(Options { config, ..Options::default() }).expect("a server");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let differences = transcript::play(&text, &server.client(), &registry).expect("it is played");
    assert!(differences.is_empty(), "{name}: {} differences\n{}", differences.len(), differences.join("\n"));
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test] fn $name() { play(stringify!($name)); })*

        /// A file that nobody plays would tell anything.
        #[test]
        fn every_transcript_is_played() {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
            let mut files: Vec<String> = fs::read_dir(directory)
                .expect("the directory")
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            files.sort();
            assert_eq!(files, [$(concat!(stringify!($name), ".txt")),*]);
        }
    };
}

transcripts! { by_digest formats mistakes notes tags unsaid words }
